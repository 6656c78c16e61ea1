"""Probabilities and labels of score maps: the error of half precision, and score maps that are refused."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from maskmill.data.images import read_image, read_mask
from maskmill.data.sample_scenes import draw_scenes
from maskmill.data.transforms import network_input
from maskmill.errors import InputError
from maskmill.evaluation.segmentation import confusion, scores
from maskmill.networks.backbones import build_backbone
from maskmill.networks.weights import WEIGHTS, convert, package_file
from maskmill.refinement.score_maps import check_scores, crf_labels, probabilities_of, unary_of
from maskmill.storage.checkpoints import save_tensors

CRF = {"gaussian_sxy": 3, "gaussian_compat": 3, "bilateral_sxy": 30, "bilateral_srgb": 5, "bilateral_compat": 4}


def test_probabilities_are_the_softmax_of_the_enlarged_scores():
    logits = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    enlarged = F.interpolate(torch.from_numpy(logits)[None], (41, 50), mode="bilinear")[0]
    np.testing.assert_allclose(probabilities_of(logits, (41, 50)), enlarged.softmax(dim=0).numpy(), atol=1e-5)


@pytest.fixture(scope="module")
def real_logits(tmp_path_factory):
    """Scores of EfficientNet-Lite0's ImageNet features under a linear layer fitted to the masks, and the masks."""
    folder = tmp_path_factory.mktemp("scenes")
    draw_scenes(folder / "VOC2012", train_aug=40, train=40, val=1)
    save_tensors(
        folder / "w.safetensors", convert("efficientnet_lite0", package_file(WEIGHTS["efficientnet_lite0"])), {}
    )
    backbone = build_backbone("efficientnet_lite0", output_stride=8, pretrained=str(folder / "w.safetensors")).eval()
    features, masks = [], []
    for path in sorted((folder / "VOC2012/JPEGImages").glob("*.jpg"))[:40]:
        with torch.no_grad():
            features.append(backbone(network_input(read_image(path), backbone.mean, backbone.std))[3][0].double())
        masks.append(read_mask(folder / f"VOC2012/SegmentationClass/{path.stem}.png", 21))
    x = torch.cat([f.flatten(1).T for f in features])
    grid = features[0].shape[1:]
    small = F.interpolate(torch.from_numpy(np.stack(masks))[:, None].float(), grid)
    y = F.one_hot(small.flatten().long(), 21).double()
    weight = torch.linalg.solve(x.T @ x + torch.eye(x.shape[1]), x.T @ y)
    return [torch.einsum("dhw,dc->chw", f, 10 * weight).float().numpy() for f in features], masks


@pytest.mark.slow
def test_half_precision_changes_miou_by_less_than_a_hundredth_of_a_point(real_logits):
    miou = []
    for dtype in (np.float32, np.float16):
        matrix = sum(
            confusion(mask, probabilities_of(logits.astype(dtype), mask.shape).argmax(0).astype(np.uint8), 21)
            for logits, mask in zip(*real_logits, strict=True)
        )
        miou.append(scores(matrix, [""] * 21)[0]["value"])
    assert miou[0] > 30, "the scores mean something"
    assert abs(miou[0] - miou[1]) < 0.01


def test_scores_that_are_not_finite_are_refused():
    logits = np.zeros((3, 5, 5), np.float16)
    logits[1, 2, 3] = np.nan
    with pytest.raises(InputError, match=r"val/1-of-2\.h5: a: 1 scores are not finite"):
        unary_of(logits, (40, 40), "val/1-of-2.h5: a")


@pytest.mark.parametrize(("grid", "fits"), [((41, 63), True), ((42, 63), True), ((63, 41), False), ((41, 90), False)])
def test_scores_of_another_image_are_refused(grid, fits):
    logits = np.zeros((2, *grid), np.float16)
    if fits:
        check_scores(logits, (321, 500), "store")
        return
    with pytest.raises(InputError, match="cannot belong to an image of 321x500"):
        check_scores(logits, (321, 500), "store")


def test_one_class_leaves_nothing_to_decide():
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    unary = unary_of(np.zeros((1, 3, 4), np.float16), (24, 32), "store")
    labels = crf_labels(image, unary, {**CRF, "iterations": 5})
    assert labels.dtype == np.uint8 and not labels.any()
