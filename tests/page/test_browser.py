"""The page in a headless browser, end to end: everything that a person would do with it."""

import io
import shlex
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from metasr.data.catalog import image_set
from page.browser import Tab, browser, served, wait_for
from running import environment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def driver(folder: Path) -> Iterator[Any]:
    (folder / "downloads").mkdir()
    with browser(folder / "downloads") as opened:
        yield opened


@pytest.fixture(scope="module")
def address(folder: Path, driver: Any) -> Iterator[str]:
    with served(folder) as url:
        yield url
        assert "Traceback" not in (folder / "page.log").read_text()
        assert not (folder / "asked_for").exists(), (folder / "asked_for").read_text()
    assert not list(folder.glob("metasr_page_*"))  # uploads and results are gone with the page


@pytest.fixture
def tab(driver: Any, address: str) -> Iterator[Tab]:
    opened = Tab(driver, address)
    yield opened
    assert opened.hosts() <= {"127.0.0.1"}
    told = [entry["message"] for entry in driver.get_log("browser")]
    assert [message for message in told if "Content Security Policy" in message or "Uncaught" in message] == []


def photo(path: Path, width: int = 60, height: int = 44, *, sample: int = 1) -> Path:
    """A small photograph."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(image_set("samples", split="test").paths[sample]) as image:
        image.convert("RGB").crop((80, 80, 80 + width, 80 + height)).save(path)
    return path


def test_upload_run_slide_and_download(tab: Tab, folder: Path) -> None:
    own = photo(folder / "mine" / "my photo (1) & [é].png")
    tab.give("photo", own)
    wait_for(lambda: "60x44 pixels" in tab.text("seen"))
    assert "my photo (1) & [é].png: 60x44" in tab.text("seen")
    assert tab.one("#preview img").get_attribute("naturalWidth") == "60"
    tab.number("updates", 2)
    wait_for(lambda: "-n 2" in tab.command and "2 updates" in tab.text("seen"))
    command = tab.command
    tab.click("run")
    assert "2 updates" in tab.done()
    wait_for(lambda: tab.one("#curve").is_displayed())
    before, after = wait_for(lambda: [i for i in tab.all("#pair img") if i.get_attribute("src")])
    wait_for(lambda: {image.get_attribute("naturalWidth") for image in (before, after)} == {"120"})
    assert before.get_attribute("src") != after.get_attribute("src")

    # The slider, by the keyboard and by the mouse.
    from selenium.webdriver.common.action_chains import ActionChains

    def handle_at() -> float:
        style = tab.one("#pair [data-testid=slider]").get_attribute("style")
        return float(style.partition("translateX(")[2].partition("px")[0])

    first = handle_at()
    tab.number("meet", 80)
    wait_for(lambda: handle_at() > first + 50)
    moved = handle_at()
    ActionChains(tab.driver).drag_and_drop_by_offset(tab.one("#pair [data-testid=slider]"), -120, 0).perform()
    wait_for(lambda: handle_at() < moved - 50)

    # What is downloaded is what the command makes.
    tab.click("download")
    name = f"{own.stem}_x2.png"
    target = folder / "downloads" / name
    wait_for(target.is_file)
    words = shlex.split(command)
    assert words[:2] == ["metasr", "upscale"]
    subprocess.run(
        [sys.executable, "-m", *words], cwd=own.parent, env=environment(folder), check=True, timeout=400,
        capture_output=True,
    )  # fmt: skip
    with Image.open(target) as got, Image.open(own.with_name(name)) as want:
        assert got.size == (120, 88)
        assert got.tobytes() == want.tobytes()


def test_the_zoomed_parts_move_in_step(tab: Tab, folder: Path) -> None:
    tab.give("photo", photo(folder / "step.png", 150, 130))
    tab.choose("solver", "interpolate")
    wait_for(lambda: "solver interpolate" in tab.text("seen"))
    tab.click("run")
    tab.done()

    def sources() -> list[str]:
        return [tab.one(f"#part_{name} img").get_attribute("src") for name in ("bicubic", "metasr")]

    first = wait_for(sources)
    tab.number("across_at", 0)
    wait_for(lambda: not set(sources()) & set(first))
    second = sources()
    tab.one("#part_metasr img").click()  # its middle: nothing moves
    tab.number("zoom", 8)
    wait_for(lambda: not set(sources()) & set(second))
    assert tab.one("#part_metasr img").get_attribute("naturalWidth") == "384"


def test_an_embedded_photograph_is_scored(tab: Tab) -> None:
    tab.all("#samples button")[1].click()
    wait_for(lambda: "chelsea" in tab.text("seen"))
    assert "metasr prepare chelsea.png -o chelsea_small -d g2.0d --hr" in tab.command
    tab.number("updates", 1)
    wait_for(lambda: "1 update" in tab.text("seen"))
    tab.click("run")
    tab.done()
    wait_for(lambda: len(tab.all("#scores tbody tr")) == 2)
    rows = [row.text.split() for row in tab.all("#scores tbody tr")]
    assert [row[0] for row in rows] == ["bicubic", "metasr"]
    assert float(rows[1][1]) > float(rows[0][1]) + 2  # dB
    assert float(rows[1][2]) > float(rows[0][2])
    wait_for(lambda: len([image for image in tab.all("#errors img") if image.get_attribute("src")]) == 2)
    wait_for(lambda: tab.one("#part_original img").is_displayed())


def test_the_original_of_a_photo(tab: Tab, folder: Path) -> None:
    hr = photo(folder / "hr.png", 121, 97)
    with Image.open(hr) as image:
        image.resize((61, 49), Image.Resampling.BICUBIC).save(folder / "lr.png")
    tab.give("photo", folder / "lr.png")
    tab.one("#truth_of button").click()
    tab.give("truth", hr)
    tab.choose("solver", "interpolate")
    wait_for(lambda: "solver interpolate" in tab.text("seen"))
    tab.click("run")
    tab.done()
    wait_for(lambda: len(tab.all("#scores tbody tr")) == 2)
    tab.give("photo", photo(folder / "other.png", 40, 40))
    wait_for(lambda: "other.png" in tab.text("seen"))
    tab.click("run")
    wait_for(lambda: tab.all("#status [role=alert]"))
    assert "the original is 121x97 pixels and the result will be 80x80" in tab.text("status")


def test_kernels(tab: Tab, folder: Path) -> None:
    def picture() -> str:
        shown = tab.all("#kernel img")
        return str(shown[0].get_attribute("src")) if shown else ""

    tab.give("photo", photo(folder / "kernels.png"))
    wait_for(lambda: "kernels.png" in tab.text("seen") and picture())
    plain = picture()
    tab.choose("form", "Gaussian, by sliders")
    wait_for(lambda: "-k sig_1.6_b" in tab.command and picture() not in ("", plain))
    round_one = picture()
    tab.number("along", 3)
    wait_for(lambda: "-k sigani_3_1.6_0_b" in tab.command)
    tab.number("degrees", 30)
    wait_for(lambda: "-k sigani_3_1.6_30_b" in tab.command and picture() != round_one)
    assert tab.text("kernel_told") == "sigani_3_1.6_30_b"
    tab.all("#sampling input")[1].click()
    wait_for(lambda: "-k sigani_3_1.6_30_d" in tab.command)
    tab.number("noise", 5)
    wait_for(lambda: "-k sigani_3_1.6_30_d_n5" in tab.command)
    tab.choose("form", "out of focus, by a slider")
    wait_for(lambda: "-k disc_2_d_n5" in tab.command)

    import numpy as np

    np.save(folder / "k.npy", np.full((3, 3), 1 / 9))
    tab.choose("form", "a kernel file")
    wait_for(lambda: "no kernel file yet" in tab.text("seen"))
    tab.give("file", folder / "k.npy")
    wait_for(lambda: "-k k.npy_d_n5" in tab.command)
    tab.click("reset")
    wait_for(lambda: tab.command == "metasr upscale kernels.png")
    tab.click("estimate")
    wait_for(lambda: tab.command == "metasr upscale kernels.png -k estimate")
    wait_for(picture)


def test_cancel(tab: Tab, folder: Path) -> None:
    tab.give("photo", photo(folder / "cancel.png"))
    tab.choose("solver", "zssr")
    wait_for(lambda: "solver zssr" in tab.text("seen"))
    tab.click("run")
    wait_for(lambda: "steps" in tab.text("status"))
    assert not tab.one("#run").is_enabled()
    tab.click("stop")
    wait_for(lambda: tab.text("status") == "cancelled")
    tab.choose("solver", "interpolate")
    wait_for(lambda: tab.one("#run").is_enabled() and "solver interpolate" in tab.text("seen"))
    tab.click("run")
    tab.done()


def test_a_bad_file_is_told_of_and_the_page_lives(tab: Tab, folder: Path) -> None:
    bad = folder / "bad <b>.png"
    bad.write_bytes(b"no picture")
    tab.give("photo", bad)
    wait_for(lambda: "the content is none of the known formats" in tab.text("seen"))
    assert "bad <b>.png" in tab.text("seen")
    assert str(folder) not in tab.text("seen")
    tab.click("run")
    wait_for(lambda: tab.all("#status [role=alert]"))
    assert "the content is none of the known formats" in tab.text("status")
    tab.give("photo", photo(folder / "good.png"))
    tab.choose("solver", "interpolate")
    wait_for(lambda: "good.png" in tab.text("seen") and "solver interpolate" in tab.text("seen"))
    tab.click("run")
    wait_for(lambda: not tab.all("#status [role=alert]"))
    assert "good_x2.png" in tab.done()


def test_two_tabs_at_once(tab: Tab, driver: Any, address: str, folder: Path) -> None:
    driver.switch_to.new_window("tab")
    other = Tab(driver, address)
    try:
        for each, name, sample in ((tab, "one", 1), (other, "two", 2)):
            each.show()
            each.give("photo", photo(folder / f"{name}.png", sample=sample))
            wait_for(lambda each=each, name=name: f"{name}.png" in each.text("seen"))
            each.number("updates", 3)
            wait_for(lambda each=each: "3 updates" in each.text("seen"))
            each.click("run")
        shown = []
        for each, name in ((tab, "one"), (other, "two")):
            each.show()
            assert f"{name}_x2.png" in each.done()
            shown.append(each.one("#part_metasr img").get_attribute("src"))
        assert shown[0] != shown[1]
    finally:
        driver.close()
        tab.show()


def test_a_large_photo(tab: Tab, folder: Path) -> None:
    with Image.open(image_set("samples", split="test").paths[1]) as image:
        image.convert("RGB").resize((3000, 2000)).save(folder / "large.jpg", quality=90)
    tab.give("photo", folder / "large.jpg")
    wait_for(lambda: "3000x2000 pixels" in tab.text("seen"), 240)
    tab.number("updates", 1)
    wait_for(lambda: "1 update" in tab.text("seen"), 240)
    tab.click("run")
    wait_for(lambda: "tiles" in tab.text("status"), 500)
    tab.done(500)
    wait_for(lambda: {image.get_attribute("naturalWidth") for image in tab.all("#pair img")} == {"1600"})
    tab.click("download")
    target = folder / "downloads" / "large_x2.png"
    wait_for(target.is_file, 240)
    with Image.open(target) as image:
        assert image.size == (6000, 4000)


def test_several_photos(tab: Tab, folder: Path) -> None:
    files = [photo(folder / "many" / "a.png"), photo(folder / "many" / "b.jpg", sample=2)]
    (folder / "many" / "bad.png").write_bytes(b"no picture")
    tab.choose("solver", "interpolate")
    tab.all("button[role=tab]")[1].click()
    tab.give("photos", *files, folder / "many" / "bad.png")
    wait_for(lambda: len(tab.all("#photos tr")) >= 3)
    tab.click("run_all")
    wait_for(lambda: "2 of 3 photos enlarged" in tab.text("status"), 300)
    table = tab.text("table")
    assert "a_x2.png" in table
    assert "the content is none of the known formats" in table
    assert tab.command == "metasr upscale a.png b.jpg bad.png -o enlarged/ --solver interpolate"
    tab.click("archive")
    target = folder / "downloads" / "enlarged.zip"
    wait_for(target.is_file)
    with zipfile.ZipFile(target) as archive:
        assert archive.namelist() == ["a_x2.png", "b_x2.png"]
        with Image.open(io.BytesIO(archive.read("b_x2.png"))) as image:
            assert image.size == (120, 88)


def test_keyboard_phone_and_dark(tab: Tab, driver: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def within() -> str:
        return str(
            driver.execute_script(
                "return (document.activeElement.closest('[id]:not([id^=component]):not([id^=range])') || {}).id || ''"
            )
        )

    wanted = {"photo", "samples", "kind", "run", "scale", "form", "estimate", "noise", "updates", "solver", "weights",
              "reset", "meet", "across_at", "down_at", "zoom"}  # fmt: skip
    reached = set()
    for _ in range(60):
        ActionChains(driver).send_keys(Keys.TAB).perform()
        reached.add(within())
    assert wanted <= reached

    light = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    try:
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": True}
        )
        dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
        phone = Tab(driver, driver.current_url)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 400
        assert driver.execute_script("return getComputedStyle(document.body).backgroundColor") != light
        assert phone.one("#run").is_displayed()
        phone.all("#samples button")[2].click()
        wait_for(lambda: "coffee" in phone.text("seen"))
        phone.number("updates", 2)
        wait_for(lambda: "2 updates" in phone.text("seen"))
        phone.click("run")
        phone.done()
        wait_for(lambda: phone.all("#curve canvas, #curve svg"))
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 400
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_page_is_all_its_own(tab: Tab, address: str) -> None:
    with urllib.request.urlopen(address) as answer:
        assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert not tab.all("footer a[href*='gradio.app']")
