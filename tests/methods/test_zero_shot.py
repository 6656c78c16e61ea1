"""Zero-shot segmentation against values computed by hand."""

import hashlib
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from maskmill.data.catalog import DATASETS
from maskmill.methods.zero_shot import (
    background_threshold,
    class_vectors,
    pixel_segments,
    segment_affinity,
    window_logits,
    zero_shot_logits,
)
from maskmill.networks.open_vocabulary import input_size
from maskmill.networks.sliding import mean_logits
from maskmill.workflow.settings import read_yaml

CONFIG = read_yaml(Path(__file__).resolve().parents[2] / "config.yaml")

# SHA-256 of the `CLASSES` in GroupViT's release (segmentation/datasets/{pascal_voc,pascal_context,coco_object}.py),
# joined by ", ".
RELEASED_NAMES = {"voc": "edf62580494169d2", "context": "3bde104951f29ccd", "coco": "219d07496c620bd2"}


@pytest.mark.parametrize("method", ["mixreorg", "zeroseg"])
@pytest.mark.parametrize("dataset", RELEASED_NAMES)
def test_classes_are_called_as_in_groupvits_release(method, dataset):
    words = CONFIG[method]["datasets"][dataset].get("names", {})
    names = ", ".join(words.get(name, name) for name in DATASETS[dataset].classes)
    assert hashlib.sha256(names.encode()).hexdigest().startswith(RELEASED_NAMES[dataset])


def test_the_affinity_of_three_segments_by_hand():
    # Unit vectors of which the similarities are ln 2 and 0, so that softmaxes are simple fractions.
    scale, classes = math.log(2), torch.eye(3).double()
    segments, image = torch.eye(3).double(), torch.tensor([0.8, 0.6, 0.0], dtype=torch.float64)
    everything = segment_affinity(segments, image, classes, scale, top=3)
    full = torch.tensor([[2, 1, 1], [1, 2, 1], [1, 1, 2]], dtype=torch.float64) / 4
    torch.testing.assert_close(everything, full * full, rtol=0, atol=1e-15)
    gated = torch.tensor([[2 / 3, 1 / 3, 0], [1 / 3, 2 / 3, 0], [1 / 2, 1 / 2, 0]], dtype=torch.float64)
    torch.testing.assert_close(
        segment_affinity(segments, image, classes, scale, top=2), full * gated, rtol=0, atol=1e-15
    )


def test_the_five_classes_of_the_image_are_admitted_or_all_where_there_are_fewer():
    torch.manual_seed(0)
    segments, image, classes = (F.normalize(torch.randn(*shape), dim=-1) for shape in ((8, 6), (6,), (20, 6)))
    affinity = segment_affinity(segments, image, classes, 10.0)
    assert set((affinity > 0).any(dim=0).nonzero()[:, 0].tolist()) == set((classes @ image).topk(5).indices.tolist())
    assert (segment_affinity(segments, image, classes[:3], 10.0) > 0).all()


@pytest.mark.parametrize(
    ("threshold", "used", "background"),
    [(0.3, 0.3, [False, True, False]), (0.5, 0.5, [False, True, True]), (0.95, 0.6, [False, True, True])],
)
def test_one_segment_stays_foreground_also_above_all_affinities(threshold, used, background):
    affinity = torch.tensor([[0.6, 0.1], [0.05, 0.2], [0.4, 0.3]], dtype=torch.float64)
    assert background_threshold(affinity, threshold) == used
    segments = torch.tensor([[0, 1, 2], [2, 1, 0]])
    logits = window_logits(affinity, segments, [threshold])
    assert logits.shape == (3, 2, 3)
    assert logits[0].bool().tolist() == [[background[g] for g in row] for row in segments.tolist()]
    assert torch.equal(logits[1:], affinity[segments].permute(2, 0, 1))
    assert (logits.argmax(dim=0) == 0).equal(logits[0].bool())


def test_several_thresholds_are_so_many_backgrounds():
    affinity, segments = torch.tensor([[0.6, 0.1], [0.05, 0.2]]), torch.tensor([[0, 1]])
    logits = window_logits(affinity, segments, [0.1, 0.3])
    assert logits[:2, 0].tolist() == [[0, 0], [0, 1]]
    for number, threshold in enumerate([0.1, 0.3]):
        assert torch.equal(logits[[number, 2, 3]], window_logits(affinity, segments, [threshold]))


def test_the_foreground_segment_may_be_one_without_pixels():
    affinity = torch.tensor([[0.6, 0.1], [0.05, 0.2]])
    assert window_logits(affinity, torch.tensor([[1, 1]]), [0.95])[0].tolist() == [[1, 1]]


def test_without_a_background_the_classes_are_all_there_is():
    affinity = torch.tensor([[0.6, 0.1], [0.05, 0.2]])
    assert torch.equal(window_logits(affinity, torch.tensor([[0, 1]]), [])[:, 0], affinity.T)


def test_pixels_take_the_largest_of_the_resized_shares():
    shares = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.45, 0.55]])
    expected = F.interpolate(shares.T.reshape(1, 2, 2, 2), (7, 9), mode="bilinear")[0]
    segments = pixel_segments(shares, (2, 2), (7, 9))
    assert torch.equal(segments, (expected[1] > expected[0]).long())
    assert segments[0, 0] == 0 and segments[0, -1] == 1


def test_the_mean_over_templates_is_taken_before_normalising():
    vectors = {"a cat": [4.0, 0.0, 0.0], "no cat": [0.0, 2.0, 4.0], "a cow": [0.0, 3.0, 0.0], "no cow": [0.0, 5.0, 0.0]}
    classes = class_vectors(lambda texts: torch.tensor([vectors[t] for t in texts]), ["cat", "cow"], ["a {}", "no {}"])
    torch.testing.assert_close(classes, torch.tensor([[2 / 3, 1 / 3, 2 / 3], [0.0, 1.0, 0.0]]))


def test_soft_shares_and_one_vector_a_segment_become_a_windows_logits():
    torch.manual_seed(0)
    shares = torch.rand(1, 6, 3).softmax(dim=2)
    segments, image = F.normalize(torch.randn(1, 3, 4), dim=-1), F.normalize(torch.randn(1, 4), dim=-1)
    classes, pixels = F.normalize(torch.randn(7, 4), dim=-1), torch.zeros(1, 3, 16, 24)
    described = {"describe": lambda x: (shares, segments, image), "patch_size": 8}
    logits = zero_shot_logits(pixels, **described, classes=classes, scale=10.0, thresholds=[0.5])
    affinity = segment_affinity(segments[0], image[0], classes, 10.0)
    expected = window_logits(affinity, pixel_segments(shares[0], (2, 3), (16, 24)), [0.5])
    assert logits.shape == (1, 8, 16, 24) and torch.equal(logits[0], expected)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((375, 500), (448, 597)), ((500, 375), (597, 448)), ((600, 600), (448, 448)), ((100, 1000), (205, 2048))],
)
def test_the_short_side_becomes_448_unless_the_long_one_exceeds_2048(size, expected):
    assert input_size(size, 448) == expected


def test_windows_are_averaged():
    pixels = torch.arange(6.0).reshape(1, 1, 1, 6).expand(1, 3, 4, 6)
    starts = []

    def network(window):
        starts.append(window[0, 0, 0, 0].item())
        return torch.full((1, 2, *window.shape[2:]), starts[-1])

    logits = mean_logits(network, pixels, 4, stride=2)
    assert starts == [0, 2]
    assert logits[0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2]
