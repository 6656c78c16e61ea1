"""Where the data sets' published lists and some of their images lie, for tests that compare with them."""

import os
from pathlib import Path

import pytest

TEST_DATA = Path(os.environ.get("MASKMILL_TEST_DATA", Path(__file__).parents[2] / "shared/data"))
LISTS = TEST_DATA / "lists"

needs_lists = pytest.mark.skipif(not LISTS.is_dir(), reason=f"no published lists in {LISTS}; set MASKMILL_TEST_DATA")
