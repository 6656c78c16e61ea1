import hashlib
import http.server
import io
import stat
import tarfile
import threading
import time
import zipfile
from dataclasses import dataclass, field
from email.utils import formatdate

import numpy as np
import pytest

from maskmill.data import download as module
from maskmill.data.download import download, unpack
from maskmill.errors import InputError

CONTENT = np.random.default_rng([1]).bytes(300_000)
PAGE = b"<html>Log in to this network</html>"
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@dataclass
class Behaviour:
    """The behaviour of the test server, and the requests that it received."""

    ranges: bool = True  # does it honour Range?
    cut_after: list[int] = field(default_factory=list)  # answer n ends after that many bytes
    page: int = 0  # so many answers are a page with status 200
    busy: list[tuple[int, str | None]] = field(default_factory=list)  # answer n: status and Retry-After
    asked: list[str | None] = field(default_factory=list)  # the Range header of each request


@pytest.fixture
def server():
    """A server on the loopback interface that serves CONTENT under /file and 404 elsewhere."""
    behaviour = Behaviour()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            behaviour.asked.append(asked)
            if self.path != "/file":
                return self.send_error(404)
            if behaviour.busy:
                status, seconds = behaviour.busy.pop(0)
                self.send_response(status)
                if seconds is not None:
                    self.send_header("Retry-After", seconds)
                return self.end_headers()
            if behaviour.page:
                behaviour.page -= 1
                self.send_response(200)
                self.end_headers()
                self.wfile.write(PAGE)
                return None
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and behaviour.ranges else 0
            if start >= len(CONTENT):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            end = start + behaviour.cut_after.pop(0) if behaviour.cut_after else None
            self.wfile.write(CONTENT[start:end])
            return None

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        behaviour.url = f"http://127.0.0.1:{running.server_port}/file"
        yield behaviour
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 10_000)


def test_a_download_is_the_servers_file(server, tmp_path):
    path = tmp_path / "folder/file.bin"
    download([server.url], path, CHECKSUM)
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


def test_a_present_file_is_not_fetched_again(server, tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    download([server.url], path, CHECKSUM)
    assert server.asked == []


def test_a_cut_download_resumes_where_it_stopped(server, tmp_path):
    server.cut_after = [100_000, 50_000]
    path = tmp_path / "file.bin"
    download([server.url], path, CHECKSUM, pause=0)
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert path.read_bytes() == CONTENT


def test_what_an_earlier_process_left_is_kept(server, tmp_path):
    path = tmp_path / "file.bin"
    server.cut_after = [120_000]
    with pytest.raises(InputError):
        download([server.url], path, CHECKSUM, attempts=1, pause=0)
    assert not path.exists()
    assert (tmp_path / "file.bin.partial").stat().st_size == 120_000
    download([server.url], path, CHECKSUM)
    assert server.asked[-1] == "bytes=120000-"
    assert path.read_bytes() == CONTENT


def test_a_server_that_ignores_range_starts_over(server, tmp_path):
    server.ranges = False
    server.cut_after = [100_000]
    path = tmp_path / "file.bin"
    download([server.url], path, CHECKSUM, pause=0)
    assert server.asked == [None, "bytes=100000-"]
    assert path.read_bytes() == CONTENT


def test_a_whole_partial_file_needs_only_its_checksum(server, tmp_path):
    (tmp_path / "file.bin.partial").write_bytes(CONTENT)
    download([server.url], tmp_path / "file.bin", CHECKSUM)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_wrong_checksum_removes_the_file_and_names_both_digests(server, tmp_path):
    path, wrong = tmp_path / "file.bin", f"md5:{'0' * 32}"
    found = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
    with pytest.raises(InputError) as error:
        download([server.url], path, wrong)
    message = str(error.value)
    assert str(path) in message and wrong in message and found in message and "run again" in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_page_instead_of_the_file_leaves_what_was_received(server, tmp_path):
    path, partial = tmp_path / "file.bin", tmp_path / "file.bin.partial"
    partial.write_bytes(CONTENT[:270_000])
    server.page = 1
    with pytest.raises(InputError, match=rf"file\.bin: checksum is sha256:\w+ \({len(PAGE)} bytes\), expected"):
        download([server.url], path, CHECKSUM, pause=0)
    assert partial.read_bytes() == CONTENT[:270_000]
    download([server.url], path, CHECKSUM, pause=0)
    assert path.read_bytes() == CONTENT and server.asked[-1] == "bytes=270000-"
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]


def test_a_page_instead_of_the_file_is_followed_by_the_next_url(server, tmp_path):
    server.page = 1
    download([server.url, server.url], tmp_path / "file.bin", CHECKSUM, pause=0)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT and len(server.asked) == 2


def test_a_server_that_ignores_range_and_breaks_off_leaves_the_longer_part(server, tmp_path):
    server.ranges = False
    partial = tmp_path / "file.bin.partial"
    for cut, left in ((120_000, 120_000), (50_000, 120_000), (200_000, 200_000)):
        server.cut_after = [cut]
        with pytest.raises(InputError, match=f"connection ended after {cut} of 300000 bytes"):
            download([server.url], tmp_path / "file.bin", CHECKSUM, attempts=1, pause=0)
        assert partial.read_bytes() == CONTENT[:left]
        assert [p.name for p in tmp_path.iterdir()] == [partial.name]


def test_a_busy_server_is_asked_again_when_it_says(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    in_an_hour = formatdate(time.time() + 3600, usegmt=True)
    server.busy = [(429, "7"), (503, in_an_hour), (503, None), (408, "soon")]
    download([server.url], tmp_path / "file.bin", CHECKSUM, pause=2)
    assert waits == [7, module.LONGEST_WAIT, 8, 16] and (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_refusal_is_not_asked_for_again(server, tmp_path):
    server.busy = [(403, None), (410, "1")]
    with pytest.raises(InputError, match="HTTP Error 410"):
        download([server.url, server.url], tmp_path / "file.bin", CHECKSUM)
    assert len(server.asked) == 2


def test_a_wrong_file_that_lies_there_is_told_where_no_other_can_be_had(refused_url, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"another")
    found = hashlib.sha256(b"another").hexdigest()
    with pytest.raises(InputError) as error:
        download([refused_url], tmp_path / "file.bin", CHECKSUM, attempts=1)
    assert f"the file that lies there has the checksum sha256:{found}, expected {CHECKSUM}" in str(error.value)
    assert (tmp_path / "file.bin").read_bytes() == b"another"


def test_the_next_url_is_asked_when_one_has_no_such_file(server, tmp_path):
    path = tmp_path / "file.bin"
    download([server.url.replace("/file", "/absent"), server.url], path, CHECKSUM, pause=0)
    assert len(server.asked) == 2
    assert path.read_bytes() == CONTENT


def test_no_server_is_one_line_that_names_file_and_url(refused_url, tmp_path):
    with pytest.raises(InputError) as error:
        download([refused_url], tmp_path / "file.bin", CHECKSUM, attempts=2, pause=0)
    message = str(error.value)
    assert str(tmp_path / "file.bin") in message and refused_url in message and "by hand" in message
    assert "\n" not in message


def test_a_full_disk_is_no_error_of_the_network(server, small_disk):
    with pytest.raises(InputError, match=r"file\.bin: the disk is full; make room and run again"):
        download([server.url], small_disk / "file.bin", CHECKSUM)
    assert server.asked == [None]


def test_a_disk_that_is_full_while_unpacking_is_one_line(small_disk, tmp_path):
    make_tar(tmp_path / "archive", {"a.bin": CONTENT})
    with pytest.raises(InputError, match="out: the disk is full"):
        unpack(tmp_path / "archive", small_disk / "out")
    assert list(small_disk.iterdir()) == []


def make_tar(path, files, mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def make_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


FILES = {"top/a/one.txt": b"1", "top/a/two.txt": b"2", "top/ab/three.txt": b"3", "top/list.txt": b"4"}


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_only_the_named_members_are_unpacked(make, tmp_path):
    make(tmp_path / "archive", FILES)
    unpack(tmp_path / "archive", tmp_path / "out", ["top/a", "top/list.txt"])
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert found == {"top/a/one.txt", "top/a/two.txt", "top/list.txt"}
    assert (tmp_path / "out/top/a/two.txt").read_bytes() == b"2"


@pytest.mark.parametrize("make", [make_tar, make_zip])
@pytest.mark.parametrize("name", ["../outside.txt", "top/../../outside.txt"])
def test_a_member_that_leaves_the_folder_is_refused(make, name, tmp_path):
    make(tmp_path / "archive", {"top/a.txt": b"1", name: b"2"})
    with pytest.raises(InputError, match="archive: unsafe member"):
        unpack(tmp_path / "archive", tmp_path / "folder/out")
    assert not list(tmp_path.rglob("outside.txt"))
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("points_to", ["/etc", "../../outside", "top/a/one.txt"])
def test_a_link_is_refused_wherever_it_points(kind, points_to, tmp_path):
    make_tar(tmp_path / "archive", FILES, "w")
    with tarfile.open(tmp_path / "archive", "a") as tar:
        link = tarfile.TarInfo("top/link")
        link.type, link.linkname = kind, points_to
        tar.addfile(link)
    with pytest.raises(InputError, match=r"archive: unsafe member .'top/link' is a link.; do not use this archive"):
        unpack(tmp_path / "archive", tmp_path / "folder/out")
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_link_in_a_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        link = zipfile.ZipInfo("top/link")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "a.txt")
    with pytest.raises(InputError, match=r"archive: unsafe member .'top/link' is a link.; do not use this archive"):
        unpack(tmp_path / "archive", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_a_cut_archive_leaves_no_folder(mode, tmp_path):
    make_tar(tmp_path / "archive", {"a.bin": CONTENT, "b.bin": CONTENT}, mode)
    whole = (tmp_path / "archive").read_bytes()
    (tmp_path / "archive").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(InputError, match=r"archive: broken archive \(.*\); delete it and run again"):
        unpack(tmp_path / "archive", tmp_path / "folder/out")
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_missing_member_is_named(tmp_path):
    make_tar(tmp_path / "archive", FILES)
    with pytest.raises(InputError, match=r"archive: has no top/absent"):
        unpack(tmp_path / "archive", tmp_path / "out", ["top/a", "top/absent"])
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_not_overwritten(tmp_path):
    make_tar(tmp_path / "archive", FILES)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="out: is not empty"):
        unpack(tmp_path / "archive", tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_what_a_killed_unpack_left_does_not_survive(tmp_path):
    make_tar(tmp_path / "archive", FILES)
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial/stale.txt").write_text("stale")
    unpack(tmp_path / "archive", tmp_path / "out")
    assert not (tmp_path / "out/stale.txt").exists()
    assert not (tmp_path / ".out.partial").exists()
