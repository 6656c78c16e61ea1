"""Fixtures for tests of several folders."""

import http.server
import io
import os
import subprocess
import threading
from collections import Counter

import numpy as np
import pytest
from PIL import Image


def pytest_runtest_logreport(report):
    """A failure is shown when it happens: a run that is cut off never comes to its summary."""
    if report.failed:
        print(f"\nFAILED {report.nodeid} ({report.when})\n{report.longreprtext}", flush=True)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 128 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def _jpeg(height, width):
    data = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(data, "jpeg")
    return data.getvalue()


@pytest.fixture
def image_server():
    """A server on the loopback interface: `/<h>x<w>.jpg` is an image of that size, `/cut.jpg` ends early at
    first, `/page` is no image, the rest is 404 or, below /busy, 503. `asked` counts what was asked for."""
    asked = Counter()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked[self.path] += 1
            if self.path.startswith("/busy"):
                return self.send_error(503)
            if self.path == "/page":
                data = b"<html>sold out</html>"
            elif self.path == "/cut.jpg":
                data = _jpeg(40, 30)
                data = data[: len(data) // 2] if asked[self.path] == 1 else data
            elif "x" in self.path:
                data = _jpeg(*map(int, self.path[1:].removesuffix(".jpg").split("x")))
            else:
                return self.send_error(404)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.asked, running.url = asked, f"http://127.0.0.1:{running.server_port}"
        yield running
        running.shutdown()
        thread.join()
