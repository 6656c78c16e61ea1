"""Mean-field inference in a fully connected CRF (Krähenbühl and Koltun, NIPS 2011)."""

from functools import lru_cache

import numpy as np
from pydensecrf.densecrf import DenseCRF2D

from maskmill.refinement.permutohedral import WIDEST, Lattice, build_lattice, mean_field, merge, share_out, survey

SMALLEST_PROBABILITY = 1e-5
NEGLIGIBLE = 0.2  # odds against the best plane of each pixel; see `_fast`


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
    return np.where(given, np.float32(-np.log(gt_prob)), np.float32(of_other))


def probability_unary(probabilities: np.ndarray) -> np.ndarray:
    """Unary energies -ln max(p, 1e-5) of class probabilities p, float [L, H, W]; float32 [L, H*W]."""
    energies = np.maximum(probabilities, SMALLEST_PROBABILITY, dtype=np.float32, casting="same_kind")
    np.negative(np.log(energies, out=energies), out=energies)
    return energies.reshape(len(energies), -1)


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
    backend: str = "fast",
) -> np.ndarray:
    """Marginals after some mean-field updates with a smoothness and an appearance kernel (Eq. 3, Potts).

    Settings in use, as (gaussian sxy, compat; bilateral sxy, srgb, compat):
    IRN (3, 3; 50, 5, 10), 10 iterations, on `label_unary`: `crf_inference_label` of its released code.
    DeepLab (1, 3; 67, 3, 4), 10 iterations, on `probability_unary`: deeplab-pytorch's VOC 2012 configuration.
    PSA, SEAM, PuzzleCAM (3, 3; 80, 13, 10), on `probability_unary`: `crf_inference` of their released code.

    Args:
        image: uint8 [H, W, 3], RGB. The authors' results change with the channel order.
        unary: float32 or float64 energies [L, H*W], row-major pixels, finite.
        gaussian_sxy: standard deviation of the smoothness kernel in pixels.
        gaussian_compat: its weight.
        bilateral_sxy: standard deviation of the appearance kernel in pixels.
        bilateral_srgb: its standard deviation in grey levels (0..255).
        bilateral_compat: its weight.
        iterations: mean-field updates; 0 gives softmax(-unary).
        backend: `fast` (ours, on one thread) or `pydensecrf` (the reference). Both filter on the same lattice; with
            every plane filtered they differ by rounding only. `fast` filters the planes that may win (`_fast`).

    Returns:
        float32 Q [L, H, W], sums to 1 over L. With one label there is nothing to decide: ones.

    Raises:
        ValueError: image is not uint8 [H, W, 3]; unary is not [L, H*W], not floating or not finite; a standard
            deviation is not positive, or so small that the lattice's vertices cannot be numbered (`fast`); an unknown
            backend.
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; choose {' or '.join(BACKENDS)}")
    if min(gaussian_sxy, bilateral_sxy, bilateral_srgb) <= 0:
        raise ValueError(f"standard deviations must be positive: {gaussian_sxy}, {bilateral_sxy}, {bilateral_srgb}")
    image, unary = _checked(image, unary)
    if len(unary) == 1:
        return np.ones((1, *image.shape[:2]), np.float32)
    gaussian, bilateral = (gaussian_sxy, gaussian_compat), (bilateral_sxy, bilateral_srgb, bilateral_compat)
    return BACKENDS[backend](image, unary, gaussian, bilateral, iterations).reshape(-1, *image.shape[:2])


def compile_kernels() -> None:
    """Have numba compile `fast` for every number of planes, into its cache beside the code: half a minute that the
    first CRF job on a new checkout would pay otherwise, or each of a cluster's first jobs."""
    image, unary = np.zeros((8, 8, 3), np.uint8), np.random.default_rng(0).random((WIDEST + 1, 64), np.float32)
    for labels in range(2, WIDEST + 2):  # one of them is the rest, see `_fast`
        _fast(image, unary[:labels], (3, 3), (50, 5, 10), iterations=1)


def _checked(image: np.ndarray, unary: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in C order, unary as float32."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    pixels = image.shape[0] * image.shape[1]
    if unary.ndim != 2 or len(unary) == 0 or unary.shape[1] != pixels or pixels == 0:
        raise ValueError(f"unary must be [L, {pixels}] for image {list(image.shape)}, not {list(unary.shape)}")
    if not np.issubdtype(unary.dtype, np.floating):
        raise ValueError(f"unary must hold floating-point energies, not {unary.dtype}")
    unary = np.ascontiguousarray(unary, np.float32)
    if not np.isfinite(unary).all():
        nan, infinite = np.count_nonzero(np.isnan(unary)), np.count_nonzero(np.isinf(unary))
        raise ValueError(f"unary holds {nan} NaN and {infinite} infinite of {unary.size} energies; clip probabilities")
    return np.ascontiguousarray(image), unary


def _pydensecrf(image, unary, gaussian, bilateral, iterations):
    crf = DenseCRF2D(image.shape[1], image.shape[0], len(unary))
    crf.setUnaryEnergy(unary)
    crf.addPairwiseGaussian(sxy=gaussian[0], compat=gaussian[1])
    crf.addPairwiseBilateral(sxy=bilateral[0], srgb=bilateral[1], rgbim=image, compat=bilateral[2])
    return np.array(crf.inference(iterations), np.float32)


def _fast(image, unary, gaussian, bilateral, iterations):
    """Filter only the planes that may win; one plane, the rest, stands for all others, and they share its Q.

    The rest's unary probability is the sum of its planes', so that the softmax has all mass. Its message is what the
    live planes' leave over (`mean_field`), of which each plane of the rest receives 1/n: n is the number of equal
    planes with the same sum of squares, (sum m)^2 / sum m^2 for masses m.

    Exact where the planes of the rest are equal, like absent labels' in `label_unary`: they stay equal. Otherwise the
    rest is the planes whose probability stays below NEGLIGIBLE times the best plane's at every pixel. The message that
    such a plane should receive and the one it does receive both lie in 0..e, e = sum_k w_k K_k Q_rest, so that one
    update moves the live planes' Q by at most Q_rest (1 - Q_rest) (exp(e) - 1), summed over them.
    """
    least, odds = survey(unary)
    merged = _merged_planes(unary, odds)
    live = np.setdiff1d(np.arange(len(unary)), merged)
    total, masses = merge(unary, least, merged)
    planes, rest = np.empty((0, len(least)), np.float32), np.float32(1)
    if len(live):
        share = (masses**2).sum() / masses.sum() ** 2
        spatial = _spatial_lattice(*image.shape[:2], gaussian[0])
        kernels = [(bilateral[2], _bilateral_lattice(image, *bilateral[:2])), (gaussian[1], spatial)]
        planes, rest = mean_field(unary, live, least - np.log(total), share, kernels, iterations)
        del kernels
    q = np.empty_like(unary)
    q[live] = planes
    share_out(unary, least, merged, rest / total, q)
    return q


BACKENDS = {"fast": _fast, "pydensecrf": _pydensecrf}


def _merged_planes(unary: np.ndarray, odds: np.ndarray) -> np.ndarray:
    """The planes that cannot win, else the largest set of equal planes: at least one plane."""
    negligible = np.flatnonzero(odds < NEGLIGIBLE)
    if len(negligible):
        return negligible
    alike = (np.flatnonzero(odds == value) for value in np.unique(odds))
    equal = ([k for k in group if np.array_equal(unary[k], unary[group[0]])] for group in alike)
    return np.array(max(equal, key=len))


def _bilateral_lattice(image: np.ndarray, sxy: float, srgb: float) -> Lattice:
    height, width = image.shape[:2]
    features = np.empty((5, height, width), np.float32)
    features[:2] = _positions(height, width, sxy)
    np.divide(np.moveaxis(image, 2, 0), np.float32(srgb), out=features[2:], dtype=np.float32)
    return build_lattice(features.reshape(5, -1))


@lru_cache(maxsize=2)
def _spatial_lattice(height: int, width: int, sxy: float) -> Lattice:
    """Shared by images of one size."""
    return build_lattice(_positions(height, width, sxy).reshape(2, -1))


def _positions(height: int, width: int, sxy: float) -> np.ndarray:
    """x and y in standard deviations, float32 [2, H, W]."""
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    return np.stack(np.broadcast_arrays(x, y[:, None])) / np.float32(sxy)
