"""Segmentation networks behind one interface."""

import numpy as np
import pytest
import torch

from maskmill.errors import InputError
from maskmill.networks.classifier import Classifier
from maskmill.networks.deeplab import DeepLabV3Plus
from maskmill.networks.deeplab_mgd import DeepLabV3PlusMGD
from maskmill.networks.segmentation import class_probabilities, load_segmentation, logits_of
from maskmill.storage.checkpoints import save_network

NETWORKS = {
    "plain": lambda: DeepLabV3Plus("sample_cnn", 4, rates=(2, 4), width=8, low_level_width=4),
    "with features": lambda: DeepLabV3PlusMGD("sample_cnn_slim", 4, rates=(2,), width=8, low_level_width=4),
}


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_a_checkpoint_of_either_network_comes_back(tmp_path, make):
    network, pixels = make().eval(), torch.randn(1, 3, 32, 40)
    save_network(tmp_path / "network", network)
    loaded = load_segmentation(tmp_path / "network")
    assert not loaded.training
    assert logits_of(loaded, pixels).shape == (1, 4, 32, 40)
    torch.testing.assert_close(logits_of(loaded, pixels), logits_of(network, pixels), rtol=0, atol=0)


def test_a_network_that_does_not_segment_is_refused(tmp_path):
    network = Classifier("sample_cnn", 3, output_stride=8, frozen_stages=0, frozen_batchnorm=False)
    save_network(tmp_path / "network", network)
    with pytest.raises(InputError, match="holds a Classifier, not one of DeepLabV3Plus"):
        load_segmentation(tmp_path / "network")


@torch.inference_mode()
def test_probabilities_are_averaged_over_scales_and_mirror_images():
    torch.manual_seed(0)
    network, device = NETWORKS["plain"]().eval(), torch.device("cpu")
    image = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    once = class_probabilities(network, image, [1.0], False, device)
    assert once.shape == (4, 24, 40)
    torch.testing.assert_close(once.sum(dim=0), torch.ones(24, 40))
    mirrored = class_probabilities(network, np.ascontiguousarray(image[:, ::-1]), [1.0], False, device).flip(-1)
    both = class_probabilities(network, image, [1.0], True, device)
    torch.testing.assert_close(both, (once + mirrored) / 2)
    larger = class_probabilities(network, image, [2.0], False, device)
    torch.testing.assert_close(class_probabilities(network, image, [1.0, 2.0], False, device), (once + larger) / 2)
