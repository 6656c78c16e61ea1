"""Mean-field inference in a fully connected CRF.

Source: Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NIPS 2011.
Its filter on the permutohedral lattice is in `refinement/permutohedral.py`.
"""

from functools import lru_cache

import numpy as np

from maskmill.errors import InputError
from maskmill.refinement.permutohedral import WIDEST, Lattice, build_lattice, mean_field, merge, share_out, survey

SMALLEST_PROBABILITY = 1e-5
NEGLIGIBLE = 0.2  # ratio of a plane's probability to the best plane's at the same pixel; see `_fast`


def label_unary(labels: np.ndarray, num_labels: int, gt_prob: float = 0.7) -> np.ndarray:
    """Unary energies of a hard labelling that is right with probability `gt_prob`.

    The energy is -ln gt_prob for the pixel's label. The other L - 1 labels share the remaining probability evenly:
    -ln((1 - gt_prob) / (L - 1)) for each.

    Args:
        labels: integers [H, W] in 0..num_labels-1: the classes of the image, renumbered, 0 for background. The value
            for "ignore" must not occur.
        num_labels: number of labels L.
        gt_prob: in (0, 1); 0.7 in IRN's released code.

    Returns:
        float32 [L, H*W].

    Raises:
        ValueError: a label is outside 0..num_labels-1.
    """
    labels = np.asarray(labels)
    if labels.min() < 0 or labels.max() >= num_labels:
        raise ValueError(f"labels {labels.min()}..{labels.max()} do not fit 0..{num_labels - 1}")
    other_energy = -np.log((1 - gt_prob) / max(num_labels - 1, 1))
    is_label = labels.ravel() == np.arange(num_labels)[:, None]
    return np.where(is_label, np.float32(-np.log(gt_prob)), np.float32(other_energy))


def probability_unary(probabilities: np.ndarray) -> np.ndarray:
    """Unary energies -ln max(p, 1e-5), float32 [L, H*W], of class probabilities p, float [L, H, W]."""
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
    """Marginals after some mean-field updates with an appearance and a smoothness kernel (Eq. 3) and Potts penalties.

    Published settings, all with 10 iterations:

    | released code | unary energies | gaussian sxy, compat | bilateral sxy, srgb, compat |
    |---|---|---|---|
    | IRN, `crf_inference_label` | `label_unary` | 3, 3 | 50, 5, 10 |
    | deeplab-pytorch, configuration of VOC 2012 | `probability_unary` | 1, 3 | 67, 3, 4 |
    | PSA, SEAM, PuzzleCAM, `crf_inference` | `probability_unary` | 3, 3 | 80, 13, 10 |

    Args:
        image: uint8 [H, W, 3], RGB. Another order of the channels gives other results.
        unary: float32 or float64 energies [L, H*W], finite; pixels in row-major order.
        gaussian_sxy: standard deviation of the smoothness kernel in pixels.
        gaussian_compat: weight of the smoothness kernel.
        bilateral_sxy: standard deviation of the appearance kernel in pixels.
        bilateral_srgb: standard deviation of the appearance kernel in grey levels (0..255).
        bilateral_compat: weight of the appearance kernel.
        iterations: number of mean-field updates; 0 gives softmax(-unary).
        backend: `fast` (ours, on one thread) or `pydensecrf` (the reference implementation). Both filter on the same
            lattice. `fast` filters only the planes that may win (`_fast`); where these are all, both agree up to
            rounding.

    Returns:
        float32 Q [L, H, W]; the sum over L is 1. A single label has Q = 1 everywhere.

    Raises:
        InputError: the backend is `pydensecrf` and pydensecrf2 is not installed.
        ValueError: the image is not uint8 [H, W, 3]; `unary` is not [L, H*W], not floating or not finite; a standard
            deviation is not positive, or so small that the lattice's vertices cannot be numbered (`fast`); the backend
            is unknown.
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
    """Have numba compile `fast` for every number of planes and cache the result beside the code.

    It takes half a minute, which the first CRF job of a new checkout, or each of a cluster's first jobs, would need
    otherwise.
    """
    image, unary = np.zeros((8, 8, 3), np.uint8), np.random.default_rng(0).random((WIDEST + 1, 64), np.float32)
    for labels in range(2, WIDEST + 2):  # one plane is the rest, see `_fast`
        _fast(image, unary[:labels], (3, 3), (50, 5, 10), iterations=1)


def _checked(image: np.ndarray, unary: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image and the energies in C order, the energies as float32.

    Raises:
        ValueError: one of them has a wrong shape or type, or an energy is not finite.
    """
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


def _pydensecrf(
    image: np.ndarray,
    unary: np.ndarray,
    gaussian: tuple[float, float],
    bilateral: tuple[float, float, float],
    iterations: int,
) -> np.ndarray:
    """The reference implementation; Q float32 [L, H*W]. It is imported here because it needs a compiler to install."""
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError as error:
        raise InputError(
            f"the CRF backend pydensecrf needs the package pydensecrf2 ({error}); install a C++ compiler and run: "
            "pip install -r envs/requirements-pydensecrf.txt, or use the backend fast"
        ) from None
    crf = DenseCRF2D(image.shape[1], image.shape[0], len(unary))
    crf.setUnaryEnergy(unary)
    crf.addPairwiseGaussian(sxy=gaussian[0], compat=gaussian[1])
    crf.addPairwiseBilateral(sxy=bilateral[0], srgb=bilateral[1], rgbim=image, compat=bilateral[2])
    return np.array(crf.inference(iterations), np.float32)


def _fast(
    image: np.ndarray,
    unary: np.ndarray,
    gaussian: tuple[float, float],
    bilateral: tuple[float, float, float],
    iterations: int,
) -> np.ndarray:
    """Filter only the planes that may win, the live planes; one more plane, the rest, stands for all others.

    The rest's unary probability is the sum of its planes' probabilities, so that the softmax keeps the whole mass. Its
    message is what the messages of the live planes leave over (`mean_field`). Each plane of the rest receives 1/n of
    that message, where n = (sum m)^2 / sum m^2 for the planes' masses m: the number of equal planes that would have the
    same sum of squares. At the end the planes of the rest share its Q in proportion to their unary probabilities.

    The result is exact where the planes of the rest are equal, like those of absent labels in `label_unary`, because
    equal planes stay equal. Otherwise the rest holds the planes whose probability stays below NEGLIGIBLE times the best
    plane's at every pixel. The message that such a plane should receive and the one that it does receive both lie in
    0..e with e = sum_k w_k K_k Q_rest. Hence one update changes Q by at most Q_rest (1 - Q_rest) (exp(e) - 1), summed
    over the live planes.

    Returns:
        Q, float32 [L, H*W].
    """
    least, odds = survey(unary)
    merged = _merged_planes(unary, odds)
    live = np.setdiff1d(np.arange(len(unary)), merged)
    total, masses = merge(unary, least, merged)
    planes: np.ndarray = np.empty((0, len(least)), np.float32)
    rest: np.ndarray | np.float32 = np.float32(1)
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
    """Indices of the planes that cannot win; where there is none, of the largest set of equal planes (one or more)."""
    negligible = np.flatnonzero(odds < NEGLIGIBLE)
    if len(negligible):
        return negligible
    same_odds = (np.flatnonzero(odds == value) for value in np.unique(odds))
    equal = ([k for k in group if np.array_equal(unary[k], unary[group[0]])] for group in same_odds)
    return np.array(max(equal, key=len))


def _bilateral_lattice(image: np.ndarray, sxy: float, srgb: float) -> Lattice:
    """Lattice of the appearance kernel: features x, y, red, green, blue in standard deviations."""
    height, width = image.shape[:2]
    features = np.empty((5, height, width), np.float32)
    features[:2] = _positions(height, width, sxy)
    np.divide(np.moveaxis(image, 2, 0), np.float32(srgb), out=features[2:], dtype=np.float32)
    return build_lattice(features.reshape(5, -1))


@lru_cache(maxsize=2)
def _spatial_lattice(height: int, width: int, sxy: float) -> Lattice:
    """Lattice of the smoothness kernel; images of one size share it."""
    return build_lattice(_positions(height, width, sxy).reshape(2, -1))


def _positions(height: int, width: int, sxy: float) -> np.ndarray:
    """x and y in standard deviations, float32 [2, H, W]."""
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    return np.stack(np.broadcast_arrays(x, y[:, None])) / np.float32(sxy)
