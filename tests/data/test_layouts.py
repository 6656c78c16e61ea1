"""PASCAL-Context and PASCAL-Person-Part read by VOC's reader, and the drawn scenes that replace a data set."""

import numpy as np
import pytest
from PIL import Image

from maskmill.data import cityscapes, voc
from maskmill.data.catalog import ADE20K, CITIES, CITYSCAPES, CONTEXT, DATASETS, PERSON_PART, VOC
from maskmill.data.images import read_mask
from maskmill.data.sample_scenes import draw_scene, draw_stand_ins, stand_in_ids
from maskmill.errors import InputError

LAYOUTS = {
    "context": ("SegmentationClassContext", "ImageSets/SegmentationContext"),
    "person_part": ("SegmentationPart", "ImageSets/SegmentationPart"),
}
STAND_INS = [name for name in DATASETS if name != "voc"]


def mask_of(*ids: int) -> np.ndarray:
    mask = np.zeros((5, 7), np.uint8)
    mask.flat[: len(ids)] = ids
    return mask


@pytest.fixture(params=LAYOUTS)
def made(request, tmp_path):
    """A data set and a root with two of its images in the documented folders; the masks include the highest id."""
    dataset = DATASETS[request.param]
    masks, lists = LAYOUTS[request.param]
    for folder in ("JPEGImages", masks, lists):
        (tmp_path / folder).mkdir(parents=True)
    for image_id, mask in {"2008_000003": mask_of(1, dataset.num_classes - 1, 255), "2008_000008": mask_of(2)}.items():
        Image.new("RGB", mask.shape[::-1]).save(tmp_path / f"JPEGImages/{image_id}.jpg")
        Image.fromarray(mask).save(tmp_path / masks / f"{image_id}.png")
    (tmp_path / lists / "train.txt").write_text("2008_000008\n")
    (tmp_path / lists / "val.txt").write_text("2008_000003\n")
    return dataset, tmp_path, tmp_path / masks


def read_all(dataset, root):
    ids = {split: voc.read_list(root, split, dataset) for split in ("train", "val")}
    return ids, voc.build_index(root, ids, dataset, threads=2)


def test_ids_masks_sizes_and_tags_are_read(made):
    dataset, root, masks = made
    first, second = read_all(dataset, root)[1]
    assert (first.image_id, second.image_id) == ("2008_000003", "2008_000008")
    assert first.image == root / "JPEGImages/2008_000003.jpg" and first.mask == masks / "2008_000003.png"
    assert (first.height, first.width) == (5, 7)
    assert first.classes == (1, dataset.num_classes - 1) and second.classes == (2,)
    assert first.splits == ("val",) and second.splits == ("train",)


def test_vocs_annotations_beside_them_are_not_their_tags(made):
    dataset, root, _ = made
    (root / "Annotations").mkdir()
    (root / "Annotations/2008_000008.xml").write_text("<annotation><object><name>dog</name></object></annotation>")
    assert read_all(dataset, root)[1][1].classes == (2,)


def test_manifest_counts_the_data_sets_own_classes_and_splits(made):
    dataset, root, _ = made
    ids, records = read_all(dataset, root)
    split = voc.manifest(records, ids, {"train": "train", "val": "val"}, dataset)["val"]
    assert list(split["images_per_class"]) == list(dataset.classes[1:])
    assert split["images_per_class"][dataset.classes[-1]] == 1
    assert split["published"] == f"custom: 1 images, published {dataset.splits['val'].images:,}"


def test_a_missing_mask_is_named(made):
    dataset, root, masks = made
    (masks / "2008_000008.png").unlink()
    with pytest.raises(InputError) as error:
        read_all(dataset, root)
    assert str(error.value).startswith(f"{masks}/2008_000008.png: no such mask")


def test_a_mask_id_out_of_range_is_named(made):
    dataset, root, masks = made
    Image.fromarray(mask_of(dataset.num_classes)).save(masks / "2008_000008.png")
    with pytest.raises(InputError, match=rf"2008_000008.png: class id {dataset.num_classes} is out of range"):
        read_all(dataset, root)


def test_a_missing_root_says_that_there_is_no_download_and_how_it_looks(made):
    dataset, root, masks = made
    with pytest.raises(InputError) as error:
        voc.read_list(root / "absent", "train", dataset)
    message = str(error.value)
    assert "\n" not in message
    for part in (str(root / "absent"), f"data.{dataset.name}.root", masks.name, "never downloaded"):
        assert part in message


# ---- ADE20K, whose splits are folders


def ade20k(root):
    for split, name, ids in (
        ("training", "ADE_train_00000001", (0, 150)),
        ("validation", "ADE_val_00000001", (7,)),
    ):
        for folder in ("images", "annotations"):
            (root / folder / split).mkdir(parents=True)
        Image.new("RGB", (7, 5)).save(root / f"images/{split}/{name}.jpg")
        Image.fromarray(mask_of(*ids)).save(root / f"annotations/{split}/{name}.png")
    return root


def test_splits_of_ade20k_are_its_folders(tmp_path):
    root = ade20k(tmp_path)
    ids = {"train": voc.read_list(root, "training", ADE20K), "val": voc.read_list(root, "validation", ADE20K)}
    assert ids == {"train": ["ADE_train_00000001"], "val": ["ADE_val_00000001"]}
    train, val = voc.build_index(root, ids, ADE20K)
    assert train.mask == root / "annotations/training/ADE_train_00000001.png"
    assert train.classes == (150,) and val.classes == (7,), "0 is background"


def test_what_is_no_ade20k_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"absent: no such folder; set data.ade20k.root to .* never downloaded"):
        voc.read_list(tmp_path / "absent", "training", ADE20K)
    with pytest.raises(InputError, match=r"split 'train' is not one of training, validation"):
        voc.read_list(tmp_path, "train", ADE20K)
    with pytest.raises(InputError, match=r"images/training: no images in it; set data.ade20k.root"):
        voc.read_list(tmp_path, "training", ADE20K)


# ---- drawn scenes in place of a data set


def expected_id(dataset, voc_id: int) -> int:
    """The expected table: foreground ids cycle through those of the data set; Cityscapes' road replaces background."""
    foreground = {"context": 59, "person_part": 6, "cityscapes": 18, "camvid": 10, "coco": 80, "ade20k": 150}
    return 0 if voc_id == 0 else 1 + (voc_id - 1) % foreground[dataset.name]


@pytest.mark.parametrize("name", STAND_INS)
def test_every_scene_id_has_an_id_of_the_data_set(name):
    ids = stand_in_ids(DATASETS[name])
    assert ids.dtype == np.uint8
    assert ids.tolist() == [expected_id(DATASETS[name], c) for c in range(VOC.num_classes)]
    assert ids.max() < DATASETS[name].num_classes


def test_stand_in_ids_wrap_around_the_foreground():
    assert stand_in_ids(PERSON_PART).tolist() == [0, *(1, 2, 3, 4, 5, 6) * 3, 1, 2]
    assert stand_in_ids(CITYSCAPES).tolist() == [*range(19), 1, 2]
    assert stand_in_ids(CONTEXT).tolist() == [*range(21)]


@pytest.fixture(scope="module", params=STAND_INS)
def drawn(request, tmp_path_factory):
    """A drawn data set, and its index from the data set's reader."""
    dataset, root = DATASETS[request.param], tmp_path_factory.mktemp(request.param)
    draw_stand_ins(root, dataset, train=20, val=4, size=64, seed=3)
    lists = {"train": "train", "val": "val"}
    if dataset is CITYSCAPES:
        ids = {split: cityscapes.read_split(root, split) for split in lists}
        return dataset, ids, cityscapes.build_index(root, ids, lists)
    if dataset is ADE20K:
        lists = {"train": "training", "val": "validation"}
    ids = {split: voc.read_list(root, name, dataset) for split, name in lists.items()}
    return dataset, ids, voc.build_index(root, ids, dataset)


def test_stand_ins_pass_verification_with_the_numbers_asked_for(drawn):
    _, ids, records = drawn
    assert (len(ids["train"]), len(ids["val"])) == (20, 4)
    assert not set(ids["train"]) & set(ids["val"])
    assert len(records) == 24 and all((r.height, r.width) == (64, 64) for r in records)


def test_every_pixel_of_a_stand_in_is_the_scenes_by_the_mapping(drawn):
    dataset, ids, records = drawn
    number_of = {i: int(i.split("_")[1]) for split in ids.values() for i in split}
    assert sorted(number_of.values()) == [*range(1, 21), *range(500_001, 500_005)]
    for record in records:
        scene = draw_scene(number_of[record.image_id], 64, 3)
        expected = np.vectorize(lambda c: expected_id(dataset, c))(scene.mask)
        np.testing.assert_array_equal(read_mask(record.mask, dataset.num_classes), expected)
        classes = {c for c in np.unique(expected) if c > 0 or not dataset.has_background}
        assert set(record.classes) == classes


def test_stand_ins_for_cityscapes_are_lossless_and_in_every_city(tmp_path):
    draw_stand_ins(tmp_path, CITYSCAPES, train=18, val=3, size=64, seed=3)
    for split, cities in CITIES.items():
        assert {i.split("_")[0] for i in cityscapes.read_split(tmp_path, split)} == set(cities)
    path = next((tmp_path / "leftImg8bit/train").rglob("*_000001_*.png"))
    np.testing.assert_array_equal(np.array(Image.open(path)), draw_scene(1, 64, 3).image)
