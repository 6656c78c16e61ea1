import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maskmill.data.catalog import CITYSCAPES, DATASETS, VOC, averaged_ids, class_ids, voc_palette
from maskmill.data.images import read_mask
from maskmill.data.index import read_ids
from maskmill.data.voc import tags_from_mask
from maskmill.errors import InputError
from published import LISTS, TEST_DATA, needs_lists

# Images per class, aeroplane..tvmonitor, in the masks of VOC and SBD, counted from the published class lists.
# (Labels from the XML annotations differ: they also name objects that no mask shows.)
IMAGES_PER_CLASS_IN_MASKS = {
    "train_aug": "586 486 698 461 654 385 1086 1000 1081 264 528 1177 444 482 3898 487 299 491 500 548",
    "val": "90 79 103 72 96 74 127 119 123 71 75 128 79 76 446 85 57 90 84 74",
}


@needs_lists
@pytest.mark.parametrize("split", VOC.splits)
def test_published_lists_have_the_catalogues_counts_and_hashes(split):
    path = LISTS / f"voc2012/{split}.txt"
    assert len(set(read_ids(path))) == VOC.splits[split].images
    assert hashlib.sha256(path.read_bytes()).hexdigest() == VOC.splits[split].sha256


@needs_lists
def test_train_lies_in_train_aug_and_val_outside():
    train, train_aug, val = (set(read_ids(LISTS / f"voc2012/{split}.txt")) for split in ("train", "train_aug", "val"))
    assert train < train_aug
    assert not val & train_aug


@needs_lists
@pytest.mark.parametrize("split", IMAGES_PER_CLASS_IN_MASKS)
def test_class_lists_count_the_published_number_of_images_per_class(split):
    rows = [line.split() for line in (LISTS / f"voc2012/{split}_classes.txt").read_text().splitlines()]
    counts = Counter(int(number) for _, *numbers in rows for number in numbers)
    assert [image_id for image_id, *_ in rows] == read_ids(LISTS / f"voc2012/{split}.txt")
    assert [counts[number] for number in range(20)] == [int(n) for n in IMAGES_PER_CLASS_IN_MASKS[split].split()]


@needs_lists
def test_tags_of_real_masks_are_those_of_the_class_lists():
    masks = sorted((TEST_DATA / "VOCdevkit/VOC2012/SegmentationClass").glob("*.png"))
    if not masks:
        pytest.skip(f"no VOC images in {TEST_DATA}; set MASKMILL_TEST_DATA")
    listed = {}
    for split in ("train_aug", "val"):
        for line in (LISTS / f"voc2012/{split}_classes.txt").read_text().splitlines():
            image_id, *numbers = line.split()
            listed[image_id] = tuple(sorted(int(number) + 1 for number in numbers))  # the lists count from 0
    for path in masks[::20]:
        assert tags_from_mask(read_mask(path, VOC.num_classes)) == listed[path.stem], path.stem


def test_class_ids_are_the_mask_ids():
    assert VOC.num_classes == 21
    assert class_ids(["aeroplane", "tvmonitor", "person", "background"]) == (1, 20, 15, 0)


@pytest.mark.parametrize(
    ("name", "count", "first", "last", "train", "val"),
    [
        ("voc", 21, "background", "tvmonitor", 1_464, 1_449),
        ("context", 60, "background", "wood", 4_998, 5_105),
        ("person_part", 7, "background", "lower leg", 1_716, 1_817),
        ("cityscapes", 19, "road", "bicycle", 2_975, 500),
        ("camvid", 11, "sky", "bicyclist", 367, 101),
        ("coco", 81, "background", "toothbrush", 82_081, 40_137),
    ],
)
def test_data_sets_have_the_published_numbers_of_classes_and_images(name, count, first, last, train, val):
    dataset = DATASETS[name]
    assert dataset.name == name
    assert dataset.num_classes == len(set(dataset.classes)) == count
    assert (dataset.classes[0], dataset.classes[-1]) == (first, last)
    assert (dataset.splits["train"].images, dataset.splits["val"].images) == (train, val)
    assert dataset.has_background == (first == "background")


def test_ade20k_has_the_benchmarks_classes_behind_background():
    dataset = DATASETS["ade20k"]
    assert dataset.num_classes == len(set(dataset.classes)) == 151 and dataset.has_background
    assert class_ids(["wall", "person", "flag"], dataset.classes) == (1, 13, 150)
    assert {name: split.images for name, split in dataset.splits.items()} == {"training": 20_210, "validation": 2_000}


def test_contexts_ids_rise_with_the_names():
    """mmsegmentation's converter numbers the 59 classes by their rising ids in the full, alphabetical list."""
    names = DATASETS["context"].classes[1:]
    assert list(names) == sorted(names)


def test_scores_of_named_classes_count_background_only_where_there_is_one():
    assert averaged_ids(VOC, ["cat", "dog"]) == (0, 8, 12)
    assert averaged_ids(CITYSCAPES, ["sidewalk", "car"]) == (1, 13)
    assert averaged_ids(CITYSCAPES, None) is averaged_ids(VOC, None) is None


def test_only_voc_is_downloaded():
    assert [name for name, dataset in DATASETS.items() if dataset.downloadable] == ["voc"]


@given(st.lists(st.integers(0, 20)))
def test_class_ids_invert_the_class_list(ids):
    assert class_ids(VOC.classes[number] for number in ids) == tuple(ids)


def test_an_unknown_class_names_the_nearest():
    with pytest.raises(InputError, match=r"^unknown class 'motorcycle'; did you mean 'motorbike'\?$"):
        class_ids(["cat", "motorcycle"])


def test_a_class_like_no_other_lists_them_all():
    with pytest.raises(InputError, match=r"unknown class 'xyzzy'; choose from background, aeroplane, .*tvmonitor$"):
        class_ids(["xyzzy"])


def test_palette_has_the_devkits_colours():
    palette = voc_palette()
    assert palette.dtype == np.uint8
    # VOC development kit: aeroplane, bicycle, bird, boat, person, tvmonitor, void
    devkit = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128)}
    devkit |= {15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {number: tuple(palette[number].tolist()) for number in devkit} == devkit


def test_palette_equals_that_of_a_real_mask():
    path = TEST_DATA / "VOCdevkit/VOC2012/SegmentationClass/2007_000063.png"
    if not path.exists():
        pytest.skip(f"no VOC images in {TEST_DATA}; set MASKMILL_TEST_DATA")
    assert Image.open(path).getpalette() == voc_palette().ravel().tolist()


def test_archives_state_a_checksum_and_https():
    for archive in VOC.archives.values():
        algorithm, _, digest = archive.checksum.partition(":")
        assert len(digest) == 2 * hashlib.new(algorithm).digest_size
        assert archive.urls and all(url.startswith("https://") for url in archive.urls)
