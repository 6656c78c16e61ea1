"""The sample scenes: reproducible, consistent, and with the bias that MARS removes."""

from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from maskmill.data.catalog import voc_palette
from maskmill.data.sample_scenes import CLASSES, CONTEXT_CLASSES, CONTEXT_RATE, PART_COLOURS, draw_scene, draw_scenes
from maskmill.methods.mars import (
    background_distance,
    debiased_centroids,
    image_centroids,
    mean_background,
    object_likelihood,
    patch_labels,
)
from maskmill.methods.stego import encode, nearest_neighbours, stego_loss
from maskmill.networks.filter_bank import FilterBank
from maskmill.networks.stego import StegoHead

CONTEXT_IDS = [CLASSES.index(name) + 1 for name in CONTEXT_CLASSES]


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(number) for number in range(1, 161)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    draw_scenes(folder, train_aug=24, train=10, val=6, size=64, seed=3)
    return folder


def read(path):
    return np.array(Image.open(path))


def ids(root, split):
    return (root / f"ImageSets/Segmentation/{split}.txt").read_text().split()


def test_two_draws_give_the_same_bytes(root, tmp_path):
    draw_scenes(tmp_path, train_aug=24, train=10, val=6, size=64, seed=3)
    files = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    assert len(files) == 30 * 4 + 3 + 1
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert all((root / file).read_bytes() == (tmp_path / file).read_bytes() for file in files)


def test_another_seed_gives_other_scenes():
    assert not np.array_equal(draw_scene(1, seed=0).image, draw_scene(1, seed=1).image)


def test_more_scenes_leave_the_first_ones_as_they_are(root, tmp_path):
    draw_scenes(tmp_path, train_aug=4, train=2, val=1, size=64, seed=3)
    for image_id in ids(tmp_path, "train_aug") + ids(tmp_path, "val"):
        file = f"JPEGImages/{image_id}.jpg"
        assert (tmp_path / file).read_bytes() == (root / file).read_bytes()


def test_splits_are_as_asked_and_train_begins_train_aug(root):
    train_aug, train, val = (ids(root, split) for split in ("train_aug", "train", "val"))
    assert (len(train_aug), len(train), len(val)) == (24, 10, 6)
    assert train == train_aug[:10]
    assert not set(train_aug) & set(val)


def test_train_larger_than_train_aug_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"train \(5\) is a part of train_aug \(4\)"):
        draw_scenes(tmp_path, train_aug=4, train=5, val=1)


def test_masks_are_palette_images_of_vocs_colours(root):
    for image_id in ids(root, "train_aug"):
        image = Image.open(root / f"SegmentationClass/{image_id}.png")
        assert image.mode == "P"
        assert np.array_equal(np.reshape(image.getpalette(), (-1, 3))[:21], voc_palette()[:21])
        assert np.array(image).shape == read(root / f"JPEGImages/{image_id}.jpg").shape[:2] == (64, 64)


def test_boxes_enclose_the_mask_of_their_class(root):
    for image_id in ids(root, "train_aug"):
        mask = read(root / f"SegmentationClass/{image_id}.png")
        things = ElementTree.parse(root / f"Annotations/{image_id}.xml").findall("object")
        assert {t.findtext("name") for t in things} == {CLASSES[c - 1] for c in np.unique(mask) if c}
        for thing in things:  # a scene shows a class once
            rows, columns = np.nonzero(mask == CLASSES.index(thing.findtext("name")) + 1)
            box = [int(thing.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
            assert box == [columns.min() + 1, rows.min() + 1, columns.max() + 1, rows.max() + 1]


def test_captions_name_every_object(root):
    lines = (root / "captions.csv").read_text().splitlines()
    assert lines[0] == "image_id,caption"
    captions = dict(line.split(",", 1) for line in lines[1:])
    assert list(captions) == ids(root, "train_aug") + ids(root, "val")
    for image_id, caption in captions.items():
        mask = read(root / f"SegmentationClass/{image_id}.png")
        assert all(CLASSES[c - 1] in caption for c in np.unique(mask) if c)


def test_any_20_successive_scenes_show_all_classes(scenes):
    for start in (0, 7):
        assert {c for s in scenes[start : start + 20] for c in np.unique(s.mask)} == set(range(21))


def test_scenes_show_one_to_three_classes(scenes):
    counts = np.bincount([len(s.boxes) for s in scenes], minlength=4)
    assert counts[0] == 0
    assert counts[1] > counts[3] > 0
    assert counts[2] > counts[3]


def test_no_two_classes_share_both_colours_of_their_part():
    assert len({frozenset(pair) for pair in PART_COLOURS}) == len(CLASSES)


def test_contexts_come_with_their_class_nine_times_in_ten_and_also_alone(scenes):
    with_object, alone, objects = 0, 0, 0
    for scene in scenes:
        for c in CONTEXT_IDS:
            present, shown = (scene.mask == c).any(), (scene.context == c).any()
            objects += present
            with_object += present and shown
            alone += shown and not present
    assert objects > 60
    assert abs(with_object / objects - CONTEXT_RATE) < 0.08
    assert 0 < alone < 0.3 * with_object


def test_contexts_are_background_in_the_mask_and_as_large_as_objects(scenes):
    assert all(not scene.mask[scene.context > 0].any() for scene in scenes)
    sizes = [((s.mask == c).sum(), (s.context == c).sum()) for s in scenes for c in CONTEXT_IDS if (s.mask == c).any()]
    assert np.mean([c for _, c in sizes]) > np.mean([o for o, _ in sizes])


@pytest.mark.slow
def test_debiasing_separates_contexts_from_objects(scenes):
    """The purpose of the contexts: on labels that give each context to its class, Eq. 1-3 of MARS select objects and
    reject contexts, so that the likelihood of Eq. 4 is high on objects only. Features are those of the workflow: a
    STEGO head on the filter bank."""
    scenes = scenes[:100]
    features = stego_features(scenes)
    labels = [np.where(np.isin(s.context, s.mask), np.maximum(s.mask, s.context), s.mask) for s in scenes]
    rows = [
        image_centroids(f, y, k_foreground=2, k_background=2, seed=0) for f, y in zip(features, labels, strict=True)
    ]
    centroids, classes = np.concatenate([r[0] for r in rows]), np.concatenate([r[1] for r in rows])
    distances = background_distance(centroids, mean_background(centroids[classes == 0]))
    debiased, selected = debiased_centroids(centroids, classes, distances, num_classes=21)

    shares = np.concatenate(
        [context_shares(f, y, s, r[0], r[1]) for f, y, s, r in zip(features, labels, scenes, rows, strict=True)]
    )
    biased = np.isin(classes, CONTEXT_IDS)
    assert shares[biased & selected].mean() < 0.2
    assert shares[biased & ~selected].mean() > 0.5

    objects, contexts = [], []
    for f, scene in zip(features, scenes, strict=True):
        found = object_likelihood(f, debiased, [c for c in np.unique(scene.mask) if c]) > 0.5
        objects.append(found[patch_labels(scene.mask, found.shape, 21) > 0])
        contexts.append(found[patch_labels(scene.context, found.shape, 21) > 0])
    assert np.concatenate(objects).mean() > 0.5
    assert np.concatenate(contexts).mean() < 0.3


def stego_features(scenes, steps=150):
    """Codes of a head trained for a few seconds: list of float32 [70, 24, 24]."""
    bank = FilterBank()
    images = torch.stack([torch.from_numpy(s.image).permute(2, 0, 1) / 255 for s in scenes])
    mean, std = (torch.tensor(values)[:, None, None] for values in (bank.mean, bank.std))
    features = torch.cat([bank(part) for part in ((images - mean) / std).split(40)])
    neighbours = nearest_neighbours(features.mean(dim=(2, 3)), 7)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = StegoHead(bank.channels, 70)
    draws = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(head.parameters(), lr=5e-4)
    loss = {
        "weights": {"intra": 0.1, "inter": 1.0, "negative": 0.1538},
        "shifts": {"intra": 0.12, "inter": 0.2, "negative": 1.0},
    }
    for _ in range(steps):
        batch = torch.randperm(len(features), generator=draws)[:16]
        positive = neighbours[batch, torch.randint(7, (16,), generator=draws)]
        views = [encode(head, features[rows], generator=draws) for rows in (batch, positive)]
        total = sum(stego_loss(*views[0], *views[1], **loss, generator=draws).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    with torch.no_grad():
        return list(head(features).numpy())


def context_shares(features, labels, scene, centroids, classes):
    """For each centroid the share of context among the positions of its class that it is nearest to: float [n]."""
    vectors = features.reshape(len(features), -1).T
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    grid = features.shape[1:]
    owners, context = patch_labels(labels, grid, 21).ravel(), patch_labels(scene.context, grid, 21).ravel() > 0
    shares = []
    for row, c in enumerate(classes):
        rivals = np.flatnonzero(classes == c)
        nearest = rivals[((vectors[:, None] - centroids[rivals]) ** 2).sum(-1).argmin(1)]
        members = (owners == c) & (nearest == row)
        shares.append(context[members].mean() if members.any() else 0.0)
    return shares
