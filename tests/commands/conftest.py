"""Fixtures for tests of the commands."""

import pytest

from stores import write_work_folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The folder of `write_work_folder`. Tests must leave its files as they are."""
    return write_work_folder(tmp_path_factory.mktemp("run"))
