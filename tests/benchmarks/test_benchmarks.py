"""Both ways that a benchmark compares give the same results; no test measures how fast they are."""

import cam_inference
import confusion
import input_pipeline
import label_reading
import numpy as np
import pytest
import torch
from measuring import NUM_CLASSES, read_records

from maskmill.data.images import read_mask
from maskmill.data.transforms import Augmentation
from maskmill.evaluation import segmentation


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return read_records(None, 3, tmp_path_factory.mktemp("scenes"), size=48)


@pytest.mark.parametrize("backbone", ["sample_cnn", "efficientnet_lite0"])
def test_the_cam_stage_gives_the_plain_loops_maps(records, backbone):
    ways = cam_inference.both_ways(cam_inference.build_classifier(backbone), [1.0, 1.5])
    for record in records:
        plain = ways["plain"](record)
        assert plain.max() > 0.9, "maps that are zero everywhere prove nothing"
        torch.testing.assert_close(ways["maskmill"](record), plain, rtol=0, atol=1e-4)


@pytest.mark.parametrize("long_side", [(24, 40), (40, 96), (60, 120)])
def test_training_input_is_that_of_pillow_and_torchvision(records, long_side):
    # But for rounding: Pillow resizes a part in another order of rows and columns, and nearest neighbours have ties.
    ways = input_pipeline.both_ways(records, Augmentation(crop=48, long_side=long_side))
    plain, ours = (ways[name](range(len(records))) for name in ("plain", "maskmill"))
    assert input_pipeline.levels((plain, ours)) < 5
    assert (plain["image"] - ours["image"]).abs().mean() * max(input_pipeline.STD) * 255 < 0.05
    assert (plain["label"] != ours["label"]).float().mean() < 0.005 and torch.equal(plain["tags"], ours["tags"])


def test_counts_are_those_of_the_bincount_loop(records):
    rng = np.random.default_rng(0)
    for record in records:
        truth = read_mask(record.mask, NUM_CLASSES)
        prediction = confusion.moved(truth)
        truth[rng.random(truth.shape) < 0.1] = 255
        expected = confusion.plain_counts(truth, prediction, NUM_CLASSES)
        assert np.array_equal(segmentation.confusion(truth, prediction, NUM_CLASSES), expected)


def test_the_store_holds_the_files_labels(records, tmp_path):
    ways = label_reading.both_ways(records, tmp_path)
    for record in records:
        mask = read_mask(record.mask, NUM_CLASSES)
        assert all(np.array_equal(labels[record.image_id], mask) for labels in ways.values())
