"""A headless Chromium, driven through its own driver by the W3C's WebDriver protocol (HTTP, JSON).

Both are Debian packages: ``chromium`` and ``chromium-driver``. Tests that look at pages skip where
they are not on PATH; in CI that is a failure.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

DRIVERS = ("chromedriver",)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_TIMEOUT_S = 120


class BrowserError(Exception):
    """The browser did not do what it was told."""


@dataclass(frozen=True, kw_only=True)
class Browser:
    """A session of a browser. ``address``: of its driver."""

    address: str
    session: str

    def open(self, page: Path) -> None:
        """Load a file and wait until it is there."""
        self.ask("url", url=page.as_uri())

    def ask(self, what: str, **told: Any) -> Any:
        """A command of this session."""
        return _post(f"{self.address}/session/{self.session}/{what}", told)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a JavaScript function's body returns."""
        return self.ask("execute/sync", script=script, args=list(arguments))

    def tools(self, command: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return self.ask("goog/cdp/execute", cmd=command, params=parameters)

    def log(self, kind: str) -> list[dict[str, Any]]:
        """What was logged since it was asked last: ``browser`` (the console), ``performance``."""
        found: list[dict[str, Any]] = self.ask("se/log", type=kind)
        return found

    def look(self, *, width: int = 1280, height: int = 900, **media: str) -> None:
        """Emulate a window of this size, and media features such as ``prefers_color_scheme``."""
        self.tools(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        kind = media.pop("media", "")
        features = [{"name": key.replace("_", "-"), "value": value} for key, value in media.items()]
        self.tools("Emulation.setEmulatedMedia", media=kind, features=features)

    def picture(self, to: Path, *, whole: bool = True) -> None:
        """The page as PNG."""
        told = self.tools("Page.captureScreenshot", captureBeyondViewport=whole)
        to.write_bytes(base64.b64decode(told["data"]))

    def printed(self) -> bytes:
        """The page as PDF, as it would be printed."""
        told = self.tools("Page.printToPDF", printBackground=False, preferCSSPageSize=True)
        return base64.b64decode(told["data"])


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser without a window and without a network. Skips, or fails in CI, without one."""
    driver = next(filter(None, map(shutil.which, DRIVERS)), None)
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if driver is None or program is None:
        why = "no headless browser: install chromium and chromium-driver"
        (pytest.fail if "CI" in os.environ else pytest.skip)(why)
    with _started(driver) as process:
        try:
            address = f"http://127.0.0.1:{_port(process)}"
            session = _post(f"{address}/session", {"capabilities": _wanted(program)})["sessionId"]
            try:
                yield Browser(address=address, session=session)
            finally:
                _delete(f"{address}/session/{session}")
        finally:
            process.terminate()


@contextmanager
def _started(driver: str) -> Iterator[subprocess.Popen[str]]:
    """The driver, with a folder for what it and the browser leave behind."""
    # The browser may still write there when its driver has ended.
    with (
        tempfile.TemporaryDirectory(
            prefix="aiprov-browser-", ignore_cleanup_errors=True
        ) as scratch,
        subprocess.Popen(
            [driver, "--port=0"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": scratch},
        ) as process,
    ):
        yield process


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        if "started successfully on port" in line:
            return int(line.rstrip().rstrip(".").rsplit(" ", 1)[1])
    raise BrowserError("chromedriver ended without a word of its port")


def _wanted(program: str) -> dict[str, Any]:
    arguments = [
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--host-resolver-rules=MAP * ~NOTFOUND",
    ]  # fmt: skip
    return {
        "alwaysMatch": {
            "goog:chromeOptions": {"binary": program, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
    }


def _post(address: str, told: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        address, data=json.dumps(told).encode(), headers={"Content-Type": "application/json"}
    )
    return _value(request)


def _delete(address: str) -> None:
    _value(urllib.request.Request(address, method="DELETE"))


def _value(request: urllib.request.Request) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise BrowserError(error.read().decode(errors="replace")) from error
