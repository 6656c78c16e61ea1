"""CamVid's two releases in miniature: recognised, and converted to ids."""

import logging
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from maskmill.data.camvid import colour_mask, convert, find_frames, id_mask, split_of
from maskmill.data.catalog import CAMVID, CAMVID_COLOURS
from maskmill.data.images import read_mask
from maskmill.data.index import read_ids
from maskmill.data.voc import build_index
from maskmill.errors import InputError

OFFICIAL = ("0001TP_006690", "0016E5_07959", "Seq05VD_f00000")  # train, val, test
OTHER = (128, 0, 192)  # a lane marking's colour


@pytest.fixture
def ids():
    """All 11 classes and void, in columns."""
    return np.tile(np.arange(12, dtype=np.uint8), (5, 1))


@pytest.fixture
def segnet(tmp_path, ids):
    root = tmp_path / "segnet"
    for split in ("train", "val", "test"):
        save(root / split / f"{split}_1.png", np.zeros((5, 12, 3), np.uint8))
        save(root / f"{split}annot" / f"{split}_1.png", ids)
    return root


@pytest.fixture
def official(tmp_path, ids):
    root = tmp_path / "official"
    for image_id in OFFICIAL:
        save(root / "701_StillsRaw_full" / f"{image_id}.png", np.zeros((5, 12, 3), np.uint8))
        save(root / "LabeledApproved_full" / f"{image_id}_L.png", np.array([*CAMVID_COLOURS, OTHER], np.uint8)[ids])
    return root


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def converted(root, target):
    convert(root, target)
    lists = {
        name: read_ids(target / f"ImageSets/Segmentation/{name}.txt") for name in ("train", "val", "test", "trainval")
    }
    masks = {p.stem: read_mask(p, 11) for p in (target / "SegmentationClass").iterdir()}
    return lists, masks


def test_segnets_release_keeps_its_folders_as_splits_and_its_void_becomes_ignore(segnet, tmp_path, ids):
    lists, masks = converted(segnet, tmp_path / "root")
    assert lists == {"train": ["train_1"], "val": ["val_1"], "test": ["test_1"], "trainval": ["train_1", "val_1"]}
    for mask in masks.values():
        assert np.array_equal(mask, np.where(ids == 11, 255, ids))
    assert (tmp_path / "root/label_set.txt").read_text() == "SegNet ids, 12x5\n"


def test_the_official_release_is_split_by_sequence_and_other_colours_are_ignored(official, tmp_path, ids):
    lists, masks = converted(official, tmp_path / "root")
    train, val, test = OFFICIAL
    assert lists == {"train": [train], "val": [val], "test": [test], "trainval": [train, val]}
    for mask in masks.values():
        assert np.array_equal(mask, np.where(ids == 11, 255, ids))
    assert (tmp_path / "root/label_set.txt").read_text() == "official colours, 12x5\n"


def test_pixels_of_other_colours_are_counted_in_the_log(official, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        convert(official, tmp_path / "root")
    assert caplog.messages == ["ignored 15 pixels of 1 colours outside the 11 classes: (128, 0, 192) 15"]


def test_a_colour_mask_tells_its_other_colours(tmp_path):
    save(tmp_path / "mask.png", np.array([[(0, 0, 192), (1, 2, 3), (1, 2, 3), (0, 0, 193)]], np.uint8))
    mask, others = colour_mask(tmp_path / "mask.png")
    assert mask.tolist() == [[4, 255, 255, 255]]
    assert others == Counter({(1, 2, 3): 2, (0, 0, 193): 1})


def test_a_converted_root_is_indexed_like_voc(official, tmp_path):
    convert(official, tmp_path / "root")
    records = build_index(tmp_path / "root", {"train": [OFFICIAL[0]], "val": [OFFICIAL[2]]}, CAMVID)
    assert [r.classes for r in records] == 2 * [tuple(range(11))], "sky, id 0, is a class"
    assert records[0].image.resolve().parent == (official / "701_StillsRaw_full").resolve()


def test_converting_again_replaces_what_is_there(segnet, official, tmp_path):
    convert(segnet, tmp_path / "root")
    assert converted(official, tmp_path / "root")[0]["test"] == ["Seq05VD_f00000"]
    assert len(list((tmp_path / "root/JPEGImages").iterdir())) == 3


@pytest.mark.parametrize(
    ("image_id", "split"),
    [
        *(("0001TP_006690", "train"), ("0001TP_008520", "train"), ("0001TP_008550", "test"), ("0001TP_010380", "test")),
        *(("0006R0_f00930", "train"), ("0006R0_f03930", "train"), ("0016E5_07920", "train"), ("0016E5_07959", "val")),
        *(("0016E5_08159", "val"), ("0016E5_08190", "train"), ("Seq05VD_f00000", "test"), ("Seq05VD_f05100", "test")),
    ],
)
def test_splits_are_ranges_of_the_sequences(image_id, split):
    """The ends of the ranges in SegNet's folders, whose sets of images are the published ones."""
    assert split_of(image_id) == split


def test_published_split_sizes_add_up():
    assert {name: split.images for name, split in CAMVID.splits.items()} == {
        **{"train": 367, "val": 101, "test": 233, "trainval": 468},
    }


def test_bad_roots_and_masks_are_refused_in_one_line(official, segnet, tmp_path):
    with pytest.raises(InputError, match=r"no such folder; set data\.camvid\.root"):
        find_frames(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no masks of CamVid; set data\.camvid\.root"):
        find_frames(tmp_path / "empty")
    save(official / "LabeledApproved_full/holiday_L.png", np.zeros((5, 12, 3), np.uint8))
    with pytest.raises(InputError, match=r"holiday_L\.png: no image of CamVid"):
        find_frames(official)
    (segnet / "val/val_1.png").unlink()
    with pytest.raises(InputError, match=r"val_1\.png: no such image \(nor \.jpg\), but a mask of it"):
        find_frames(segnet)


def test_masks_of_the_other_release_and_ids_out_of_range_are_refused(official, segnet, tmp_path):
    with pytest.raises(InputError, match="mask in mode L among masks in colour"):
        colour_mask(segnet / "trainannot/train_1.png")
    with pytest.raises(InputError, match="mask in mode RGB among masks of ids"):
        id_mask(official / "LabeledApproved_full" / f"{OFFICIAL[0]}_L.png")
    save(tmp_path / "mask.png", np.full((2, 2), 12, np.uint8))
    with pytest.raises(InputError, match=r"class id 12 is out of range 0\.\.11"):
        id_mask(tmp_path / "mask.png")
