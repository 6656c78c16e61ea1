"""Cityscapes: the published folders are read as they are, and one line names a mistake in them."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmill.data.catalog import CITIES, CITYSCAPES
from maskmill.data.cityscapes import build_index, read_split
from maskmill.data.voc import check_split, manifest, write_mask
from maskmill.errors import InputError
from published import LISTS, needs_lists

LISTS_OF = {"train": "train", "labelled_train": "train", "val": "val"}


def add(root: Path, split: str, image_id: str, mask: np.ndarray, kind: str = "labelTrainIds") -> Path:
    """Write an image and its mask; returns the mask's path."""
    city = image_id.split("_")[0]
    image = root / "leftImg8bit" / split / city / f"{image_id}_leftImg8bit.png"
    path = root / "gtFine" / split / city / f"{image_id}_gtFine_{kind}.png"
    for file in (image, path):
        file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", mask.shape[::-1]).save(image)
    Image.fromarray(mask).save(path)
    return path


def mask_of(*ids: int) -> np.ndarray:
    mask = np.full((4, 8), 255, np.uint8)
    mask.flat[: len(ids)] = ids
    return mask


@pytest.fixture
def root(tmp_path):
    """One image per city."""
    for split, cities in CITIES.items():
        for number, city in enumerate(cities):
            add(tmp_path, split, f"{city}_000001_000019", mask_of(number, 18))
    return tmp_path


def read_all(root, **options):
    ids = {role: read_split(root, split, **options) for role, split in LISTS_OF.items()}
    return ids, build_index(root, ids, LISTS_OF, threads=2)


def one_line(error) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_ids_are_city_sequence_and_frame_sorted_by_city_then_name(root):
    add(root, "train", "aachen_000000_000019", mask_of(1))
    ids = read_split(root, "train")
    assert ids[:3] == ["aachen_000000_000019", "aachen_000001_000019", "bochum_000001_000019"]
    assert [i.split("_")[0] for i in ids[1:]] == list(CITIES["train"])


def test_index_has_png_images_trainid_masks_and_road_among_the_classes(root):
    records = {r.image_id: r for r in read_all(root)[1]}
    assert len(records) == 21
    aachen, munster = records["aachen_000001_000019"], records["munster_000001_000019"]
    assert aachen.image == root / "leftImg8bit/train/aachen/aachen_000001_000019_leftImg8bit.png"
    assert aachen.mask == root / "gtFine/train/aachen/aachen_000001_000019_gtFine_labelTrainIds.png"
    assert (aachen.height, aachen.width) == (4, 8)
    assert aachen.classes == (0, 18), "id 0 is road; 255 is no class"
    assert aachen.splits == ("train", "labelled_train")
    assert munster.classes == (2, 18) and munster.splits == ("val",)


def test_manifest_counts_road_like_every_class(root):
    ids, records = read_all(root)
    made = manifest(records, ids, LISTS_OF, CITYSCAPES)
    counts = made["train"]["images_per_class"]
    assert list(counts) == list(CITYSCAPES.classes)
    assert counts["road"] == 1 and counts["bicycle"] == 18
    assert made["val"]["published"] == "custom: 3 images, published 500"


def test_a_missing_root_says_where_to_register(tmp_path):
    with pytest.raises(InputError) as error:
        read_split(tmp_path / "absent", "train")
    message = one_line(error)
    for part in (str(tmp_path / "absent"), "data.cityscapes.root", "https://www.cityscapes-dataset.com", "leftImg8bit"):
        assert part in message


def remove_city(root, split, city):
    for path in (root / "leftImg8bit" / split / city).iterdir():
        path.unlink()


def test_missing_cities_are_named_and_a_subset_is_a_choice(root):
    for city in ("jena", "ulm"):
        remove_city(root, "train", city)
    with pytest.raises(InputError) as error:
        read_split(root, "train")
    message = one_line(error)
    assert f"{root}/leftImg8bit/train: no images of 2 of its 18 cities (jena, ulm)" in message
    assert "data.cityscapes.subset" in message
    assert len(read_split(root, "train", subset=True)) == 16
    assert len(read_split(root, "val")) == 3


def test_not_even_a_subset_is_empty(root):
    for city in CITIES["val"]:
        remove_city(root, "val", city)
    with pytest.raises(InputError, match=r"no images of 3 of its 3 cities \(frankfurt, lindau, munster\)"):
        read_split(root, "val", subset=True)


def test_a_city_of_another_split_is_refused(root):
    add(root, "train", "frankfurt_000001_000019", mask_of(1))
    with pytest.raises(InputError, match=r"leftImg8bit/train: frankfurt is no city of this split"):
        read_split(root, "train", subset=True)


def test_a_split_without_public_masks_is_refused(root):
    with pytest.raises(InputError, match="split 'test' is not one of train, val"):
        read_split(root, "test")


def test_labelids_alone_are_to_be_converted(root):
    for path in (root / "gtFine").rglob("*_labelTrainIds.png"):
        path.rename(str(path).replace("labelTrainIds", "labelIds"))
    with pytest.raises(InputError) as error:
        read_all(root)
    message = one_line(error)
    assert "aachen_000001_000019_gtFine_labelTrainIds.png: no such mask" in message
    assert "labelIds.png is there: run csCreateTrainIdLabelImgs" in message


def test_an_image_without_any_mask_is_named(root):
    mask = root / "gtFine/val/lindau/lindau_000001_000019_gtFine_labelTrainIds.png"
    mask.unlink()
    with pytest.raises(InputError) as error:
        read_all(root)
    assert f"{mask}: no such mask; unpack gtFine_trainvaltest.zip" in one_line(error)


@pytest.mark.parametrize("label_id", [19, 23, 33])
def test_labelids_under_the_name_of_trainids_are_recognised(label_id, root):
    mask = add(root, "val", "lindau_000001_000019", mask_of(7, label_id))
    with pytest.raises(InputError) as error:
        read_all(root)
    message = one_line(error)
    assert f"{mask}: class id {label_id} is out of range 0..18" in message
    assert "labelIds under the name of trainIds" in message and "csCreateTrainIdLabelImgs" in message


def test_a_mask_of_another_size_is_named(root):
    mask = root / "gtFine/val/lindau/lindau_000001_000019_gtFine_labelTrainIds.png"
    write_mask(mask, np.zeros((8, 4), np.uint8))
    with pytest.raises(InputError, match=r"lindau.*labelTrainIds.png: height and width are \(8, 4\), .*\(4, 8\)"):
        read_all(root)


@needs_lists
@pytest.mark.parametrize("split", CITYSCAPES.splits)
def test_published_ids_have_the_catalogues_counts_hashes_and_cities(split):
    lines = (LISTS / f"cityscapes/{split}.txt").read_text().splitlines()
    ids = sorted(Path(line.split("\t")[0]).stem for line in lines)
    assert len(set(ids)) == CITYSCAPES.splits[split].images
    text = "".join(f"{i}\n" for i in ids)
    assert hashlib.sha256(text.encode()).hexdigest() == CITYSCAPES.splits[split].sha256
    assert sorted({i.split("_")[0] for i in ids}) == list(CITIES[split])
    assert check_split(ids, CITYSCAPES.splits[split]) == "published"
