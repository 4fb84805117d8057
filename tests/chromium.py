"""A headless Chromium, driven through its debugging pipe: what a page logs, asks for, shows."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAM = next((p for n in ("chromium", "chromium-browser", "google-chrome")
                if (p := shutil.which(n))), None)


class Page:
    """One page in a browser of its own. messages: every event that it sent, in order."""

    def __init__(self, time_limit_s: float = 120.0, *, webgl: bool = True) -> None:
        self.time_limit_s = time_limit_s
        # Three dimensions are drawn by the processor, or not at all.
        graphics = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        self.messages: list[dict[str, Any]] = []
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._buffer, self._number = b"", 0
        its_input, self._write = os.pipe()
        self._read, its_output = os.pipe()

        def pipes() -> None:
            # The debugging pipe is at the numbers 3 and 4; both ends are copied away first, so that
            # neither is in the way.
            source, target = os.dup(its_input), os.dup(its_output)
            while min(source, target) < 5:
                source, target = os.dup(source), os.dup(target)
            os.dup2(source, 3)
            os.dup2(target, 4)

        command = [str(PROGRAM), "--headless=new", "--no-sandbox",
                   *(graphics if webgl else ["--disable-gpu", "--disable-3d-apis"]),
                   "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
                   f"--user-data-dir={self._profile.name}", "--remote-debugging-pipe",
                   "about:blank"]
        self._process = subprocess.Popen(
            command, preexec_fn=pipes, close_fds=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(its_input)
        os.close(its_output)
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target,
                                  flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        os.close(self._write)
        os.close(self._read)
        self._profile.cleanup()

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send one command and return its result; events that come meanwhile are kept."""
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self.messages.append(answer)

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + self.time_limit_s
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("Chromium does not answer")
            data = os.read(self._read, 1 << 20)
            if not data:
                raise RuntimeError("Chromium has ended")
            self._buffer += data
        first, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(first))

    def open(self, path: Path, width: int, *, dark: bool = False, script: bool = True) -> None:
        """Show a file in a window of this width (CSS pixels), as a phone does when it is narrow."""
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900,
                  deviceScaleFactor=1, mobile=width < 600)
        scheme = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not any(m.get("method") == "Page.loadEventFired" for m in self.messages):
            self.messages.append(self._next())
        self.messages = [m for m in self.messages if m.get("method") != "Page.loadEventFired"]

    def value(self, script: str) -> Any:
        """Return what a JavaScript expression is in the page."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["text"])
        return result["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Wait until a JavaScript expression is true in the page."""
        end = time.monotonic() + self.time_limit_s
        while not self.value(script):
            if time.monotonic() > end:
                raise TimeoutError(script)
            time.sleep(0.05)

    def press(self, key: str, times: int = 1) -> None:
        """Press a key where the focus is."""
        code = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36,
                "End": 35, "Escape": 27, " ": 32, "Tab": 9}.get(key, 0)
        text = {"text": key} if len(key) == 1 else {}
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                self.call("Input.dispatchKeyEvent", type=kind, key=key,
                          windowsVirtualKeyCode=code, **(text if kind == "keyDown" else {}))

    def mouse(self, kind: str, x: float, y: float) -> None:
        """Move, press or release the mouse: mouseMoved, mousePressed, mouseReleased."""
        button = {"button": "left", "clickCount": 1} if kind != "mouseMoved" else {}
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def pdf(self, path: Path) -> None:
        """Print the page on A4."""
        printed = self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"]
        path.write_bytes(base64.b64decode(printed))

    def complaints(self) -> list[str]:
        """Return what the console shows as an error or warning, and every exception."""
        found = []
        for m in self.messages:
            p = m.get("params", {})
            if m.get("method") == "Log.entryAdded" and p["entry"]["level"] in ("error", "warning"):
                found.append(str(p["entry"]["text"]))
            if m.get("method") == "Runtime.consoleAPICalled" and p["type"] in ("error", "warning"):
                found.append(str(p["args"]))
            if m.get("method") == "Runtime.exceptionThrown":
                found.append(str(p["exceptionDetails"]))
        return found

    def requests(self) -> list[str]:
        """Return every address that was asked for, those inside the page (data:) left out."""
        urls = [m["params"]["request"]["url"] for m in self.messages
                if m.get("method") == "Network.requestWillBeSent"]
        return [u for u in urls if not u.startswith("data:")]

    def screenshot(self, path: Path) -> None:
        """Write the whole page as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        path.write_bytes(base64.b64decode(picture))
