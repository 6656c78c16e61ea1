"""Webdataset shards: writing, the index, damaged members, reading in any order."""

import io
import json
import tarfile

import numpy as np
import pytest
import webdataset
from PIL import Image

from maskmill.data.shards import (
    Pair,
    Shards,
    index_path,
    index_shard,
    list_image_folder,
    read_pairs,
    write_indexed_shard,
    write_pairs,
    write_shard,
)
from maskmill.errors import InputError


@pytest.fixture
def pairs(tmp_path):
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (8 + number, 9, 3), dtype=np.uint8)).save(path)
        pairs.append(Pair(f"key{number}", path, f"caption {number}, with a comma"))
    return pairs


def pixels(pair):
    return np.array(Image.open(pair.image))


def made(path, pairs, *, captioned=True):
    """Write a shard and its index; returns the index."""
    write_indexed_shard(path, pairs, captioned=captioned)
    return json.loads(index_path(path).read_text())


def test_webdataset_reads_our_shards(tmp_path, pairs):
    write_shard(tmp_path / "1.tar", pairs)
    samples = list(webdataset.WebDataset(str(tmp_path / "1.tar"), shardshuffle=False).decode("rgb8"))
    assert [(s["__key__"], s["txt"]) for s in samples] == [(p.key, p.caption) for p in pairs]
    for sample, pair in zip(samples, pairs, strict=True):
        np.testing.assert_array_equal(sample["png"], pixels(pair))


def test_we_read_shards_of_webdataset(tmp_path, pairs):
    with webdataset.TarWriter(str(tmp_path / "1.tar")) as writer:
        for pair in pairs:
            writer.write({"__key__": pair.key, "png": pair.image.read_bytes(), "txt": pair.caption, "json": {"a": 1}})
    index = index_shard(tmp_path / "1.tar", captioned=True)
    assert index["skipped"] == []
    assert [(key, caption) for key, _, _, caption, _ in index["samples"]] == [(p.key, p.caption) for p in pairs]


def test_the_same_pairs_give_the_same_bytes(tmp_path, pairs):
    for name in ("1.tar", "2.tar"):
        write_shard(tmp_path / name, pairs)
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()


def test_shards_are_one_sequence_read_in_any_order(tmp_path, pairs):
    made(tmp_path / "1.tar", pairs[:2])
    made(tmp_path / "2.tar", pairs[2:])
    shards = Shards([tmp_path / "1.tar", tmp_path / "2.tar"])
    assert len(shards) == 5
    assert [shards.locate(i) for i in range(5)] == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    for number in (3, 0, 4, 1, 2):
        key, image, caption = shards[number]
        assert (key, caption) == (pairs[number].key, pairs[number].caption)
        np.testing.assert_array_equal(image, pixels(pairs[number]))
    with pytest.raises(IndexError):
        shards[5]


def test_a_truncated_image_is_skipped_counted_and_reported(tmp_path, pairs, caplog):
    caplog.set_level("INFO")
    data = pairs[2].image.read_bytes()
    pairs[2].image.write_bytes(data[: len(data) // 2])
    index = made(tmp_path / "1.tar", pairs)
    assert [sample[0] for sample in index["samples"]] == ["key0", "key1", "key3", "key4"]
    [(name, reason)] = index["skipped"]
    assert name == "key2.png" and reason.startswith("damaged image")
    assert len(Shards([tmp_path / "1.tar"])) == 4
    assert "skipped key2.png: damaged image" in caplog.text and "4 samples, 1 skipped" in caplog.text


@pytest.mark.parametrize("missing", [40, 700])
def test_a_shard_that_breaks_off_inside_a_member_gives_what_lies_before(tmp_path, pairs, missing):
    """`missing` bytes of the last image: its header is there, its caption is not."""
    path = tmp_path / "1.tar"
    write_shard(path, pairs)
    with tarfile.open(path) as tar:
        last = tar.getmember("key4.png")
    with open(path, "r+b") as file:
        file.truncate(last.offset_data + max(1, last.size - missing))
    index = index_shard(path, captioned=True)
    assert [sample[0] for sample in index["samples"]] == ["key0", "key1", "key2", "key3"]
    [(name, reason)] = index["skipped"]
    assert name == "key4.png" and "breaks off" in reason


def test_images_without_a_caption_are_skipped_where_captions_are_wanted(tmp_path, pairs):
    pairs[1] = Pair("key1", pairs[1].image, "  ")
    pairs[3] = Pair("key3", pairs[3].image)
    index = made(tmp_path / "1.tar", pairs)
    assert index["skipped"] == [["key1", "no caption"], ["key3", "no caption"]]
    assert len(made(tmp_path / "2.tar", pairs, captioned=False)["samples"]) == 5


def test_shards_that_cannot_be_used_are_named(tmp_path, pairs):
    with pytest.raises(InputError, match=r"1\.tar: no such shard"):
        index_shard(tmp_path / "1.tar", captioned=True)
    (tmp_path / "1.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(InputError, match=r"1\.tar: not a tar file"):
        index_shard(tmp_path / "1.tar", captioned=True)
    write_shard(tmp_path / "1.tar", [Pair("a", pairs[0].image)])
    with pytest.raises(InputError, match=r"1\.tar: has no usable image with a caption"):
        index_shard(tmp_path / "1.tar", captioned=True)
    with pytest.raises(InputError, match=r"1\.json: no such index"):
        Shards([tmp_path / "1.tar"])


def test_a_flipped_byte_of_a_shard_is_named_with_its_sample(tmp_path, pairs):
    """Also where the image can still be decoded."""
    path = tmp_path / "1.tar"
    _, offset, size, _, _ = made(path, pairs)["samples"][1]
    whole = path.read_bytes()
    for position in range(offset, offset + size, 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x01]) + whole[position + 1 :])
        shards = Shards([path])
        with pytest.raises(
            InputError, match=r"1\.tar: sample key1 is damaged; .*delete it and .*1\.json and run again"
        ):
            shards[1]
        assert shards[2][0] == "key2"


@pytest.mark.parametrize(("old", "new"), [("caption 1", "caption 7"), ("key1", "key9")])
def test_a_changed_caption_or_key_in_the_index_is_named(tmp_path, pairs, old, new):
    made(tmp_path / "1.tar", pairs)
    index = index_path(tmp_path / "1.tar")
    index.write_text(index.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=r"1\.tar: sample key. is damaged"):
        Shards([tmp_path / "1.tar"])[1]
    index.write_text(index.read_text()[:-9])
    with pytest.raises(InputError, match=r"1\.json: not a whole index"):
        Shards([tmp_path / "1.tar"])


def test_grey_and_palette_images_become_rgb(tmp_path):
    data = io.BytesIO()
    Image.fromarray(np.full((4, 4), 7, np.uint8)).save(data, "png")
    (tmp_path / "grey.png").write_bytes(data.getvalue())
    made(tmp_path / "1.tar", [Pair("grey", tmp_path / "grey.png")], captioned=False)
    np.testing.assert_array_equal(Shards([tmp_path / "1.tar"])[0][1], np.full((4, 4, 3), 7))


def test_lists_of_pairs_are_read_as_written(tmp_path, pairs):
    write_pairs(tmp_path / "pairs.csv", pairs)
    assert read_pairs(tmp_path / "pairs.csv") == pairs


def test_images_of_an_imagenet_folder_are_listed_with_their_class(tmp_path, pairs):
    for folder, name in (("n02", "b.JPEG"), ("n01", "a.JPEG"), ("n01", "notes.txt")):
        (tmp_path / "train" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / folder / name).write_bytes(pairs[0].image.read_bytes())
    listed = list_image_folder(tmp_path / "train")
    assert [(pair.key, pair.caption) for pair in listed] == [("n01_a", ""), ("n02_b", "")]
    with pytest.raises(InputError, match="has no images as <class>/<name>"):
        list_image_folder(tmp_path / "train" / "n01")
