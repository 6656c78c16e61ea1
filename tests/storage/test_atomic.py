import errno
import os
import stat
import subprocess
import tarfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch

from maskmill.data.download import unpack
from maskmill.data.shards import write_shard
from maskmill.data.voc import write_mask
from maskmill.errors import InputError
from maskmill.storage.atomic import atomic_path, partial_path, write_text
from maskmill.storage.checkpoints import save_tensors
from maskmill.storage.features import BLOCK, write_features
from maskmill.storage.maps import create_maps
from maskmill.storage.tables import write_table


def test_a_file_appears_only_when_the_block_ends(tmp_path):
    path = tmp_path / "folder/result.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert os.listdir(path.parent) == ["result.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(error, tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_path(path) as temporary:
        temporary.write_text("new, unfinished")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.txt"]


def test_what_a_killed_run_left_is_overwritten(tmp_path):
    path = tmp_path / "result.txt"
    with atomic_path(path) as temporary:
        leftover = temporary
        temporary.write_text("")
    leftover.write_text("of a killed run, longer than what follows")
    write_text(path, "new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["result.txt"]


def test_text_is_utf8(tmp_path):
    write_text(tmp_path / "a.txt", "naïve")
    assert (tmp_path / "a.txt").read_bytes() == "naïve".encode()


def write_maps(path):
    with create_maps(path, "features", producer="test") as store:
        for number in range(8):
            store.write(str(number), np.random.default_rng([number]).random((64, 128)))


def write_tensors(path):
    save_tensors(path, {"a": torch.ones(1 << 18)}, {})


def write_long_text(path):
    write_text(path, "x" * (1 << 20))


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_maps, write_tensors, write_long_text])
def test_a_full_disk_is_one_line_and_leaves_nothing(small_disk, write):
    # In a process of its own: HDF5 keeps what it could not flush, and crashes with it later.
    full = pytest.raises(InputError, match=r"file: the disk is full; make room and run again")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process, full:
        process.submit(write, small_disk / "file").result()
    assert os.listdir(small_disk) == []


def test_a_full_quota_is_a_full_disk(tmp_path):
    with pytest.raises(InputError, match="the disk is full"), atomic_path(tmp_path / "file"):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


def make_room(folder):
    subprocess.run(["mount", "-o", "remount,size=8m", str(folder)], check=True)


def write_maps_late(path):
    with create_maps(path, "features", producer="test") as store:
        for number in range(8):
            try:
                store.write(str(number), np.random.default_rng([number]).random((64, 128)))
            finally:
                if number == 6:
                    make_room(path.parent)


def write_features_late(path):
    def compute(rows):
        if rows.start == 3 * BLOCK:
            make_room(path.parent)
        return np.random.default_rng([rows.start]).random((len(rows), 4, 200))

    write_features(path, list("x" * 4 * BLOCK), compute, (4, 200), producer="test", parameters={}, inputs=[])


class RoomLater(dict):
    """Columns of a table; before the last one is written, the disk has room again."""

    def __init__(self, folder):
        super().__init__({name: np.random.default_rng([3]).random((256, 64)) for name in "abcd"})
        self.folder = folder

    def items(self):
        for name, values in super().items():
            if name == "d":
                make_room(self.folder)
            yield name, values


def write_table_late(path):
    write_table(path, RoomLater(path.parent))


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_maps_late, write_features_late, write_table_late])
def test_room_that_appears_too_late_gives_no_file_with_holes(small_disk, write):
    """The disk is full while an array is written, and has room again when the file is closed."""
    full = pytest.raises(InputError, match=r"file: the disk is full; make room and run again")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process, full:
        process.submit(write, small_disk / "file").result()
    assert not (small_disk / "file").exists()


def write_unpacked(path):
    path.parent.mkdir(parents=True)
    archive, name = path.with_name("archive"), "folder/private"
    with tarfile.open(archive, "w") as tar:
        member = tarfile.TarInfo(name)
        member.mode = 0o600
        tar.addfile(member)
    unpack(archive, path.with_name("out"))
    path.with_name("out").joinpath(name).rename(path)


WRITERS = {
    "text": lambda path: write_text(path, "text"),
    "checkpoint": lambda path: save_tensors(path, {"a": torch.ones(2)}, {}),
    "maps": write_maps,
    "features": lambda path: write_features(
        path, ["a"], lambda rows: np.zeros((1, 2, 3)), (2, 3), producer="test", parameters={}, inputs=[]
    ),
    "table": lambda path: write_table(path, {"a": np.arange(3)}),
    "mask": lambda path: write_mask(path, np.zeros((2, 3), np.uint8)),
    "shard": lambda path: write_shard(path, []),
    "file of an archive": write_unpacked,
}


@pytest.fixture(params=[0o022, 0o002, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("kind", WRITERS)
def test_every_file_and_folder_has_the_permissions_of_the_umask(kind, umask, tmp_path):
    path = tmp_path / "new/inner/file"
    WRITERS[kind](path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    for made in (path.parent, path.parent.parent):
        assert stat.S_IMODE(made.stat().st_mode) == 0o777 & ~umask


def test_what_a_killed_run_left_does_not_keep_its_permissions(tmp_path):
    partial_path(tmp_path / "file").touch(0o600)
    write_text(tmp_path / "file", "new")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file/a.txt", tmp_path / "file/folder/a.txt"):
        with pytest.raises(InputError, match=r"a\.txt: cannot be written: .*; allow it, or choose another place"):
            write_text(path, "text")
