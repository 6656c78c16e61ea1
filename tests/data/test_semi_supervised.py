"""Crops of labelled and unlabelled images: pseudo labels stay aligned, and no hidden mask is opened."""

import builtins
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import default_collate

from maskmill.data.datasets import Masks
from maskmill.data.images import read_image
from maskmill.data.index import Record
from maskmill.data.partitions import unlabelled_records
from maskmill.data.semi_supervised import CWBASSImages, MGDImages
from maskmill.data.transforms import Augmentation, StrongAugmentation

PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # mean and standard deviation that leave pixels as they are
CROP = 64
SCALES = Augmentation(crop=CROP, scales=(0.5, 1.0, 1.5), pad="centre", interpolation="bilinear")
AS_IT_IS = Augmentation(crop=CROP, scale=(1.0, 1.0))
HOLE = StrongAugmentation(jitter_p=0, grayscale_p=0, blur_p=0, cutout_p=1)


@pytest.fixture
def index(tmp_path):
    """Eight images: labels times 40 in red, a wave in green (the confidence), the number of the image in blue."""
    records = {}
    for number in range(8):
        image_id, height, width = f"i{number}", 96 + 16 * number, 208 - 16 * number
        label, wave = label_of(height, width, number), wave_of(height, width)
        image = np.stack([40 * label, wave, np.full_like(label, 10 * number)], axis=2)
        Image.fromarray(image).save(tmp_path / f"{image_id}.png")
        Image.fromarray(label).save(tmp_path / f"{image_id}_mask.png")
        paths = tmp_path / f"{image_id}.png", tmp_path / f"{image_id}_mask.png"
        records[image_id] = Record(image_id, *paths, height, width, (1, 2), ("train",))
    return records


def label_of(height, width, number):
    y, x = np.mgrid[:height, :width]
    return ((x // 29 + y // 23 + number) % 6).astype(np.uint8)


def wave_of(height, width):
    y, x = np.mgrid[:height, :width]
    return (128 + 100 * np.sin(x / 30) * np.cos(y / 25)).astype(np.uint8)


@pytest.fixture
def parts(index):
    """Three labelled images, five without labels."""
    ids = list(index)
    return [index[image_id] for image_id in ids[:3]], unlabelled_records(index, ids[3:])


@pytest.fixture
def stores(index):
    """The labels and the confidence that a perfect teacher would have stored."""
    sizes = {record.image_id: (record.height, record.width) for record in index.values()}
    return {
        "label": {i: label_of(*size, int(i[1:])) for i, size in sizes.items()},
        "confidence": {i: wave_of(*size) for i, size in sizes.items()},
    }


def masks(parts):
    return Masks(parts[0], num_classes=6)


def cwbass(parts, stores=None, augmentation=SCALES, **arguments):
    if stores is not None:
        arguments |= {"labels": stores["label"], "confidence": stores["confidence"]}
    return CWBASSImages(*parts, augmentation, *PLAIN, masks=masks(parts), **arguments)


def mgd(parts, augmentation=SCALES, cutmix=None, **arguments):
    return MGDImages(*parts, augmentation, *PLAIN, masks=masks(parts), cutmix=cutmix, **arguments)


def draw(dataset, index=0, seed=0):
    lengths = dataset.lengths
    return dataset.sample((index % lengths[0], index % lengths[1]), np.random.default_rng(seed))


def number(pixels):
    """The number of a crop's image."""
    return round(255 * float(pixels[2].max()) / 10)


def agreement(pixels, labels):
    """Share of the labelled pixels whose label is that of the image; bilinear colours between classes have none."""
    inside = labels != 255
    return float((pixels[0] * 255 / 40 - labels)[inside].abs().lt(0.5).float().mean())


@pytest.mark.parametrize("seed", range(8))
def test_pseudo_labels_and_confidence_follow_the_unlabelled_crop(parts, stores, seed):
    example = draw(cwbass(parts, stores), seed, seed)
    assert agreement(example["image"], example["label"]) > 0.8
    assert agreement(example["unlabelled"], example["pseudo"]) > 0.8
    assert torch.equal(example["confidence"], example["unlabelled"][1])
    assert {name: (value.dtype, tuple(value.shape)) for name, value in example.items()} == {
        "image": (torch.float32, (3, CROP, CROP)),
        "label": (torch.int64, (CROP, CROP)),
        "unlabelled": (torch.float32, (3, CROP, CROP)),
        "pseudo": (torch.int64, (CROP, CROP)),
        "confidence": (torch.float32, (CROP, CROP)),
    }


@pytest.mark.parametrize("seed", range(8))
def test_without_resizing_pseudo_labels_are_those_of_the_image(parts, stores, seed):
    example = draw(cwbass(parts, stores, AS_IT_IS), seed, seed)
    assert agreement(example["unlabelled"], example["pseudo"]) == 1
    assert agreement(example["image"], example["label"]) == 1


def test_a_hole_has_the_mean_colour_no_label_and_no_confidence(parts, stores):
    example, whole = (draw(cwbass(parts, stores, AS_IT_IS, strong=strong)) for strong in (HOLE, None))
    cut = (example["pseudo"] == 255) & (whole["pseudo"] != 255)
    assert cut.float().mean() > 0.01
    assert not example["unlabelled"][:, cut].any() and not example["confidence"][cut].any()
    assert torch.equal(example["pseudo"][~cut], whole["pseudo"][~cut])
    assert torch.equal(example["unlabelled"][:, ~cut], whole["unlabelled"][:, ~cut])
    assert torch.equal(example["image"], whole["image"]), "labelled crops are left alone"


def test_padding_has_no_label_and_no_confidence(parts, stores):
    small = Augmentation(crop=224, scale=(1.0, 1.0), pad="centre")
    example = draw(cwbass(parts, stores, small))
    height, width = parts[1][0].height, parts[1][0].width
    assert (example["pseudo"] != 255).sum() == height * width
    assert not example["confidence"][example["pseudo"] == 255].any()
    assert draw(cwbass(parts, augmentation=small))["ignore"].sum() == 224**2 - height * width


def test_the_teacher_sees_the_weak_crop_and_the_student_the_strong_one(parts):
    plain, strong = (draw(cwbass(parts, strong=strong)) for strong in (None, HOLE))
    assert torch.equal(plain["weak"], plain["unlabelled"])
    assert torch.equal(strong["weak"], plain["weak"])
    cut = strong["ignore"] & ~plain["ignore"]
    assert cut.any() and torch.equal(strong["unlabelled"][:, ~cut], plain["weak"][:, ~cut])
    assert set(plain) == {"image", "label", "unlabelled", "weak", "ignore"}
    coloured = draw(cwbass(parts, strong=StrongAugmentation(jitter_p=1, cutout_p=0)))
    assert not torch.equal(coloured["unlabelled"], coloured["weak"]) and torch.equal(coloured["weak"], plain["weak"])


@pytest.mark.parametrize("make", [cwbass, mgd])
def test_the_shorter_list_starts_again(parts, make):
    dataset = make(parts)
    assert len(dataset) == 5
    unlabelled = "unlabelled" if make is cwbass else "image_0"
    drawn = [draw(dataset, index) for index in range(5)]
    assert [number(example["image"]) for example in drawn] == [0, 1, 2, 0, 1]
    assert [number(example[unlabelled]) for example in drawn] == [3, 4, 5, 6, 7]


def test_more_labelled_images_than_others_are_all_drawn(parts):
    dataset = cwbass((parts[0], parts[1][:2]))
    assert len(dataset) == 3
    assert [number(draw(dataset, index)["unlabelled"]) for index in range(3)] == [3, 4, 3]


@pytest.mark.parametrize("method", ["cwbass", "cwbass online", "mgd"])
def test_no_mask_of_an_unlabelled_image_is_opened(parts, stores, method, tmp_path, monkeypatch):
    opened, really = set(), builtins.open

    def spy(file, *arguments, **keywords):
        if str(file).startswith(str(tmp_path)):  # modules may be read for the first time here
            opened.add(str(file))
        return really(file, *arguments, **keywords)

    monkeypatch.setattr(builtins, "open", spy)
    monkeypatch.setattr(io, "open", spy)  # what Path.open calls
    dataset = mgd(parts) if method == "mgd" else cwbass(parts, stores if method == "cwbass" else None)
    for index in range(len(dataset)):
        draw(dataset, index)
    labelled, unlabelled = parts
    assert opened == {str(r.image) for r in labelled + unlabelled} | {str(r.mask) for r in labelled}


@pytest.mark.parametrize("make", [cwbass, mgd])
def test_examples_follow_their_generator(parts, stores, make):
    if make is cwbass:
        dataset = cwbass(parts, stores, strong=StrongAugmentation())
    else:
        dataset = mgd(parts, pairing="independent", cutmix={})
    first, again, other = (draw(dataset, 1, seed) for seed in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if "padding" not in name)
    batch = default_collate([first, other])
    assert all(len(batch[name]) == 2 for name in first)


def test_pseudo_labels_come_with_their_confidence(parts, stores):
    with pytest.raises(ValueError, match="give labels and confidence, or neither"):
        CWBASSImages(*parts, SCALES, *PLAIN, masks=masks(parts), labels=stores["label"])


@pytest.mark.parametrize("seed", range(8))
def test_an_mgd_example_has_three_crops_and_shows_where_they_are_padded(parts, seed):
    example = draw(mgd(parts), seed, seed)
    ends = ("", "_0", "_1")
    assert set(example) == {f"{name}{end}" for name in ("image", "padding") for end in ends} | {"label", "mask"}
    assert agreement(example["image"], example["label"]) > 0.8
    assert torch.equal(example["label"] == 255, example["padding"])
    for end in ends:
        assert example[f"padding{end}"].dtype == torch.bool
        assert not example[f"image{end}"][:, example[f"padding{end}"]].any()


def test_same_pairs_an_image_with_another_crop_of_itself_and_reads_it_once(parts, monkeypatch):
    read = []
    monkeypatch.setattr(MGDImages, "_read", lambda self, record: read.append(record) or read_image(record.image))
    example = draw(mgd(parts, pairing="same"), 2)
    assert number(example["image_0"]) == number(example["image_1"]) == 5
    assert not torch.equal(example["image_0"], example["image_1"])
    assert [record.image_id for record in read] == ["i2", "i5"]


def test_independent_pairs_an_image_with_any(parts):
    drawn = [draw(mgd(parts, pairing="independent"), 2, seed) for seed in range(40)]
    assert {number(example["image_0"]) for example in drawn} == {5}
    assert {number(example["image_1"]) for example in drawn} == {3, 4, 5, 6, 7}


def test_an_unknown_pairing_is_refused(parts):
    with pytest.raises(ValueError, match="pairing is 'twin'"):
        draw(mgd(parts, pairing="twin"))


def test_the_mask_is_cutmix_or_empty(parts):
    example = draw(mgd(parts))
    assert example["mask"].shape == (1, CROP, CROP) and example["mask"].dtype == torch.bool
    assert not example["mask"].any()
    shares = [float(draw(mgd(parts, cutmix={"boxes": 1}), seed=s)["mask"].float().mean()) for s in range(30)]
    assert min(shares) > 0.2 and max(shares) < 0.55, "one box has a quarter to a half of the area"
