"""MS COCO's instances drawn as masks: outlines, overlaps, crowds, lists, tags; and wrong annotation files."""

import json

import numpy as np
import pytest
from PIL import Image

from maskmill.data.catalog import COCO
from maskmill.data.coco import convert, draw_mask, read_pictures
from maskmill.data.images import read_mask
from maskmill.data.index import read_ids
from maskmill.data.voc import build_index, tags_from_xml
from maskmill.errors import InputError

# The official ids have gaps; those of the masks have none.
CATEGORIES = {1: "person", 3: "car", 18: "dog", 90: "toothbrush"}
PERSON, CAR, DOG, TOOTHBRUSH = 1, 3, 17, 80
FIRST, SECOND = "COCO_train2014_000000000009", "COCO_train2014_000000000025"
VAL = "COCO_val2014_000000000042"


def box(x0: int, y0: int, x1: int, y1: int) -> list[list[int]]:
    """The outline of a box with exclusive maxima."""
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def annotation(number: int, image: int, category: int, outline: list | dict, area: float, iscrowd: int = 0) -> dict:
    return {
        **{"id": number, "image_id": image, "category_id": category},
        **{"segmentation": outline, "area": area, "iscrowd": iscrowd, "bbox": [0, 0, 1, 1]},
    }


# Height 6, width 8, down the columns: column 0 is outside, the upper half of column 1 inside, the rest outside.
RUNS = {"size": [6, 8], "counts": [6, 3, 39]}
ANNOTATIONS = [
    annotation(1, 25, 1, box(2, 1, 7, 5), area=20),
    annotation(2, 9, 18, box(0, 0, 2, 2), area=4),
    annotation(3, 9, 1, box(0, 0, 4, 4), area=16),
    annotation(4, 9, 3, box(6, 0, 8, 2) + box(6, 4, 8, 6), area=8),
    annotation(5, 25, 90, RUNS, area=3, iscrowd=1),
]


def write_root(root, annotations=ANNOTATIONS, categories=CATEGORIES):
    """A root with two labelled images of train, one without instances, and one of val."""
    names = {"train": {9: FIRST, 25: SECOND, 30: "COCO_train2014_000000000030"}, "val": {42: VAL}}
    for split, images in names.items():
        content = {
            "images": [{"id": n, "file_name": f"{name}.jpg", "height": 6, "width": 8} for n, name in images.items()],
            "annotations": annotations if split == "train" else [annotation(9, 42, 18, box(0, 0, 8, 6), 48)],
            "categories": [{"id": number, "name": name} for number, name in categories.items()],
        }
        (root / f"{split}2014").mkdir(parents=True, exist_ok=True)
        for name in images.values():
            Image.new("RGB", (8, 6)).save(root / f"{split}2014/{name}.jpg")
        path = root / f"annotations/instances_{split}2014.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return root


@pytest.fixture
def root(tmp_path):
    return write_root(tmp_path / "coco")


def drawn(root, overlap="smaller", crowd="class") -> dict[str, np.ndarray]:
    return {p.image_id: draw_mask(p, overlap, crowd) for p in read_pictures(root, "train")}


def test_polygons_and_runs_are_drawn_with_contiguous_class_ids(root):
    first, second = drawn(root).values()
    assert first.dtype == np.uint8
    assert first.tolist() == [
        *2 * [[DOG, DOG, PERSON, PERSON, 0, 0, CAR, CAR]],
        *2 * [[PERSON, PERSON, PERSON, PERSON, 0, 0, 0, 0]],
        *2 * [[0, 0, 0, 0, 0, 0, CAR, CAR]],
    ]
    expected = np.zeros((6, 8), np.uint8)
    expected[1:5, 2:7] = PERSON
    expected[:3, 1] = TOOTHBRUSH
    np.testing.assert_array_equal(second, expected)


def test_the_smaller_instance_or_the_later_one_is_on_top(root):
    smaller, later = (drawn(root, overlap)[FIRST] for overlap in ("smaller", "file"))
    assert (smaller[:2, :2] == DOG).all()
    assert (later[:2, :2] == PERSON).all(), "the person stands behind the dog in the file"
    np.testing.assert_array_equal(smaller[:, 2:], later[:, 2:])


def test_of_two_instances_of_one_size_the_first_is_on_top(tmp_path):
    """coco2voc draws in the order of the areas, and only on pixels that are still free."""
    twins = [annotation(1, 9, 1, box(0, 0, 2, 2), 4), annotation(2, 9, 3, box(1, 0, 3, 2), 4)]
    assert drawn(write_root(tmp_path, twins))[FIRST][0].tolist() == [PERSON, PERSON, CAR, 0, 0, 0, 0, 0]


def test_a_crowd_is_its_class_or_ignored(root):
    as_class, ignored = (drawn(root, crowd=crowd)[SECOND] for crowd in ("class", "ignore"))
    assert (as_class[:3, 1] == TOOTHBRUSH).all() and (ignored[:3, 1] == 255).all()
    np.testing.assert_array_equal(as_class[:, 2:], ignored[:, 2:])


@pytest.mark.parametrize("threads", [1, 3])
def test_a_converted_root_is_indexed_like_voc(root, tmp_path, threads):
    convert(root, tmp_path / "voc", overlap="smaller", crowd="ignore", threads=threads)
    lists = {split: read_ids(tmp_path / f"voc/ImageSets/Segmentation/{split}.txt") for split in ("train", "val")}
    assert lists == {"train": [FIRST, SECOND], "val": [VAL]}, "images without instances are in no list"
    first, second, val = build_index(tmp_path / "voc", lists, COCO)
    assert first.image.resolve() == (root / f"train2014/{FIRST}.jpg").resolve()
    assert (first.classes, val.classes) == ((PERSON, CAR, DOG), (DOG,))
    np.testing.assert_array_equal(read_mask(second.mask, 81), drawn(root, crowd="ignore")[SECOND])
    assert (tmp_path / "voc/label_set.txt").read_text() == "official instances, overlap smaller, crowd ignore\n"


def test_tags_name_what_the_mask_does_not_show(tmp_path):
    hidden = [annotation(1, 9, 18, box(0, 0, 2, 2), 4), annotation(2, 9, 1, box(0, 0, 8, 6), 48)]
    convert(write_root(tmp_path / "coco", hidden), tmp_path / "voc", overlap="file", crowd="class")
    assert set(np.unique(read_mask(tmp_path / f"voc/SegmentationClass/{FIRST}.png", 81))) == {PERSON}
    assert tags_from_xml(tmp_path / f"voc/Annotations/{FIRST}.xml", COCO.classes) == (PERSON, DOG)


def test_converting_again_replaces_what_is_there(root, tmp_path):
    convert(root, tmp_path / "voc", overlap="smaller", crowd="class")
    convert(write_root(root, ANNOTATIONS[:1]), tmp_path / "voc", overlap="smaller", crowd="class")
    assert sorted(p.stem for p in (tmp_path / "voc/SegmentationClass").iterdir()) == [SECOND, VAL]


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        (lambda text: text[: len(text) // 2], "truncated or not COCO's instances"),
        (lambda text: text.replace('"annotations"', '"captions"'), r"KeyError: 'annotations'"),
        (lambda text: text.replace('"image_id": 25', '"image_id": 26'), "KeyError: 26"),
        (lambda text: text.replace('"category_id": 90', '"category_id": 89'), "KeyError: 89"),
        (lambda text: "[]", "truncated or not COCO's instances"),
    ],
)
def test_a_broken_annotation_file_is_refused_in_one_line(root, cut, reason):
    path = root / "annotations/instances_train2014.json"
    path.write_text(cut(path.read_text()))
    with pytest.raises(InputError, match=reason) as error:
        read_pictures(root, "train")
    assert str(error.value).startswith(f"{path}: ") and "unpack annotations_trainval2014.zip again" in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_missing_are_named_and_counted(root):
    (root / f"train2014/{SECOND}.jpg").unlink()
    with pytest.raises(InputError, match=rf"{SECOND}\.jpg: no such image; of the 2 labelled .*, 1 are missing"):
        read_pictures(root, "train")
    (root / "val2014").rename(root / "images")
    with pytest.raises(InputError, match=rf"val2014/{VAL}\.jpg: no such image; of the 1 .* set data\.coco\.root to"):
        read_pictures(root, "val")
    (root / "annotations/instances_val2014.json").unlink()
    with pytest.raises(InputError, match=r"instances_val2014\.json: no such file; set data\.coco\.root to"):
        read_pictures(root, "val")


def test_an_image_without_instances_may_be_missing(root):
    (root / "train2014/COCO_train2014_000000000030.jpg").unlink()
    assert [p.image_id for p in read_pictures(root, "train")] == [FIRST, SECOND]


@pytest.mark.parametrize(
    "outline",
    [{"size": [6, 8], "counts": [6, 3]}, {"size": [6, 8], "counts": [6, -3, 45]}, [[1, 2, 3]], []],
)
def test_an_instance_without_an_outline_is_named(tmp_path, outline):
    """Runs that are too short for the image would be completed with arbitrary memory."""
    with pytest.raises(InputError, match=r"instances_train2014\.json: annotation 77 has no outline on an image of 8x6"):
        drawn(write_root(tmp_path, [annotation(77, 9, 1, outline, 1)]))


def test_a_category_of_another_data_set_names_the_nearest(tmp_path):
    categories = {**CATEGORIES, 4: "motorbike"}
    with pytest.raises(InputError, match=r"instances_train2014\.json: unknown class 'motorbike'"):
        read_pictures(write_root(tmp_path, categories=categories), "train")
