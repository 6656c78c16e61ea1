"""Feature stores: written in the shard's order, continued after a kill, checked against shard and teacher."""

import multiprocessing
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from maskmill.errors import InputError
from maskmill.storage import features as module
from maskmill.storage.features import Features, write_features
from maskmill.storage.maps import sha256

KEYS = [f"key{number}" for number in range(7)]
VALUES = np.random.default_rng(0).standard_normal((7, 3, 4)).astype(np.float16)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 2)


class Teacher:
    """Computes rows of VALUES, records which, and stops at a given row."""

    def __init__(self, stop_at=None):
        self.asked, self.stop_at = [], stop_at

    def __call__(self, rows):
        if self.stop_at in rows:
            raise KeyboardInterrupt
        self.asked += rows
        return VALUES[rows.start : rows.stop]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "teacher.safetensors"
    path.write_bytes(b"weights")
    return path


def write(path, source, compute, *, keys=KEYS, grids=(1, 2)):
    parameters = {"grids": list(grids)}
    write_features(path, keys, compute, (3, 4), producer="test", parameters=parameters, inputs=[source])


def interrupted(path, source):
    """A store whose writing stopped at row 4."""
    with pytest.raises(KeyboardInterrupt):
        write(path, source, Teacher(stop_at=5))
    assert not path.exists()


def test_what_is_written_is_read(tmp_path, source):
    write(tmp_path / "1.h5", source, Teacher())
    store = Features(tmp_path / "1.h5")
    assert store.keys == KEYS and len(store) == 7 and store.shape == (3, 4)
    for position in (6, 0, 3):
        np.testing.assert_array_equal(store[position], VALUES[position])
    store.check(KEYS, source, sha256(source), 4)
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_killed_run_goes_on_where_it_was(tmp_path, source):
    interrupted(tmp_path / "1.h5", source)
    teacher = Teacher()
    write(tmp_path / "1.h5", source, teacher)
    assert teacher.asked == [4, 5, 6]
    store = Features(tmp_path / "1.h5")
    np.testing.assert_array_equal([store[position] for position in range(7)], VALUES)


@pytest.mark.parametrize("changed", ["grids", "teacher", "keys", "damaged"])
def test_an_unfinished_store_of_something_else_is_begun_anew(tmp_path, source, changed):
    interrupted(tmp_path / "1.h5", source)
    options = {}
    if changed == "grids":
        options = {"grids": (1, 3)}
    elif changed == "keys":
        options = {"keys": KEYS[::-1]}
    elif changed == "teacher":
        source.write_bytes(b"others")
    else:
        (tmp_path / ".1.h5.partial").write_bytes(b"cut off")
    teacher = Teacher()
    write(tmp_path / "1.h5", source, teacher, **options)
    assert teacher.asked == list(range(7))


def test_a_teacher_of_another_dimension_is_named(tmp_path, source):
    write(tmp_path / "1.h5", source, Teacher())
    with pytest.raises(InputError, match=r"1\.h5: holds vectors of 4 numbers, but those of .*safetensors have 768"):
        Features(tmp_path / "1.h5").check(KEYS, source, sha256(source), 768)


def test_another_teacher_or_shard_of_the_same_size_is_named(tmp_path, source):
    write(tmp_path / "1.h5", source, Teacher())
    with pytest.raises(InputError, match="holds other samples than its shard"):
        Features(tmp_path / "1.h5").check(KEYS[::-1], source, sha256(source), 4)
    source.write_bytes(b"others")
    with pytest.raises(InputError, match=r"was not made with .* as it is now"):
        Features(tmp_path / "1.h5").check(KEYS, source, sha256(source), 4)


def test_stores_that_cannot_be_used_are_named(tmp_path, source):
    with pytest.raises(InputError, match="no such map store"):
        Features(tmp_path / "1.h5")
    interrupted(tmp_path / "1.h5", source)
    (tmp_path / ".1.h5.partial").rename(tmp_path / "1.h5")
    with pytest.raises(InputError, match="an unfinished map store"):
        Features(tmp_path / "1.h5")


def test_loader_processes_open_the_file_for_themselves(tmp_path, source):
    write(tmp_path / "1.h5", source, Teacher())
    store = Features(tmp_path / "1.h5")
    expected = [store[position].tobytes() for position in range(7)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(row_of(store), range(7)) == expected
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(store))[2], VALUES[2])


class row_of:
    """A picklable function that maps a position to the row's bytes."""

    def __init__(self, store):
        self.store = store

    def __call__(self, position):
        return self.store[position].tobytes()


def test_the_vectors_lie_as_the_format_says(tmp_path, source):
    write(tmp_path / "1.h5", source, Teacher())
    with h5py.File(tmp_path / "1.h5") as file:
        assert file["features"].dtype == np.float16 and file["features"].shape == (7, 3, 4)
        assert file.attrs["kind"] == "features" and file["keys"].asstr()[0] == "key0"


@pytest.mark.slow
def test_a_flipped_byte_is_one_line_that_names_the_store(tmp_path, source, monkeypatch):
    """For any flipped byte, either all data is unchanged or the error names the damaged part.

    Relative paths make the store's bytes the same in every folder: with some lengths of the source's path, HDF5 itself
    loops forever on one of the flips.
    """
    monkeypatch.chdir(tmp_path)
    path = Path("1.h5")
    write(path, source.relative_to(tmp_path), Teacher())
    whole, noticed = path.read_bytes(), 0
    for position in range(0, len(whole), 11):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        try:
            store = Features(path)
            np.testing.assert_array_equal([store[row] for row in range(7)], VALUES)
            assert store.keys == KEYS
        except InputError as error:
            message, noticed = str(error), noticed + 1
            assert message.startswith(f"{path}: ") and message.endswith("and run again") and "\n" not in message
    assert noticed > 20
