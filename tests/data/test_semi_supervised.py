"""Crops of labelled and unlabelled images: maps of the teachers stay aligned, and nobody asks for a hidden mask."""

import builtins
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import default_collate

from maskmill.data.datasets import Masks
from maskmill.data.index import Record
from maskmill.data.partitions import unlabelled_records
from maskmill.data.semi_supervised import ConfidentLabels, CWBASSImages, MGDImages
from maskmill.data.transforms import Augmentation, StrongAugmentation

PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # mean and standard deviation that leave pixels as they are
CROP = 64
SCALES = Augmentation(crop=CROP, scales=(0.5, 1.0, 1.5), pad="centre", interpolation="bilinear")
AS_IT_IS = Augmentation(crop=CROP, scale=(1.0, 1.0))
HOLE = StrongAugmentation(jitter_p=0, grayscale_p=0, blur_p=0, cutout_p=1)


class Counted(dict):
    """A store that counts what is read from it."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.reads = Counter()

    def __getitem__(self, image_id):
        self.reads[image_id] += 1
        return super().__getitem__(image_id)


def test_labels_of_little_confidence_are_left_out():
    labels = {"a": np.array([[3, 4, 255]], np.uint8), "b": np.zeros((1, 1), np.uint8)}
    confidence = {"a": np.array([[153, 152, 255]], np.uint8), "b": np.zeros((1, 1), np.uint8)}
    chosen = ConfidentLabels(labels, confidence, 0.6)
    assert chosen["a"].tolist() == [[3, 255, 255]] and chosen["a"].dtype == np.uint8
    assert chosen["b"].tolist() == [[255]] and list(chosen) == ["a", "b"] and len(chosen) == 2
    assert labels["a"].tolist() == [[3, 4, 255]]


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
    """What a teacher would have stored, if it were right, with maps at a stride of 4."""
    sizes = {record.image_id: (record.height, record.width) for record in index.values()}
    waves = {image_id: wave_of(*size) for image_id, size in sizes.items()}
    pooled = {i: F.avg_pool2d(torch.from_numpy(wave)[None] / 255, 4).half().numpy() for i, wave in waves.items()}
    return {
        "label": Counted({i: label_of(*size, int(i[1:])) for i, size in sizes.items()}),
        "confidence": Counted(waves),
        "maps": Counted(pooled),
    }


def masks(parts):
    return Masks(parts[0], num_classes=6)


def cwbass(parts, stores=None, augmentation=SCALES, **arguments):
    if stores is not None:
        arguments |= {"labels": stores["label"], "confidence": stores["confidence"]}
    return CWBASSImages(*parts, augmentation, *PLAIN, masks=masks(parts), **arguments)


def mgd(parts, stores=None, augmentation=SCALES, cutmix=None, **arguments):
    if stores is not None:
        wide, deep = ({"label": stores["label"], kind: stores["maps"]} for kind in ("features", "logits"))
        arguments["caches"] = {"wide": wide, "deep": deep}
    return MGDImages(*parts, augmentation, *PLAIN, masks=masks(parts), cutmix=cutmix, **arguments)


def draw(dataset, index=0, seed=0):
    lengths = dataset.lengths
    return dataset.sample((index % lengths[0], index % lengths[1]), np.random.default_rng(seed))


def number(pixels):
    """Which image a crop is of."""
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


def test_with_cutmix_the_hole_comes_along_and_nothing_is_cut(parts, stores):
    example, whole = (
        draw(cwbass(parts, stores, AS_IT_IS, strong=HOLE, cutmix=True)),
        draw(cwbass(parts, stores, AS_IT_IS)),
    )
    cut = draw(cwbass(parts, stores, AS_IT_IS, strong=HOLE))["pseudo"] != whole["pseudo"]
    assert example["hole"].shape == (1, *example["pseudo"].shape)
    assert example["hole"][0][cut].all() and example["hole"].any()
    for name in ("unlabelled", "pseudo", "confidence"):
        assert torch.equal(example[name], whole[name])


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


@pytest.mark.parametrize("make", [cwbass, mgd])
@pytest.mark.parametrize("cached", [False, True])
def test_no_mask_of_an_unlabelled_image_is_opened(parts, stores, make, cached, monkeypatch):
    opened, really = set(), builtins.open

    def spy(file, *arguments, **keywords):
        opened.add(str(file))
        return really(file, *arguments, **keywords)

    monkeypatch.setattr(builtins, "open", spy)
    dataset = make(parts, stores if cached else None)
    for index in range(len(dataset)):
        draw(dataset, index)
    labelled, unlabelled = parts
    assert opened == {str(r.image) for r in labelled + unlabelled} | {str(r.mask) for r in labelled}


@pytest.mark.parametrize("make", [cwbass, mgd])
def test_examples_follow_their_generator(parts, stores, make):
    arguments = {"strong": StrongAugmentation()} if make is cwbass else {"pairing": "independent", "cutmix": {}}
    dataset = make(parts, stores, **arguments)
    first, again, other = (draw(dataset, 1, seed) for seed in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if "padding" not in name)
    batch = default_collate([first, other])
    assert all(len(batch[name]) == 2 for name in first)


def test_pseudo_labels_come_with_their_confidence(parts, stores):
    with pytest.raises(ValueError, match="give labels and confidence, or neither"):
        CWBASSImages(*parts, SCALES, *PLAIN, masks=masks(parts), labels=stores["label"])


@pytest.mark.parametrize("seed", range(8))
def test_maps_of_both_teachers_follow_their_crops(parts, stores, seed):
    example = draw(mgd(parts, stores, logits_stride=8, features_stride=16), seed, seed)
    for end in ("", "_0", "_1"):
        pixels, padding = example[f"image{end}"], example[f"padding{end}"]
        assert agreement(pixels, example[f"wide_label{end}"]) > 0.8
        assert torch.equal(example[f"wide_label{end}"], example[f"deep_label{end}"])
        assert torch.equal(example[f"wide_label{end}"] == 255, padding)
        assert not pixels[:, padding].any()
    assert torch.equal(example["label"], example["wide_label"])
    for end in ("_0", "_1"):
        for name, stride in (("deep_logits", 8), ("wide_features", 16)):
            cells = example[name + end]
            assert cells.shape == (1, CROP // stride, CROP // stride) and cells.dtype == torch.float32
            whole = F.avg_pool2d(example[f"padding{end}"].float()[None], stride) == 0
            pooled = F.avg_pool2d(example[f"image{end}"][1:2], stride)
            assert (cells - pooled)[whole].abs().mean() < 0.06


def test_an_mgd_example_has_these_parts(parts, stores):
    ends = ("", "_0", "_1")
    online = {f"{name}{end}" for name in ("image", "padding") for end in ends} | {"label", "mask"}
    cached = {f"{name}_label{end}" for name in ("wide", "deep") for end in ends}
    cached |= {f"{name}{end}" for name in ("deep_logits", "wide_features") for end in ends[1:]}
    assert set(draw(mgd(parts))) == online
    assert set(draw(mgd(parts, stores))) == online | cached
    labels_alone = mgd(parts, caches={"deep": {"label": stores["label"]}})
    assert set(draw(labels_alone)) == online | {f"deep_label{end}" for end in ends}


def test_same_pairs_an_image_with_another_crop_of_itself_and_reads_it_once(parts, stores):
    example = draw(mgd(parts, stores, pairing="same"), 2)
    assert number(example["image_0"]) == number(example["image_1"]) == 5
    assert not torch.equal(example["image_0"], example["image_1"])
    assert stores["maps"].reads == {"i5": 2}, "logits and features lie in the same store here"
    assert stores["label"].reads == {"i2": 2, "i5": 2}


def test_independent_pairs_an_image_with_any(parts, stores):
    dataset = mgd(parts, stores, pairing="independent")
    drawn = [draw(dataset, 2, seed) for seed in range(40)]
    assert {number(example["image_0"]) for example in drawn} == {5}
    assert {number(example["image_1"]) for example in drawn} == {3, 4, 5, 6, 7}
    assert all(agreement(example["image_1"], example["wide_label_1"]) > 0.8 for example in drawn)


def test_an_unknown_pairing_is_refused(parts):
    with pytest.raises(ValueError, match="pairing is 'twin'"):
        draw(mgd(parts, pairing="twin"))


def test_the_mask_is_cutmix_or_empty(parts):
    example = draw(mgd(parts))
    assert example["mask"].shape == (1, CROP, CROP) and example["mask"].dtype == torch.bool
    assert not example["mask"].any()
    shares = [float(draw(mgd(parts, cutmix={"boxes": 1}), seed=s)["mask"].float().mean()) for s in range(30)]
    assert min(shares) > 0.2 and max(shares) < 0.55, "one box has a quarter to a half of the area"
