import os

import pytest

from maskmill.storage.atomic import atomic_path, write_text


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
