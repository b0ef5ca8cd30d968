"""Serving the page on this machine alone."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from metasr.errors import InputError

ADDRESS = "127.0.0.1"
NAMES = [ADDRESS, "localhost"]
"""Under which the page answers: another name means that some other site's script is asking."""

MAX_FILE_SIZE = "500mb"

POLICY = "; ".join(
    [
        "default-src 'self'", "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'", "img-src 'self' data: blob:", "font-src 'self' data:",
        "connect-src 'self' data: blob:", "worker-src 'self' blob:", "object-src 'none'", "base-uri 'self'",
        "form-action 'self'", "frame-ancestors 'none'",
    ]
)  # fmt: skip
"""What a browser may load for the page: nothing but what comes from it."""


FETCHING = ("file=http", "file/http", "proxy=")
"""In a path: gradio would fetch an address from elsewhere."""


def serve(*, port: int) -> Iterator[str]:
    """Serve the page until Ctrl-C; gives its address once it is there.

    Uploads and results lie in a folder that only its owner may read, and that is removed at the end.

    Raises:
        InputError: if gradio is not installed, or the port is taken or none.
    """
    _require_free(port)
    with tempfile.TemporaryDirectory(prefix="metasr_page_") as folder:
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "uploads")
        _without_proxy()
        close = launch(Path(folder), port=port)
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            yield f"http://{ADDRESS}:{port}/ is the page, for browsers on this machine; Ctrl-C ends it"
            threading.Event().wait()
        except KeyboardInterrupt:
            return
        finally:
            signal.signal(signal.SIGTERM, before)
            close()


def launch(folder: Path, *, port: int) -> Callable[[], None]:
    """Start the page in threads of their own.

    Args:
        folder: for the files of all tabs.
        port: a free one.

    Returns:
        What ends it.

    Raises:
        InputError: if gradio is not installed.
    """
    try:
        import gradio as gr
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
    except ImportError as error:
        raise InputError("the page needs gradio, which is not installed: pip install 'metasr[page]'") from error
    from metasr.page.app import Page
    from metasr.page.fields import CSS

    gr.processing_utils.async_ssrf_protected_download = _fetch_nothing  # of an upload that is an address
    logging.getLogger("httpx").setLevel(logging.WARNING)
    fonts = ["system-ui", "sans-serif"]
    blocks = Page(folder).blocks()
    blocks.launch(
        server_name=ADDRESS,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        theme=gr.themes.Default(font=fonts, font_mono=["ui-monospace", "monospace"]),
        css=CSS,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        num_workers=0,
        strict_cors=True,
        max_file_size=MAX_FILE_SIZE,
        app_kwargs={
            "middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=NAMES), Middleware(OwnFilesAlone)],
            "docs_url": None,
            "redoc_url": None,
        },
    )
    return blocks.close


class OwnFilesAlone:
    """Middleware that lets neither browser nor server fetch anything from elsewhere, nor another site frame the page.

    Args:
        app: what answers.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, with headers added; not where gradio would fetch an address for whoever asks."""
        if any(sign in scope.get("path", "") for sign in FETCHING):
            await self._refuse(send)
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = {
                    "content-security-policy": POLICY, "referrer-policy": "no-referrer",
                    "x-content-type-options": "nosniff",
                }  # fmt: skip
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in added.items())]
            await send(message)

        await self.app(scope, receive, with_headers)

    async def _refuse(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"nothing is fetched from elsewhere"})


async def _fetch_nothing(url: str, cache_dir: str) -> str:
    raise InputError(f"{url}: nothing is fetched from elsewhere; hand over the file itself")


def _require_free(port: int) -> None:
    """Require a port that can be listened at.

    Raises:
        InputError: telling why it cannot.
    """
    if not 1 <= port <= 65535:
        raise InputError(f"port (--port) must be 1 to 65535, got {port}")
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((ADDRESS, port))
        except PermissionError as error:
            raise InputError(f"port {port} is not allowed to you: choose one above 1023 (--port)") from error
        except OSError as error:
            raise InputError(
                f"port {port} is taken by another program, maybe by another page: choose another, such as "
                f"--port {port + 1 if port < 65535 else 7860}"
            ) from error


def _without_proxy() -> None:
    """Let requests to this machine pass by a proxy that the environment names."""
    for key in ("NO_PROXY", "no_proxy"):
        os.environ[key] = ",".join(filter(None, [os.environ.get(key), *NAMES]))


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
