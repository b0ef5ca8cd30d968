"""A page that is served, and a headless browser that may reach nothing but this machine."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from running import environment

# Tells of each address outside this machine that the server asks for, in a file, and refuses it.
_WATCH = """
import os, sys
def watch(event, arguments):
    if event not in ("socket.connect", "socket.getaddrinfo"):
        return
    address = arguments[1] if event == "socket.connect" else arguments[:2]
    host = str(address[0] if isinstance(address, tuple) else address)
    if host not in ("127.0.0.1", "localhost", "::1", "None") and not host.startswith("/"):
        with open(os.environ["ASKED_FOR"], "a") as file:
            file.write(f"{event} {address}\\n")
        raise OSError(f"the network is closed: {address}")
sys.addaudithook(watch)
"""


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The page's address, while ``metasr page`` runs with its network closed; its log is ``folder/page.log``."""
    pytest.importorskip("gradio", reason="the page needs gradio: pip install 'metasr[page]'")
    (folder / "sitecustomize.py").write_text(_WATCH)
    paths = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    port = free_port()
    with (folder / "page.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "metasr", "page", "--port", str(port)],
            cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            env=environment(folder, PYTHONPATH=paths, ASKED_FOR=str(folder / "asked_for"), TMPDIR=str(folder)),
        )  # fmt: skip
        try:
            address = f"http://127.0.0.1:{port}/"
            wait_for(lambda: address in (folder / "page.log").read_text(), 300, process=process)
            yield address
        finally:
            process.terminate()
            process.wait(timeout=180)
            log.flush()


@contextmanager
def browser(downloads: Path) -> Iterator[Any]:
    """A driver of headless Chromium; skips where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="tests of the page need selenium")
    program, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if not program or not driver:
        pytest.skip("tests of the page need chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars",
        "--disable-component-update", "--no-first-run", "--window-size=1280,1400",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.chrome.service.Service(driver))
    try:
        opened.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
        yield opened
    finally:
        opened.quit()


def wait_for(true: Callable[[], object], seconds: float = 180, *, process: Any = None) -> Any:
    """What a function gives once it is true.

    Raises:
        AssertionError: if that takes too long, or a process ended meanwhile.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if value := true():
            return value
        assert process is None or process.poll() is None, "the page ended"
        time.sleep(0.25)
    raise AssertionError(f"not true within {seconds:g} s")


class Tab:
    """A tab with the page, and its fields by their names."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver = driver
        driver.get(address)
        wait_for(lambda: self.all("#run") and self.all("#samples button"))
        self.handle = driver.current_window_handle

    def show(self) -> None:
        """Bring it to the front."""
        self.driver.switch_to.window(self.handle)

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", selector))

    def one(self, selector: str) -> Any:
        return wait_for(lambda: self.all(selector))[0]

    def text(self, name: str) -> str:
        return str(self.one(f"#{name}").text)

    def click(self, name: str) -> None:
        element = self.one(f"#{name}")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def give(self, name: str, *files: Path) -> None:
        """Hand files to a field; again where the page was not ready for them."""

        def given() -> bool:
            return all(path.stem in self.text(name) for path in files)

        if not self.all(f"#{name} input[type=file]"):  # it has a file already
            self.one(f"#{name} button[aria-label='Clear']").click()
        for _ in range(10):
            self.one(f"#{name} input[type=file]").send_keys("\n".join(map(str, files)))
            try:
                wait_for(given, 20)
                return
            except AssertionError:
                continue
        raise AssertionError(f"{name} did not take {files}: it shows {self.text(name)!r}")

    def choose(self, name: str, choice: str) -> None:
        """Choose in a list, with the keyboard alone."""
        from selenium.webdriver.common.keys import Keys

        field = self.one(f"#{name} input")
        field.send_keys(Keys.CONTROL + "a")
        field.send_keys(choice, Keys.ENTER)
        wait_for(lambda: field.get_attribute("value") == choice)
        field.send_keys(Keys.TAB)

    def number(self, name: str, value: float) -> None:
        """Type a number into a slider's field."""
        from selenium.webdriver.common.keys import Keys

        field = self.one(f"#{name} input[type=number]")
        field.send_keys(Keys.CONTROL + "a")
        field.send_keys(f"{value:g}", Keys.TAB)

    @property
    def command(self) -> str:
        return str(self.one("#command textarea").get_attribute("value"))

    def done(self, seconds: float = 400) -> str:
        """The line about what was done, once it is.

        Raises:
            AssertionError: for an error on the page.
        """

        def told() -> str:
            assert not self.all("#status [role=alert]"), self.text("status")
            text = self.text("status")
            return text if text.startswith("Done") else ""

        return str(wait_for(told, seconds))

    def hosts(self) -> set[str]:
        """Whom the browser asked for anything, since the last call."""
        asked = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"]
        return {url.split("/")[2].partition(":")[0] for url in urls if url.startswith(("http", "ws"))}
