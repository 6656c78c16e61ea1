"""Mean-field inference in a fully connected CRF (Krähenbühl and Koltun, NIPS 2011), by pydensecrf."""

import numpy as np
from pydensecrf.densecrf import DenseCRF2D

SMALLEST_PROBABILITY = 1e-5


def label_unary(labels: np.ndarray, num_labels: int, gt_prob: float = 0.7) -> np.ndarray:
    """Unary energies of a hard labelling that is right with probability `gt_prob`.

    The other labels share the rest evenly: -ln gt_prob for the given label, -ln((1 - gt_prob) / (L - 1)) for
    the others.

    Args:
        labels: integers [H, W] in 0..num_labels-1 (present classes renumbered, 0 = background; no ignore
            value).
        gt_prob: in (0, 1); IRN's 0.7.

    Returns:
        float32 [L, H*W].

    Raises:
        ValueError: a label is outside 0..num_labels-1.
    """
    labels = np.asarray(labels)
    if labels.min() < 0 or labels.max() >= num_labels:
        raise ValueError(f"labels {labels.min()}..{labels.max()} do not fit 0..{num_labels - 1}")
    of_other = -np.log((1 - gt_prob) / max(num_labels - 1, 1))
    given = labels.ravel() == np.arange(num_labels)[:, None]
    return np.where(given, -np.log(gt_prob), of_other).astype(np.float32)


def probability_unary(probabilities: np.ndarray) -> np.ndarray:
    """Unary energies -ln max(p, 1e-5) of class probabilities p, float [L, H, W]; float32 [L, H*W]."""
    clipped = np.maximum(np.asarray(probabilities, np.float32), SMALLEST_PROBABILITY)
    return -np.log(clipped).reshape(len(clipped), -1)


def dense_crf(
    image: np.ndarray,
    unary: np.ndarray,
    *,
    gaussian_sxy: float,
    gaussian_compat: float,
    bilateral_sxy: float,
    bilateral_srgb: float,
    bilateral_compat: float,
    iterations: int,
) -> np.ndarray:
    """Marginals after some mean-field updates with a smoothness and an appearance kernel (Eq. 3, Potts).

    Settings in use, as (gaussian sxy, compat; bilateral sxy, srgb, compat):
    IRN (3, 3; 50, 5, 10), 10 iterations, on `label_unary`: `crf_inference_label` of its released code.
    DeepLab (1, 3; 67, 3, 4), 10 iterations, on `probability_unary`: deeplab-pytorch's VOC 2012 configuration.
    PSA, SEAM, PuzzleCAM (3, 3; 80, 13, 10), on `probability_unary`: `crf_inference` of their released code.

    Args:
        image: uint8 [H, W, 3], RGB. The authors' results change with the channel order.
        unary: float32 energies [L, H*W], row-major pixels.
        gaussian_sxy: standard deviation of the smoothness kernel in pixels.
        gaussian_compat: its weight.
        bilateral_sxy: standard deviation of the appearance kernel in pixels.
        bilateral_srgb: its standard deviation in grey levels (0..255).
        bilateral_compat: its weight.

    Returns:
        float32 Q [L, H, W], sums to 1 over L. With one label there is nothing to decide: ones.

    Raises:
        ValueError: image is not uint8 [H, W, 3], or unary is not [L, H*W].
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    height, width = image.shape[:2]
    if unary.ndim != 2 or unary.shape[1] != height * width:
        raise ValueError(f"unary must be [L, {height * width}] for this image, not {list(unary.shape)}")
    num_labels = len(unary)
    if num_labels == 1:
        return np.ones((1, height, width), np.float32)
    crf = DenseCRF2D(width, height, num_labels)
    crf.setUnaryEnergy(np.ascontiguousarray(unary, dtype=np.float32))
    crf.addPairwiseGaussian(sxy=gaussian_sxy, compat=gaussian_compat)
    crf.addPairwiseBilateral(
        sxy=bilateral_sxy, srgb=bilateral_srgb, rgbim=np.ascontiguousarray(image), compat=bilateral_compat
    )
    return np.array(crf.inference(iterations), np.float32).reshape(num_labels, height, width)
