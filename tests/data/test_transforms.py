"""Augmentation: image and labels stay aligned, all randomness comes from the generator."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from fills import digest
from maskmill.data.datasets import TrainingImages
from maskmill.data.index import Record
from maskmill.data.transforms import (
    Augmentation,
    Geometry,
    StrongAugmentation,
    cutout_box,
    network_input,
    resize_image,
    scaled,
)
from maskmill.workflow.settings import read_yaml

CONFIG = read_yaml(Path(__file__).parents[2] / "config.yaml")
HALF = (0.5, 0.5, 0.5)
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # mean and standard deviation that leave pixels as they are


def picture(height=40, width=60):
    """Left half dark, right half bright; labels 1 and 2 alike."""
    image = np.zeros((height, width, 3), np.uint8)
    label = np.ones((height, width), np.uint8)
    image[:, width // 2 :], label[:, width // 2 :] = 255, 2
    return image, label


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("size", [{"long_side": (30, 90)}, {"scale": (0.5, 1.5)}])
def test_labels_follow_the_image(seed, size):
    image, label = picture()
    pixels, labels = Augmentation(crop=48, **size)(image, label, HALF, HALF, np.random.default_rng(seed))
    assert pixels.shape == (3, 48, 48) and labels.shape == (48, 48)
    inside = labels != 255
    agree = (pixels[0] > 0) == (labels == 2)
    assert agree[inside].float().mean() > 0.95, "bicubic and nearest differ on the edge only"
    assert (pixels[:, ~inside] == 0).all(), "the padding is the mean colour"


def test_same_generator_same_crop_and_another_one_another():
    image, label = picture()
    augment = Augmentation(crop=32, long_side=(30, 90), color_jitter=(0.3, 0.3, 0.3, 0.1))
    first, again, other = (augment(image, label, HALF, HALF, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_crops_reach_every_part_of_a_large_image():
    image = np.zeros((64, 64, 3), np.uint8)
    label = np.arange(64, dtype=np.uint8)[:, None].repeat(64, axis=1)
    augment = Augmentation(crop=16, scale=(1.0, 1.0))
    rows = {int(augment(image, label, HALF, HALF, np.random.default_rng(s))[1].min()) for s in range(400)}
    assert min(rows) == 0 and max(rows) == 48


def test_network_input_is_normalised():
    image = np.full((4, 6, 3), 255, np.uint8)
    x = network_input(image, (0.5, 0.4, 0.3), (0.5, 0.5, 0.1))
    assert x.shape == (1, 3, 4, 6)
    assert x[0, :, 0, 0].tolist() == pytest.approx([1.0, 1.2, 7.0])
    assert network_input(image, HALF, HALF, (8, 9)).shape == (1, 3, 8, 9)


def test_scaled_sizes_round_and_never_vanish():
    assert scaled((375, 500), 0.5) == (188, 250)
    assert scaled((3, 3), 0.1) == (1, 1)


def test_training_images_never_open_a_mask(tmp_path):
    Image.fromarray(picture()[0]).save(tmp_path / "a.png")
    record = Record("a", tmp_path / "a.png", tmp_path / "no such mask.png", 40, 60, (3, 20), ("train",))
    images = TrainingImages([record], Augmentation(crop=16, scale=(1, 1)), HALF, HALF, num_classes=21)
    example = images.sample(0, np.random.default_rng(0))
    assert set(example) == {"image", "tags"}
    assert example["tags"].nonzero().flatten().tolist() == [2, 19]


# One run of IRN's released `pil_rescale` on the label image (3x + 7y) mod 250.
RAMP = ((3 * np.arange(32)[None] + 7 * np.arange(24)[:, None]) % 250).astype(np.uint8)


@pytest.mark.parametrize(
    ("factor", "shape", "total", "first", "last"),
    [(0.25, (6, 8), 6336, 20, 244), (0.5, (12, 16), 25094, 10, 4), (1.5, (36, 48), 218616, 0, 4)],
)
def test_labels_are_resized_as_in_the_reference_run(factor, shape, total, first, last):
    size = scaled(RAMP.shape, factor)
    small = Geometry(size, flip=False, offsets=(0, 0), crop=size).label(RAMP)
    assert small.shape == shape
    assert (int(small.sum()), int(small[0, 0]), int(small[-1, -1])) == (total, first, last)


@pytest.mark.parametrize(("factor", "total", "first", "last"), [(0.5, 24412, 6, 140), (1.5, 218832, 0, 0)])
def test_images_are_resized_as_in_the_reference_run(factor, total, first, last):
    resized = resize_image(RAMP[..., None].repeat(3, axis=2), scaled(RAMP.shape, factor))
    for channel in np.moveaxis(resized, 2, 0):
        assert (int(channel.sum()), int(channel[0, 0]), int(channel[-1, -1])) == (total, first, last)


def exact(factor: int):
    """A change of colours without rounding, by the whole picture and the number that was drawn."""
    return lambda pixels, value: factor * pixels + int(pixels.sum() + 1e6 * value) % 256


# Digests of this test's five crops: results of old runs stay as they are.
@pytest.mark.parametrize(
    ("arguments", "pixels", "labels"),
    [
        ({"long_side": (30, 90)}, "e6886cb7666495e7", "2147ef96b292b757"),
        ({"scale": (0.5, 1.5), "pad": "end"}, "16acc39959766ca2", "056514ea60814edf"),
        (
            {"scales": (0.5, 1.0, 1.5), "color_jitter": (0.3, 0.3, 0.3, 0.1)},
            "b9d2d926fa739f88",
            "513bad22150d7816",
        ),
        ({"long_side": (30, 90), "color_jitter": (0.3, 0.3, 0.3, 0.1)}, "0e5b771374c7d51e", "d76f7f2fdef76665"),
    ],
)
def test_crops_are_bit_equal_to_those_of_old_runs(arguments, pixels, labels, monkeypatch):
    """But for the colours of torchvision, which rounds some to another level on another processor."""
    for factor, name in ((3, "brightness"), (5, "contrast"), (7, "saturation"), (9, "hue")):
        monkeypatch.setattr(f"torchvision.transforms.v2.functional.adjust_{name}", exact(factor))
    y, x = np.mgrid[:40, :60]
    image = np.stack([(5 * x + 3 * y) % 256, (x * y) % 256, (7 * y + x) % 256], axis=2).astype(np.uint8)
    label = ((x // 7 + y // 5) % 21).astype(np.uint8)
    rng, augment = np.random.default_rng(7), Augmentation(crop=48, **arguments)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    crops = [augment(image, shown, mean, std, rng) for shown in (label, label, label, label, None)]
    assert digest(np.stack([crop for crop, _ in crops]), "<f4") == pixels
    assert digest(np.stack([cropped for _, cropped in crops[:-1]])) == labels


def smooth(height=75, width=100):
    """uint8 [H, W, 3]: a ramp to the right, one downwards and a wave."""
    y, x = np.mgrid[:height, :width]
    wave = 128 + 100 * np.sin(x / 9) * np.cos(y / 7)
    return np.stack([255 * x / width, 255 * y / height, wave], axis=2).astype(np.uint8)


def drawn(seed, crop=64, size=(75, 100), **arguments):
    arguments = arguments or {"scale": (0.5, 2.0)}
    return Augmentation(crop=crop, **arguments).draw(size, np.random.default_rng(seed))[0]


@pytest.mark.parametrize(("height", "width"), [(40, 60), (90, 20)])
def test_a_square_loses_the_aspect_and_a_crop_of_it_is_inside(height, width):
    augmentation = Augmentation(crop=48, square=64)
    for seed in range(8):
        geometry, _ = augmentation.draw((height, width), np.random.default_rng(seed))
        assert geometry.size == (64, 64) and all(0 <= offset <= 16 for offset in geometry.offsets)
    image, label = picture(height, width)
    pixels, labels = augmentation(image, label, *PLAIN, np.random.default_rng(0))
    assert pixels.shape == (3, 48, 48) and set(labels.unique().tolist()) == {1, 2}, "nothing is padded"


def test_centred_padding_has_the_odd_pixel_behind():
    """From MGD's release: 375 x 500 in 512 has margins of 68, 69, 6 and 6 pixels at its top, bottom, left and right."""
    rng = np.random.default_rng(0)
    shown = ~drawn(0, crop=512, size=(375, 500), scale=(1.0, 1.0), pad="centre").padding()
    rows, columns = shown.any(dim=1).nonzero(), shown.any(dim=0).nonzero()
    assert (int(rows[0]), 511 - int(rows[-1]), int(columns[0]), 511 - int(columns[-1])) == (68, 69, 6, 6)
    labels = Augmentation(crop=512, scale=(1.0, 1.0), pad="centre")(
        np.zeros((375, 500, 3), np.uint8), np.zeros((375, 500), np.uint8), HALF, HALF, rng
    )[1]
    assert torch.equal(labels == 255, ~shown)


def test_an_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="pad is 'left'; choose one of around, end, end_before_flip, centre, sides"):
        Augmentation(crop=8, scale=(1, 1), pad="left")


@pytest.mark.parametrize("size", [(13, 29), (29, 13), (9, 11), (31, 37)])
@pytest.mark.parametrize("seed", range(6))
def test_p2at_pads_with_black_right_and_below_before_it_crops_and_flips(size, seed):
    """`multi_scale_aug`, `rand_crop` and `gen_sample` of the released `datasets/base_dataset.py`, with our draws.
    Labels are resized by Pillow, whose nearest neighbours are those of pixel centres; OpenCV has others."""
    draw = np.random.default_rng(seed)
    image, label = draw.integers(0, 256, (*size, 3), dtype=np.uint8), draw.integers(0, 11, size, dtype=np.uint8)
    mean, std, crop = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (17, 23)
    settings = CONFIG["p2at"]["augmentation"]
    augment = Augmentation(**settings | {"crop": crop, "scales": [0.6, 1.0, 1.3]})
    pixels, labels = augment(image, label, mean, std, np.random.default_rng(seed))
    geometry, _ = augment.draw(size, np.random.default_rng(seed))

    size = geometry.size
    image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    label = np.array(Image.fromarray(label).resize(size[::-1], Image.Resampling.NEAREST))
    missing = [max(side - length, 0) for side, length in zip(crop, size, strict=True)]
    margins = [(0, number) for number in missing]
    colours, classes = np.pad(image, [*margins, (0, 0)]), np.pad(label, margins, constant_values=255)
    free = [length - side for length, side in zip(classes.shape, crop, strict=True)]
    y, x = np.clip(geometry.offsets, 0, None)
    if geometry.flip:  # the crop was drawn in the flipped image
        x = free[1] - x
    colours, classes = (a[y : y + crop[0], x : x + crop[1]] for a in (colours, classes))
    if geometry.flip:
        colours, classes = colours[:, ::-1], classes[:, ::-1]
    expected = ((colours / 255 - mean) / std).transpose(2, 0, 1)
    np.testing.assert_allclose(pixels, expected, atol=1e-5)
    np.testing.assert_array_equal(labels == 255, classes == 255)
    assert (labels.numpy() != classes).mean() < 0.1, "only where two pixels are equally near"


def test_black_padding_stays_black_where_colours_change():
    augment = Augmentation(crop=40, scale=(1.0, 1.0), pad="end", fill="black", color_jitter=(0.5, 0.5, 0.5, 0.2))
    pixels, labels = augment(
        np.full((20, 30, 3), 200, np.uint8), np.zeros((20, 30), np.uint8), HALF, HALF, np.random.default_rng(0)
    )
    assert (pixels[:, labels == 255] == -1).all() and (pixels[:, labels != 255] > -1).all()


def ragged(height, width):
    """A picture uint8 [H, W, 3] with edges everywhere, and labels uint8 [H, W] of 1..20 in small fields."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([(5 * x + 3 * y) % 256, (x * y) % 256, (7 * y + x) % 256], axis=2).astype(np.uint8)
    return image, (1 + (x // 7 + y // 5) % 20).astype(np.uint8)


def padded_as_barm(image, label, crop):
    """`ExtRandomCrop` of BARM's `utils/ext_transforms.py` before it draws: 0 on all sides of image and label."""
    for axis in (1, 0):
        lacking = crop - label.shape[axis]
        if lacking > 0:
            margin = int((1 + lacking) / 2)
            image = np.pad(image, ((margin, margin), (margin, margin), (0, 0)))
            label = np.pad(label, margin)
    return image, label


@pytest.mark.parametrize("size", [(97, 65), (51, 131), (83, 84)])
@pytest.mark.parametrize("seed", range(6))
def test_barms_crops_are_the_released_ones(size, seed):
    """Re-stated with the same draws. The release mirrors the crop and not the image, which is the same by chance."""
    mean, std, crop = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 113
    image, label = ragged(*size)
    augment = Augmentation(**CONFIG["barm"]["augmentation"] | {"crop": crop})
    pixels, labels = augment(image, label, mean, std, np.random.default_rng(seed))

    rng = np.random.default_rng(seed)
    factor, mirrored = rng.uniform(0.5, 2.0), rng.random() < 0.5
    width_height = int(size[1] * factor), int(size[0] * factor)
    image = np.array(Image.fromarray(image).resize(width_height, Image.Resampling.BILINEAR))
    label = np.array(Image.fromarray(label).resize(width_height, Image.Resampling.NEAREST))
    image, label = padded_as_barm(image, label, crop)
    if mirrored:
        image, label = image[:, ::-1], label[:, ::-1]
    top, left = (rng.integers(0, length - crop + 1) for length in label.shape)
    expected = label[top : top + crop, left : left + crop]
    np.testing.assert_array_equal(labels == 0, expected == 0)
    assert (labels.numpy() != expected).mean() <= 2 / crop, "ties in a row and a column of the part and of the whole"
    levels = 255 * (pixels.permute(1, 2, 0).numpy() * std + mean)
    difference = np.abs(levels - image[top : top + crop, left : left + crop])
    assert not difference[expected == 0].round(3).any(), "the padding is black"
    assert difference.mean() < 0.5


def test_barms_padding_has_the_released_share_of_a_crop():
    """Of VOC's usual size over 5, against the release's geometry with draws of its own."""
    augment, rng = Augmentation(**CONFIG["barm"]["augmentation"] | {"crop": 103}), np.random.default_rng(7)
    ours = [augment.draw((75, 100), rng)[0].padding().float().mean().item() for _ in range(3000)]
    shares = []
    for factor in rng.uniform(0.5, 2.0, 3000):
        inside = np.ones((int(75 * factor), int(100 * factor)), np.uint8)
        inside = padded_as_barm(inside[..., None], inside, 103)[1]
        top, left = (rng.integers(0, length - 102) for length in inside.shape)
        shares.append(1 - inside[top : top + 103, left : left + 103].mean())
    assert np.mean(ours) == pytest.approx(np.mean(shares), abs=0.02)
    assert np.mean(shares) == pytest.approx(0.237, abs=0.02)


@pytest.mark.parametrize(("fill", "colour", "label"), [("mean", HALF, 255), ("black", 3 * (0,), 255)])
def test_padding_that_is_not_background_does_not_count(fill, colour, label):
    image, labels = picture()
    augment = Augmentation(crop=80, scale=(1.0, 1.0), pad="end", fill=fill)
    pixels, labels = augment(image, labels, HALF, HALF, np.random.default_rng(0))
    assert (labels[40:] == label).all() and (labels[:, 60:] == label).all()
    assert (pixels[:, 40:] == (colour[0] - 0.5) / 0.5).all() and (labels[:40, :60] != label).all()


@pytest.mark.parametrize("size", [(333, 251), (199, 487)])
@pytest.mark.parametrize("seed", range(6))
def test_deeplabs_crops_are_those_of_the_pytorch_peer(size, seed):
    """`_augmentation` in `libs/datasets/base.py` of kazuto1011/deeplab-pytorch, re-stated with the same draws. It
    resizes in float32, and mirrors the crop, not the image, which is the same by chance."""
    image, label = ragged(*size)
    settings = CONFIG["deeplab"]["augmentation"]
    pixels, labels = Augmentation(**settings)(image, label, *PLAIN, np.random.default_rng(seed))

    rng = np.random.default_rng(seed)
    factor, mirrored, crop = rng.choice(settings["scales"]), rng.random() < 0.5, settings["crop"]
    height, width = int(size[0] * factor), int(size[1] * factor)
    image = cv2.resize(image.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    label = np.array(Image.fromarray(label).resize((width, height), Image.Resampling.NEAREST))
    below, right = max(0, crop - height), max(0, crop - width)
    image = np.pad(image, ((0, below), (0, right), (0, 0)))
    label = np.pad(label, ((0, below), (0, right)), constant_values=255)
    if mirrored:
        image, label = image[:, ::-1], label[:, ::-1]
    top, left = (rng.integers(0, length - crop + 1) if length > crop else 0 for length in label.shape)
    expected = label[top : top + crop, left : left + crop]
    np.testing.assert_array_equal(labels == 255, expected == 255)
    assert (labels.numpy() != expected).mean() <= 2 / crop, "ties in a row and a column of the part and of the whole"
    levels = 255 * pixels.permute(1, 2, 0).numpy()
    assert np.abs(levels - image[top : top + crop, left : left + crop]).max() < 1.01, "whole grey levels"


@pytest.mark.parametrize("flip", [False, True])
def test_a_crop_without_resizing_is_a_slice(flip):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    geometry = Geometry(size=(20, 30), flip=flip, offsets=(-3, 5), crop=24)
    pixels = (255 * geometry.image(image, *PLAIN)).round().byte().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(pixels[3:23], (image[:, ::-1] if flip else image)[:, 5:29])
    assert not pixels[:3].any() and not pixels[23:].any()
    assert geometry.padding().sum() == 4 * 24


@pytest.mark.parametrize("size", [(30, 48), (60, 30), (40, 60)])
def test_crops_may_be_rectangles(size):
    image, label = picture()
    label = np.arange(40 * 60, dtype=np.uint32).reshape(40, 60).astype(np.uint8) % 200
    augment = Augmentation(crop=size, scale=(1.0, 1.0))
    pixels, labels = augment(image, label, *PLAIN, np.random.default_rng(2))
    geometry, _ = augment.draw((40, 60), np.random.default_rng(2))
    assert pixels.shape == (3, *size) and labels.shape == size
    assert torch.equal(geometry.label(label), labels) and torch.equal(geometry.image(image, *PLAIN), pixels)
    assert torch.equal(labels == 255, geometry.padding())
    assert geometry.padding().sum() == size[0] * size[1] - min(size[0], 40) * min(size[1], 60)


@pytest.mark.parametrize("seed", range(12))
def test_image_confidence_and_labels_share_their_geometry(seed):
    image, geometry = smooth(), drawn(seed, scale=(0.5, 2.0), interpolation="bilinear")
    pixels, padding = geometry.image(image, *PLAIN), geometry.padding()
    for channel, plane in zip(pixels, np.moveaxis(image, 2, 0), strict=True):
        assert torch.equal(channel, geometry.confidence(plane))
        labels = geometry.label(plane)  # nearest instead of bilinear: less than one pixel away
        assert (labels / 255 - channel)[~padding].abs().max() < 0.07
        assert torch.equal(labels[padding], torch.full_like(labels[padding], 255))
        assert not channel[padding].any()
    assert padding.dtype == torch.bool and labels.dtype == torch.int64 and labels.shape == (64, 64)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_geometry_shows_what_the_augmentation_shows(seed, interpolation):
    image, label = smooth(), smooth()[..., 2] // 50
    augment = Augmentation(crop=64, long_side=(50, 200), interpolation=interpolation)
    pixels, labels = augment(image, label, *PLAIN, np.random.default_rng(seed))
    geometry, jitter = augment.draw(image.shape[:2], np.random.default_rng(seed))
    assert jitter is None
    assert torch.equal(labels == 255, geometry.padding())
    assert (geometry.label(label) == labels).float().mean() > 0.99
    difference = (geometry.image(image, *PLAIN) - pixels).abs()
    assert difference.mean() < 1e-3, "the same but for roundings and the window's rim"


def off_the_whole_image(image, interpolation, seed):
    """Grey levels by which a random window differs from that part of the whole image, resized with Pillow."""
    rng = np.random.default_rng(seed)
    crop = tuple(int(side) for side in rng.integers(8, 70, 2))
    geometry, _ = Augmentation(crop=crop, scale=(0.5, 2.0), interpolation=interpolation).draw(image.shape[:2], rng)
    whole = Image.fromarray(image).resize(geometry.size[::-1], Image.Resampling[interpolation.upper()])
    if geometry.flip:
        whole = whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    shown = geometry.cut(torch.from_numpy(np.array(whole)).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    return int(np.abs(shown.astype(int) - geometry.window(image)).max())


def extremes(low, high):
    """The hardest edges: pixels of two levels at random, uint8 [57, 83, 3]."""
    return np.random.default_rng(0).choice(np.array([low, high], np.uint8), (57, 83, 3))


@pytest.mark.parametrize(
    ("image", "interpolation", "bound"),
    [
        (extremes(0, 255), "bilinear", 2),  # each order rounds twice, by half a level, with weights that sum to one
        (extremes(32, 223), "bicubic", 2),  # likewise: the negative weights, at most an eighth, reach neither end
        (smooth(57, 83), "bicubic", 2),
        (extremes(0, 255), "bicubic", 40),  # a pass clips up to 255 / 8 levels, which the other one weighs with 5 / 4
    ],
)
def test_a_window_is_that_of_the_whole_image_but_for_the_order_of_passes(image, interpolation, bound):
    differences = [off_the_whole_image(image, interpolation, seed) for seed in range(60)]
    assert max(differences) <= bound


NOTHING = {"jitter_p": 0, "grayscale_p": 0, "blur_p": 0, "cutout_p": 0}


def strong(image, seed=0, **changes):
    return StrongAugmentation(**NOTHING | changes)(image, np.random.default_rng(seed))


def test_strong_augmentation_has_the_stated_numbers():
    """The defaults are those of ST++; the ranges of the hole are those of CW-BASS's release."""
    a = StrongAugmentation()
    assert a.color_jitter == (0.5, 0.5, 0.5, 0.25)
    assert (a.jitter_p, a.grayscale_p, a.blur_p, a.cutout_p) == (0.8, 0.2, 0.5, 0.5)
    assert (a.blur_sigma, a.cutout_aspect, a.cutout_area) == ((0.1, 2.0), (0.3, 1 / 0.3), (0.02, 0.4))


def test_strong_colours_come_with_their_probabilities():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    rng, count = np.random.default_rng(1), 1000

    def share(happened, **kept):
        augment = StrongAugmentation(**NOTHING | kept)
        return np.mean([happened(augment(image, rng)) for _ in range(count)])

    def changed(pixels):
        return not np.array_equal(pixels, image)

    def grey(pixels):
        return (pixels == pixels[..., :1]).all()

    assert share(changed) == 0
    assert share(changed, jitter_p=0.8) == pytest.approx(0.8, abs=0.04)
    assert share(grey, grayscale_p=0.2) == pytest.approx(0.2, abs=0.04)
    assert share(changed, blur_p=0.5) == pytest.approx(0.5, abs=0.05)
    everything = [StrongAugmentation()(image, rng) for _ in range(count)]
    assert np.mean([changed(p) for p in everything]) == pytest.approx(1 - 0.2 * 0.8 * 0.5, abs=0.03)
    assert np.mean([grey(p) for p in everything]) == pytest.approx(0.2, abs=0.04)


def test_brightness_changes_by_up_to_a_half():
    image = np.full((4, 4, 3), 100, np.uint8)
    levels = [strong(image, seed, jitter_p=1, color_jitter=(0.5, 0, 0, 0))[0, 0, 0] for seed in range(300)]
    assert 50 <= min(levels) < 55 and 145 < max(levels) <= 150
    assert np.mean(levels) == pytest.approx(100, abs=5)


def test_blur_has_the_sigma_asked_for():
    edge = np.zeros((8, 64, 3), np.uint8)
    edge[:, 32:] = 255
    blurred = strong(edge, blur_p=1, blur_sigma=(2.0, 2.0))[4, :, 0].astype(float)
    spread, x = np.diff(blurred) / 255, np.arange(63) - 31
    assert np.sqrt((spread * x**2).sum()) == pytest.approx(2, rel=0.05)


def test_cutout_boxes_are_inside_and_have_the_stated_shapes():
    rng = np.random.default_rng(0)
    boxes = np.array([cutout_box(200, rng, (0.02, 0.4), (0.3, 1 / 0.3)) for _ in range(2000)])
    top, left, height, width = boxes.T
    assert (boxes >= 0).all() and (top + height).max() <= 200 and (left + width).max() <= 200
    area, aspect = height * width / 200**2, width / height
    assert 0.018 < area.min() < 0.025 and 0.3 < area.max() < 0.4
    assert 0.28 < aspect.min() < 0.4 and 2.9 < aspect.max() < 3.5
    assert np.median(aspect) > 1, "width / height is uniform, hence mostly above 1"


def test_every_other_crop_has_one_hole():
    rng = np.random.default_rng(0)
    holes = [StrongAugmentation().cutout(64, rng) for _ in range(1000)]
    cut = [hole for hole in holes if hole.any()]
    assert len(cut) / len(holes) == pytest.approx(0.5, abs=0.05)
    for hole in cut:
        rows, columns = hole.any(dim=1), hole.any(dim=0)
        assert torch.equal(hole, rows[:, None] & columns), "a rectangle"
        assert 0.015 < hole.float().mean() < 0.4


def test_strong_augmentation_follows_its_generator_and_leaves_its_input():
    image = smooth()
    first, again, other = (StrongAugmentation()(image, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other) and first.shape == image.shape and first.dtype == np.uint8
    np.testing.assert_array_equal(image, smooth())
