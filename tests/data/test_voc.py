import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from maskmill.data.catalog import VOC, Split
from maskmill.data.download import digest as file_digest
from maskmill.data.images import read_mask
from maskmill.data.index import read_ids
from maskmill.data.voc import (
    build_index,
    check_split,
    convert,
    list_sha256,
    list_text,
    manifest,
    prepare,
    read_list,
    sbd_mask,
    tags_from_mask,
    tags_from_xml,
    train_aug_ids,
    write_mask,
)
from maskmill.errors import InputError
from published import LISTS, TEST_DATA, needs_lists

ANIMALS = TEST_DATA / "VOCdevkit/VOC2012"

# Images per class, aeroplane..tvmonitor, labelled from the XML annotations; counted in IRN's label file.
IMAGES_PER_CLASS_IN_XML = {
    "train": "88 65 105 78 87 78 128 131 148 64 82 121 68 81 442 82 63 93 83 84",
    "train_aug": "590 504 705 468 714 393 1150 1005 1228 267 613 1188 445 492 4155 522 300 649 503 567",
    "val": "90 79 103 72 96 74 127 119 123 71 75 128 79 76 445 85 57 90 84 74",
}


def xml(*names: str) -> str:
    objects = "".join(
        f"<object><name>{n}</name><difficult>1</difficult><part><name>head</name></part></object>" for n in names
    )
    return f"<annotation><filename>a.jpg</filename>{objects}</annotation>"


def save_sbd(path: Path, mask: np.ndarray) -> None:
    """A .mat file built like SBD's: struct GTcls with Boundaries, Segmentation and CategoriesPresent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    boundaries = np.empty((20, 1), dtype=object)
    boundaries[:] = [[np.zeros(mask.shape)]] * 20
    present = np.unique(mask[mask > 0])
    savemat(path, {"GTcls": {"Boundaries": boundaries, "Segmentation": mask, "CategoriesPresent": present}})


def make_root(root: Path, masks: dict[str, np.ndarray], lists: dict[str, list[str]], suffix: str = ".jpg") -> Path:
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", "Annotations"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for image_id, mask in masks.items():
        Image.new("RGB", mask.shape[::-1]).save(root / "JPEGImages" / f"{image_id}{suffix}")
        write_mask(root / "SegmentationClass" / f"{image_id}.png", mask)
    for name, ids in lists.items():
        (root / "ImageSets/Segmentation" / f"{name}.txt").write_text(list_text(ids))
    return root


def mask_of(*ids: int) -> np.ndarray:
    mask = np.zeros((6, 9), dtype=np.uint8)
    mask.flat[: len(ids)] = ids
    return mask


@pytest.fixture
def root(tmp_path):
    masks = {"2007_000032": mask_of(1, 15, 255), "2007_000039": mask_of(20), "2007_000063": mask_of(9, 12)}
    return make_root(tmp_path / "VOC2012", masks, {"train": ["2007_000039", "2007_000032"], "val": ["2007_000063"]})


def one_line(error) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


# ---- conversion


def test_sbd_mask_reads_the_segmentation_field(tmp_path):
    mask = mask_of(0, 7, 20)
    save_sbd(tmp_path / "a.mat", mask)
    found = sbd_mask(tmp_path / "a.mat")
    assert found.dtype == np.uint8 and found.tolist() == mask.tolist()


@pytest.mark.parametrize("content", [None, b"", b"MATLAB 5.0 MAT-file, cut off", b"\0" * 200])
def test_a_broken_sbd_mask_is_one_line_with_the_file(content, tmp_path):
    if content is not None:
        (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(InputError) as error:
        sbd_mask(tmp_path / "a.mat")
    assert str(tmp_path / "a.mat") in one_line(error)


def test_train_aug_is_train_with_sbd_without_val():
    assert train_aug_ids(["c", "a"], ["v", "w"], ["d", "v"], ["b", "a", "w"]) == ["a", "b", "c", "d"]


@needs_lists
def test_train_aug_composed_from_its_parts_hashes_to_the_published_list():
    train, train_aug, val = (read_ids(LISTS / f"voc2012/{name}.txt") for name in ("train", "train_aug", "val"))
    sbd = [*(i for i in train_aug if i not in set(train)), *val[::3], *train[::2]]  # SBD overlaps both
    composed = train_aug_ids(train[::-1], val, sbd[::2], sbd[1::2])
    assert list_sha256(composed) == VOC.splits["train_aug"].sha256


def make_sbd(folder: Path) -> Path:
    for image_id, mask in {"s1": mask_of(3), "s2": mask_of(4, 5), "2007_000032": mask_of(2)}.items():
        save_sbd(folder / "cls" / f"{image_id}.mat", mask)
    (folder / "train.txt").write_text("s1\n2007_000032\n")
    (folder / "val.txt").write_text("2007_000063\ns2")
    return folder


def test_conversion_gathers_all_masks_and_prefers_vocs_own(root, tmp_path):
    convert(root, make_sbd(tmp_path / "sbd"), threads=2)
    assert read_list(root, "train_aug") == ["2007_000032", "2007_000039", "s1", "s2"]
    found = {p.stem: tags_from_mask(read_mask(p, 21)) for p in (root / "SegmentationClassAug").glob("*.png")}
    assert found == {
        "2007_000032": (1, 15),
        "2007_000039": (20,),
        "2007_000063": (9, 12),
        "s1": (3,),
        "s2": (4, 5),
    }
    assert 255 in read_mask(root / "SegmentationClassAug/2007_000032.png", 21)  # the void border stays


@pytest.fixture
def archives(root, tmp_path, monkeypatch):
    """VOC and SBD in miniature, as archives, with the published train_aug to match."""
    make_sbd(tmp_path / "sbd")
    with tarfile.open(tmp_path / "voc.tar", "w") as tar:
        tar.add(root, "VOCdevkit/VOC2012")
    with tarfile.open(tmp_path / "sbd.tgz", "w:gz") as tar:
        tar.add(tmp_path / "sbd", "benchmark_RELEASE/dataset")
    digest = list_sha256(["2007_000032", "2007_000039", "s1", "s2"])
    monkeypatch.setitem(VOC.splits, "train_aug", Split(4, digest))
    for name, path in (("voc2012", tmp_path / "voc.tar"), ("sbd", tmp_path / "sbd.tgz")):
        small = replace(VOC.archives[name], checksum=file_digest(path, "md5:"))
        monkeypatch.setitem(VOC.archives, name, small)
    return tmp_path / "voc.tar", tmp_path / "sbd.tgz"


def test_prepare_refuses_an_archive_with_another_checksum(archives, tmp_path):
    with archives[0].open("ab") as file:
        file.write(b"one byte more")
    with pytest.raises(InputError) as error:
        prepare(*archives, tmp_path / "made/VOC2012")
    assert "voc.tar: checksum is md5:" in one_line(error) and "delete it and run again" in one_line(error)
    assert not list(tmp_path.glob("made/*"))


def test_prepare_makes_a_root_and_replaces_its_own(archives, tmp_path):
    target = tmp_path / "made/VOC2012"
    target.mkdir(parents=True)  # Snakemake makes the folder of the flag file
    for _ in range(2):
        prepare(*archives, target, threads=2)
        assert len(read_list(target, "train_aug")) == 4
        (target / "stale").touch()
    prepare(*archives, target)
    assert not (target / "stale").exists()
    assert [p.name for p in target.parent.iterdir()] == ["VOC2012"]


def test_prepare_does_not_touch_a_users_folder(archives, root):
    before = sorted(root.rglob("*"))
    with pytest.raises(InputError, match="VOC2012: is not empty"):
        prepare(*archives, root)
    assert sorted(root.rglob("*")) == before


def test_prepare_refuses_another_train_aug(archives, tmp_path, monkeypatch):
    monkeypatch.setitem(VOC.splits, "train_aug", Split(10_582, "0" * 64))
    with pytest.raises(InputError) as error:
        prepare(*archives, tmp_path / "made/VOC2012")
    assert "sbd.tgz" in one_line(error) and "10582" in one_line(error)
    assert list((tmp_path / "made").iterdir()) == []


# ---- tags


def test_tags_from_xml_count_difficult_objects_but_not_parts(tmp_path):
    (tmp_path / "a.xml").write_text(xml("person", "aeroplane", "person"))
    assert tags_from_xml(tmp_path / "a.xml") == (1, 15)


def test_an_unknown_class_in_xml_names_file_and_nearest(tmp_path):
    (tmp_path / "a.xml").write_text(xml("aeroplain"))
    with pytest.raises(InputError) as error:
        tags_from_xml(tmp_path / "a.xml")
    message = one_line(error)
    assert str(tmp_path / "a.xml") in message and "'aeroplain'" in message and "did you mean 'aeroplane'?" in message


def test_broken_xml_is_one_line_with_the_file(tmp_path):
    (tmp_path / "a.xml").write_text("<annotation><object>")
    with pytest.raises(InputError) as error:
        tags_from_xml(tmp_path / "a.xml")
    assert str(tmp_path / "a.xml") in one_line(error)


def test_tags_from_a_mask_leave_out_background_and_void():
    assert tags_from_mask(mask_of(255, 3, 20, 3)) == (3, 20)
    assert tags_from_mask(mask_of(255, 3, 20, 3), background=False) == (0, 3, 20)


# ---- index


def test_index_names_image_mask_size_tags_and_splits(root):
    splits = {"train": ["2007_000039", "2007_000032"], "labelled": ["2007_000032"], "val": ["2007_000063"]}
    records = build_index(root, splits, threads=3)
    assert [r.image_id for r in records] == ["2007_000032", "2007_000039", "2007_000063"]
    first = records[0]
    assert first.image == root / "JPEGImages/2007_000032.jpg"
    assert first.mask == root / "SegmentationClass/2007_000032.png"
    assert (first.height, first.width) == (6, 9)
    assert first.classes == (1, 15)
    assert first.splits == ("train", "labelled")


def test_png_images_are_found_too(tmp_path):
    root = make_root(tmp_path, {"a": mask_of(1)}, {}, suffix=".png")
    assert build_index(root, {"train": ["a"]})[0].image == root / "JPEGImages/a.png"


def test_masks_with_sbd_come_first(root):
    (root / "SegmentationClassAug").mkdir()
    write_mask(root / "SegmentationClassAug/2007_000032.png", mask_of(7))
    records = build_index(root, {"train": read_list(root, "train")})
    assert [r.mask.parent.name for r in records] == ["SegmentationClassAug", "SegmentationClass"]
    assert records[0].classes == (7,)


def test_tags_come_from_xml_where_there_is_one(root):
    (root / "Annotations/2007_000032.xml").write_text(xml("cat"))
    records = build_index(root, {"train": read_list(root, "train")})
    assert [r.classes for r in records] == [(8,), (20,)]


def test_an_image_without_mask_has_its_tags_from_xml(root):
    (root / "SegmentationClass/2007_000032.png").unlink()
    (root / "Annotations/2007_000032.xml").write_text(xml("cat"))
    record = build_index(root, {"train": ["2007_000032"]})[0]
    assert record.mask is None and record.classes == (8,)


def test_an_image_without_mask_and_xml_is_refused(root):
    (root / "SegmentationClass/2007_000032.png").unlink()
    with pytest.raises(InputError) as error:
        build_index(root, {"train": ["2007_000032"]})
    assert "Annotations/2007_000032.xml" in one_line(error)


def test_a_missing_root_says_where_to_get_it_and_how_it_looks(tmp_path):
    with pytest.raises(InputError) as error:
        read_list(tmp_path / "absent", "train")
    message = one_line(error)
    for part in (str(tmp_path / "absent"), "data.voc.root", VOC.archives["voc2012"].urls[0], "JPEGImages"):
        assert part in message


def test_a_missing_list_names_those_that_exist(root):
    with pytest.raises(InputError, match=r"train_aug.txt: no such split list; .*: train, val$"):
        read_list(root, "train_aug")


@pytest.mark.parametrize(("text", "complaint"), [("", "is empty"), ("a\nb\na\n", "names a twice")])
def test_an_empty_or_repeating_list_is_refused(text, complaint, root):
    (root / "ImageSets/Segmentation/odd.txt").write_text(text)
    with pytest.raises(InputError, match=rf"odd.txt: {complaint}"):
        read_list(root, "odd")


def test_a_missing_image_is_named(root):
    (root / "JPEGImages/2007_000032.jpg").unlink()
    with pytest.raises(InputError, match=r"JPEGImages/2007_000032.jpg: no such image"):
        build_index(root, {"train": ["2007_000032"]})


def test_a_file_that_is_no_image_is_named(root):
    (root / "JPEGImages/2007_000032.jpg").write_text("404")
    with pytest.raises(InputError, match=r"JPEGImages/2007_000032.jpg: truncated or not an image"):
        build_index(root, {"train": read_list(root, "train")}, threads=2)


def test_a_mask_of_another_size_is_named(root):
    write_mask(root / "SegmentationClass/2007_000032.png", np.zeros((9, 6), np.uint8))
    with pytest.raises(InputError, match=r"SegmentationClass/2007_000032.png: .*\(9, 6\).*\(6, 9\)"):
        build_index(root, {"train": ["2007_000032"]})


def test_a_mask_id_out_of_range_is_named(root):
    write_mask(root / "SegmentationClass/2007_000032.png", mask_of(33))
    with pytest.raises(InputError, match=r"SegmentationClass/2007_000032.png: class id 33 is out of range"):
        build_index(root, {"train": ["2007_000032"]})


@pytest.mark.skipif(not ANIMALS.is_dir(), reason=f"no VOC images in {ANIMALS}; set MASKMILL_TEST_DATA")
def test_the_animals_of_voc_are_437_and_445():
    splits = {split: read_list(ANIMALS, split) for split in ("train", "val")}
    records = build_index(ANIMALS, splits, threads=2)
    assert {split: sum(split in r.splits for r in records) for split in splits} == {"train": 437, "val": 445}
    assert all(r.mask and r.classes for r in records)
    usable = {8, 10, 12, 13, 17}  # every image shows a cat, cow, dog, horse or sheep
    assert all(usable & set(r.classes) for r in records)


@pytest.mark.skipif("MASKMILL_VOC_ROOT" not in os.environ, reason="needs the whole VOC 2012: set MASKMILL_VOC_ROOT")
@pytest.mark.parametrize("split", IMAGES_PER_CLASS_IN_XML)
def test_tags_of_the_whole_voc_count_as_irns_labels(split):
    annotations = Path(os.environ["MASKMILL_VOC_ROOT"]) / "Annotations"
    tags = [tags_from_xml(annotations / f"{i}.xml") for i in read_list(annotations.parent, split)]
    assert [sum(number in t for t in tags) for number in range(1, 21)] == [
        int(n) for n in IMAGES_PER_CLASS_IN_XML[split].split()
    ]


# ---- splits


IDS = ["a", "b", "c"]
PUBLISHED = Split(3, list_sha256(IDS))


def test_a_split_is_published_or_custom():
    assert check_split(IDS, PUBLISHED) == "published"
    assert check_split(IDS[::-1], PUBLISHED) == "published"  # the order does not matter
    assert check_split(["a", "c"], PUBLISHED) == "custom: 2 images, published 3"
    assert check_split(["a", "b", "d"], PUBLISHED) == "custom: 3 images, published 3"
    assert check_split(IDS, None) == "custom"


def test_a_split_of_unknown_hash_is_never_called_published():
    assert check_split(IDS, Split(3)) == "unverified: 3 images, as published"
    assert check_split(IDS, Split(4)) == "custom: 3 images, published 4"


def test_a_repeated_id_is_refused():
    with pytest.raises(InputError, match="names a twice"):
        check_split(["a", "b", "a"], PUBLISHED)


def test_manifest_counts_images_and_classes(root):
    splits = {"train": read_list(root, "train"), "val": read_list(root, "val")}
    made = manifest(build_index(root, splits), splits, {"train": "train_aug", "val": "val"})
    assert made["train"]["list"] == "train_aug"
    assert made["train"]["images"] == 2
    assert made["train"]["published"] == "custom: 2 images, published 10,582"
    # independent of our code: printf '2007_000039\n2007_000032\n' | sha256sum
    assert made["train"]["sha256"] == "8f5568cd8fcb2906e37386b3b3359cd82221ae04153273a8de575087fa1e4848"
    assert len(made["train"]["images_per_class"]) == 20
    assert {k for k, v in made["train"]["images_per_class"].items() if v} == {
        "aeroplane",
        "person",
        "tvmonitor",
    }
    assert json.loads(json.dumps(made)) == made


def test_a_root_whose_masks_show_no_class_is_refused(tmp_path):
    masks = {"a": mask_of(0, 255, 255), "b": mask_of(255)}
    root = make_root(tmp_path / "own", masks, {"train": ["a"], "val": ["b"]})
    with pytest.raises(InputError) as error:
        build_index(root, {"train": ["a"], "val": ["b"]})
    assert one_line(error).startswith(
        f"{root}: none of the 2 images shows a class; masks hold class ids, and 255 means"
    )
