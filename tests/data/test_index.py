from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.data.index import Record, read_ids, read_index, shard, write_index
from maskmill.errors import InputError

RECORDS = [
    Record(
        "2007_000032",
        Path("a/2007_000032.jpg"),
        Path("m/2007_000032.png"),
        281,
        500,
        (1, 15),
        ("train", "val"),
    ),
    Record("2007_000039", Path("a, b/2007_000039.png"), None, 375, 500, (), ("train",)),
]


def test_an_index_reads_back_as_it_was_written(tmp_path):
    write_index(tmp_path / "index.csv", RECORDS)
    assert list(read_index(tmp_path / "index.csv").values()) == RECORDS


def test_ids_are_strings(tmp_path):
    (tmp_path / "list.txt").write_text("2007_000032\n0012\n")
    assert read_ids(tmp_path / "list.txt") == ["2007_000032", "0012"]
    write_index(tmp_path / "index.csv", [Record("0012", Path("0012.jpg"), None, 1, 1, (1,), ("train",))])
    assert list(read_index(tmp_path / "index.csv")) == ["0012"]


def test_ids_may_hold_spaces(tmp_path):
    (tmp_path / "list.txt").write_text("second day_IMG 7\r\n\nIMG_8 \n")
    assert read_ids(tmp_path / "list.txt") == ["second day_IMG 7", "IMG_8"]


def test_a_missing_final_newline_loses_no_id(tmp_path):
    (tmp_path / "list.txt").write_text("a\nb")
    assert read_ids(tmp_path / "list.txt") == ["a", "b"]


def test_a_missing_index_is_named(tmp_path):
    with pytest.raises(InputError, match=r"index.csv: no such index; run snakemake"):
        read_index(tmp_path / "index.csv")


def test_an_index_with_other_columns_is_refused(tmp_path):
    (tmp_path / "index.csv").write_text("image_id,picture\na,b\n")
    with pytest.raises(InputError, match=r"index.csv: columns are \['image_id', 'picture'\], not"):
        read_index(tmp_path / "index.csv")


@pytest.mark.slow
@given(st.lists(st.text(min_size=1), unique=True), st.integers(1, 12))
def test_shards_partition_the_ids_evenly(ids, count):
    shards = [shard(ids, f"{number}-of-{count}") for number in range(1, count + 1)]
    assert sorted(i for part in shards for i in part) == sorted(ids)
    sizes = [len(part) for part in shards]
    assert max(sizes) - min(sizes) <= 1
