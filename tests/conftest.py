"""What all tests begin with, and fixtures for tests of several folders."""

import gc
import http.server
import io
import logging
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from maskmill.workflow.warm import ADDRESS

# Hypothesis draws the same examples in every run, and no example has to be fast.
settings.register_profile(
    "maskmill", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("maskmill")

os.environ["no_proxy"] = "*"  # the tests ask servers on this machine alone
os.environ.pop("SNAKEMAKE_PROFILE", None)  # a profile of the user's would change the tests' runs


def pytest_collection_finish():
    """What was imported and collected stays: the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """No test depends on those before it: environment, folder, log and random numbers are the same for each."""
    environment, folder, log = dict(os.environ), os.getcwd(), logging.getLogger()
    handlers, level = log.handlers[:], log.level
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    try:
        return (yield)
    finally:
        for name in os.environ.keys() - environment.keys() - {ADDRESS}:  # of a server that outlives a test
            del os.environ[name]
        os.environ.update(environment)
        os.chdir(folder)
        log.handlers[:] = handlers
        log.setLevel(level)


def pytest_runtest_logreport(report):
    """A failure is shown when it happens: a run that is cut off never comes to its summary."""
    if report.failed:
        print(f"\nFAILED {report.nodeid} ({report.when})\n{report.longreprtext}", flush=True)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 128 KiB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:  # in most containers
        pytest.skip(f"root may not mount a file system here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def refused_url():
    """The URL of a file on this machine, at a port that is taken and that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/file.jpg"


def _jpeg(height, width):
    data = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(data, "jpeg")
    return data.getvalue()


@pytest.fixture
def image_server():
    """A server on the loopback interface: `/<h>x<w>.jpg` is an image of that size, `/cut.jpg` ends early at
    first, `/page` is no image, the rest is 404 or, below /busy, 503. `asked` counts what was asked for. After `limit`
    images the server answers 429 once, with `retry_after`, or always if `limited_for_ever`; to `refused` always."""
    asked = Counter()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked[self.path] += 1
            given = running.given
            limited = running.limit is not None and given >= running.limit
            if limited or self.path == running.refused:
                running.given = given if running.limited_for_ever else 0
                self.send_response(429)
                if running.retry_after:
                    self.send_header("Retry-After", running.retry_after)
                return self.end_headers()
            running.given += 1
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
        running.given, running.limit, running.limited_for_ever = 0, None, False
        running.refused, running.retry_after = "", ""
        yield running
        running.shutdown()
        thread.join()
