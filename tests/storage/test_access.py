"""Files that cannot be opened now: each is told from a damaged one, and nobody is advised to delete it."""

import errno
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
import torch

from maskmill.data.shards import Shards
from maskmill.errors import InputError
from maskmill.storage.access import CURES, barred
from maskmill.storage.atomic import partial_path
from maskmill.storage.checkpoints import load_tensors, save_tensors
from maskmill.storage.describe import describe_store
from maskmill.storage.features import Features, write_features
from maskmill.storage.maps import create_maps, merge_maps, open_maps
from maskmill.storage.onnx_models import OnnxModel
from maskmill.storage.tables import read_tables, write_table


def write_maps(path):
    with create_maps(path, "label", producer="test") as store:
        store.write("a", np.zeros((2, 3), np.uint8))


def write_vectors(path):
    write_features(path, ["a"], lambda rows: np.zeros((1, 2, 3)), (2, 3), producer="test", parameters={}, inputs=[])


STORES = {
    "maps": (write_maps, open_maps),
    "described": (write_maps, describe_store),
    "features": (write_vectors, Features),
    "table": (lambda path: write_table(path, {"a": np.arange(3)}), lambda path: read_tables([path])),
}
FILES = {
    **STORES,
    "checkpoint": (lambda path: save_tensors(path, {"a": torch.ones(2)}, {}), load_tensors),
    "network": (lambda path: onnx.save(onnx.ModelProto(), path), OnnxModel),
    "index of a shard": (lambda path: path.write_text("{}"), lambda path: Shards([path.with_suffix(".tar")])),
}


def refused(read, path) -> str:
    with pytest.raises(InputError) as error:
        read(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and "delete" not in message
    return message


@pytest.fixture
def as_nobody():
    """A folder that everybody may enter; meanwhile the process has the rights of no user."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    os.seteuid(os.getuid())
    shutil.rmtree(folder)


def lose_rights():
    if os.getuid() == 0:
        os.seteuid(65534)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("closed", ["file", "folder"])
def test_a_file_of_somebody_else_is_not_called_missing_or_damaged(kind, closed, as_nobody):
    write, read = FILES[kind]
    path = as_nobody / "folder/file.json"
    path.parent.mkdir()
    write(path)
    (path if closed == "file" else path.parent).chmod(0)
    lose_rights()
    assert "you may not read it; its owner can allow that: chmod a+r" in refused(read, path)


@pytest.mark.parametrize("kind", STORES)
def test_a_store_that_another_program_has_locked_is_not_called_damaged(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "TRUE")
    write, read = STORES[kind]
    write(tmp_path / "a.h5")
    with open(tmp_path / "a.h5", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "is locked by another program" in refused(read, tmp_path / "a.h5")
    read(tmp_path / "a.h5")


def test_a_shard_that_another_program_has_locked_is_named(tmp_path):
    write_maps(tmp_path / "shard.h5")
    merge_maps([tmp_path / "shard.h5"], tmp_path / "all.h5")
    with open_maps(tmp_path / "all.h5") as maps, open(tmp_path / "shard.h5", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"shard.h5: is locked by another program"):
            maps["a"]


def test_an_unfinished_store_that_is_locked_is_not_begun_anew(tmp_path):
    partial = partial_path(tmp_path / "a.h5")
    write_vectors(partial)
    before = partial.read_bytes()
    with open(partial, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"\.a\.h5\.partial: is locked by another program"):
            write_vectors(tmp_path / "a.h5")
    assert partial.read_bytes() == before


@pytest.mark.parametrize("kind", FILES)
def test_a_folder_is_called_a_folder(kind, tmp_path):
    (tmp_path / "a.json").mkdir()
    assert "is a folder" in refused(FILES[kind][1], tmp_path / "a.json")


def hdf5_error(code):
    return OSError(f"Unable to synchronously open file (errno = {code}, error message = '{os.strerror(code)}')")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
@pytest.mark.parametrize("kind", STORES)
def test_a_file_system_without_locks_is_told_with_the_switch_that_helps(kind, number, tmp_path, monkeypatch):
    write, read = STORES[kind]
    write(tmp_path / "a.h5")

    def refuse(*arguments, **options):
        raise hdf5_error(number)

    monkeypatch.setattr(h5py, "File", refuse)
    assert "set HDF5_USE_FILE_LOCKING=FALSE in the environment" in refused(read, tmp_path / "a.h5")


@pytest.mark.parametrize("number", CURES)
def test_no_cure_is_deletion(number, tmp_path):
    for error in (OSError(number, os.strerror(number)), hdf5_error(number), KeyError(str(hdf5_error(number)))):
        message = str(barred(tmp_path / "a.h5", error))
        assert os.strerror(number) in message and "delete" not in message


@pytest.mark.parametrize("error", [OSError("truncated file"), KeyError("object not found"), OSError(errno.EINVAL, "")])
def test_other_errors_are_of_the_contents(error):
    assert barred("a.h5", error) is None
