"""The dense CRF against golden numbers, exact filters and the reference implementation.

The golden numbers are one run of IRN's released `crf_inference_label`, and runs of pydensecrf2 1.1 on `scene`.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fills import digest
from maskmill.errors import InputError
from maskmill.refinement import dense_crf as module
from maskmill.refinement.dense_crf import BACKENDS, dense_crf, label_unary, probability_unary
from maskmill.refinement.permutohedral import filter_planes

LIBRARY = Path(__file__).resolve().parents[2] / "workflow_scripts"
needs_pydensecrf = pytest.mark.skipif(
    importlib.util.find_spec("pydensecrf") is None,
    reason="pydensecrf2 is not installed: pip install -r envs/requirements-pydensecrf.txt",
)
both_backends = pytest.mark.parametrize("backend", ["fast", pytest.param("pydensecrf", marks=needs_pydensecrf)])

IRN = {
    "gaussian_sxy": 3,
    "gaussian_compat": 3,
    "bilateral_sxy": 50,
    "bilateral_srgb": 5,
    "bilateral_compat": 10,
}
y, x, c = np.ogrid[:24, :32, :3]
IMAGE = ((60 * (x // 8) + 50 * (y // 6) * (c + 1) + 3 * ((5 * x + 3 * y + c) % 7)) % 256).astype(np.uint8)
LABELS = ((x // 7 + y // 9) % 3)[..., 0]


def test_all_backends_are_tested():
    assert list(BACKENDS) == ["fast", "pydensecrf"]


def test_inputs_are_those_of_the_reference_run():
    assert digest(IMAGE, "u1") == "d61e8fb69eb410f8"
    assert np.bincount(LABELS.ravel()).tolist() == [255, 267, 246]


@pytest.mark.parametrize(("num_labels", "other_energy"), [(2, 1.20397281647), (3, 1.89711999893), (4, 2.30258512497)])
def test_label_unary_is_the_reference_energy(num_labels, other_energy):
    labels = np.arange(24 * 32).reshape(24, 32) % num_labels
    unary = label_unary(labels, num_labels)
    assert unary.shape == (num_labels, 768)
    assert unary.dtype == np.float32
    is_label = labels.ravel() == np.arange(num_labels)[:, None]
    np.testing.assert_allclose(unary[is_label], 0.356674939394, rtol=1e-7)
    np.testing.assert_allclose(unary[~is_label], other_energy, rtol=1e-7)


@both_backends
@pytest.mark.parametrize(
    ("iterations", "counts", "changed", "sha", "means", "first", "margin"),
    [
        (
            1,
            [255, 274, 239],
            83,
            "25b4cd0ae0326b8f",
            [0.330303639, 0.354303151, 0.315393120],
            0.997990966,
            0.000261217,
        ),
        (
            10,
            [235, 266, 267],
            271,
            "97b18b8ead1faeac",
            [0.307096362, 0.346355528, 0.346546859],
            0.999997377,
            0.01045841,
        ),
    ],
)
def test_marginals_are_the_reference_marginals(backend, iterations, counts, changed, sha, means, first, margin):
    q = dense_crf(IMAGE, label_unary(LABELS, 3), iterations=iterations, backend=backend, **IRN)
    assert q.dtype == np.float32
    labels = q.argmax(0)
    assert np.bincount(labels.ravel()).tolist() == counts
    assert np.count_nonzero(labels != LABELS) == changed
    assert digest(labels) == sha
    np.testing.assert_allclose(q.mean((1, 2)), means, rtol=1e-5)
    assert q[0, 0, 0] == pytest.approx(first, rel=1e-5)
    second, best = np.sort(q, axis=0)[-2:]
    # In float64 on the same lattice the margin after ten iterations is 0.01045009; both backends are 1e-5 away.
    assert (best - second).min() == pytest.approx(margin, abs=2e-5)


@both_backends
@pytest.mark.parametrize(
    ("row", "digits"),
    [
        (0, "00000000111111112222222201000100"),
        (12, "11111111222222220000000022122222"),
        (23, "22222222000000001111111122220222"),
    ],
)
def test_labels_of_ten_iterations_are_the_reference_rows(backend, row, digits):
    q = dense_crf(IMAGE, label_unary(LABELS, 3), iterations=10, backend=backend, **IRN)
    assert "".join(map(str, q[:, row].argmax(0))) == digits


@both_backends
def test_memory_layout_does_not_matter(backend):
    unary = label_unary(LABELS, 3)
    plain = dense_crf(IMAGE, unary, iterations=3, backend=backend, **IRN)
    image = np.asfortranarray(IMAGE[::-1])[::-1]
    again = dense_crf(image, np.asfortranarray(unary), iterations=3, backend=backend, **IRN)
    np.testing.assert_array_equal(again, plain)


def test_probability_unary_is_the_clipped_negative_logarithm():
    probabilities = np.array([[[0.0, 0.25]], [[1.0, 0.75]]])
    unary = probability_unary(probabilities)
    assert unary.dtype == np.float32
    np.testing.assert_allclose(unary, [[-np.log(1e-5), -np.log(0.25)], [0, -np.log(0.75)]], rtol=1e-6)


def setting(gaussian_compat, gaussian_sxy, bilateral_compat, bilateral_sxy, bilateral_srgb):
    """The weights and standard deviations in the order in which papers list them."""
    return {
        "gaussian_sxy": gaussian_sxy,
        "gaussian_compat": gaussian_compat,
        "bilateral_sxy": bilateral_sxy,
        "bilateral_srgb": bilateral_srgb,
        "bilateral_compat": bilateral_compat,
    }


DEEPLAB, PSA = setting(3, 1, 4, 67, 3), setting(3, 3, 10, 80, 13)


def scene(height, width, classes=4, planes=None):
    """Image, labels and probabilities of the golden runs, for any size and number of classes."""
    y, x = np.mgrid[:height, :width]
    labels = (x // 9 + 2 * (y // 11)) % classes
    colours = np.array([(40, 90, 160), (200, 60, 50), (70, 170, 80), (230, 220, 60), (120, 30, 140)])[:classes]
    image = (colours[labels] + ((7 * x + 13 * y) % 9 - 4)[..., None]).astype(np.uint8)
    planes = planes or classes
    logits = 1.2 * np.sin(0.37 * np.arange(1, planes * labels.size + 1)).reshape(planes, height, width)
    logits += 1.5 * (np.arange(planes)[:, None, None] == labels)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=0)
    return image, labels, probabilities


@both_backends
@pytest.mark.parametrize(
    ("iterations", "settings", "first", "inner", "total", "accuracy"),
    [
        (1, DEEPLAB, 0.937229, 0.000785, 215.8343, 0.9674),
        (5, DEEPLAB, 0.998681, 0.000035, 215.8797, 1.0),
        (10, DEEPLAB, 0.998682, 0.000035, 215.8805, 1.0),
        (10, setting(3, 3, 4, 121, 5), 0.998010, 0.000226, 215.6250, 1.0),
        (10, PSA, 0.999993, 0, 215.9986, 1.0),
    ],
)
def test_marginals_are_those_of_pydensecrf(backend, iterations, settings, first, inner, total, accuracy):
    image, labels, probabilities = scene(24, 32)
    assert (probabilities.argmax(0) == labels).mean() == pytest.approx(0.6315, abs=5e-5)
    q = dense_crf(image, probability_unary(probabilities), iterations=iterations, backend=backend, **settings)
    assert q[0, 0, 0] == pytest.approx(first, abs=2e-6)
    assert q[1, 12, 16] == pytest.approx(inner, abs=2e-6)
    assert q[0].sum() == pytest.approx(total, abs=2e-4)
    assert (q.argmax(0) == labels).mean() == pytest.approx(accuracy, abs=5e-5)


def exact_kernel(features):
    """D^-1/2 K D^-1/2 of all pairs of pixels; features [N, d]."""
    squared_distance = ((features[:, None] - features[None]) ** 2).sum(axis=-1)
    kernel = np.exp(-squared_distance / 2)
    scale = 1 / np.sqrt(kernel.sum(axis=1))
    return scale[:, None] * kernel * scale


def exact_crf(image, unary, iterations, settings):
    """Mean field with exact kernels, float64 [L, N]."""
    position = np.stack(np.indices(image.shape[:2]), axis=-1).reshape(-1, 2).astype(float)
    colour = image.reshape(-1, 3) / settings["bilateral_srgb"]
    appearance = exact_kernel(np.hstack([position / settings["bilateral_sxy"], colour]))
    smoothness = exact_kernel(position / settings["gaussian_sxy"])
    pairwise = settings["bilateral_compat"] * appearance + settings["gaussian_compat"] * smoothness
    energy, q = unary.astype(np.float64), None
    for _ in range(iterations + 1):
        logits = -energy + (0 if q is None else q @ pairwise)
        q = np.exp(logits - logits.max(axis=0))
        q /= q.sum(axis=0)
    return q


@needs_pydensecrf
@pytest.mark.parametrize("settings", [DEEPLAB, IRN, PSA], ids=["deeplab", "irn", "psa"])
@pytest.mark.parametrize(("size", "classes"), [((24, 32), 4), ((40, 50), 5)])
@pytest.mark.parametrize("iterations", [1, 10])
def test_no_further_from_exact_filters_than_the_reference(settings, size, classes, iterations):
    image, _, probabilities = scene(*size, classes)
    unary = probability_unary(probabilities)
    exact = exact_crf(image, unary, iterations, settings).reshape(-1, *size)
    q, reference = (dense_crf(image, unary, iterations=iterations, backend=b, **settings) for b in BACKENDS)
    assert np.abs(q - exact).mean() <= np.abs(reference - exact).mean() + 1e-6
    assert (q.argmax(0) != exact.argmax(0)).sum() <= (reference.argmax(0) != exact.argmax(0)).sum()


@needs_pydensecrf
@pytest.mark.parametrize("planes", [2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 21])
@pytest.mark.parametrize("settings", [DEEPLAB, IRN, PSA], ids=["deeplab", "irn", "psa"])
def test_any_number_of_planes_agrees_with_the_reference(monkeypatch, planes, settings):
    """Every register width, and planes in several groups; no plane merged."""
    monkeypatch.setattr(module, "NEGLIGIBLE", 0)
    image, _, probabilities = scene(37, 45, classes=min(planes, 5), planes=planes)
    unary = probability_unary(probabilities)
    q, reference = (dense_crf(image, unary, iterations=4, backend=b, **settings) for b in BACKENDS)
    np.testing.assert_allclose(q, reference, atol=2e-5)
    np.testing.assert_allclose(q.sum(axis=0), 1, atol=2e-6)


@needs_pydensecrf
def test_equal_planes_are_merged_without_error():
    labels = LABELS * 4
    unary = label_unary(labels, 21)
    merged = module._merged_planes(unary, module.survey(unary)[1])
    assert np.setdiff1d(np.arange(21), merged).tolist() == [0, 4, 8]
    q, reference = (dense_crf(IMAGE, unary, iterations=10, backend=b, **IRN) for b in BACKENDS)
    np.testing.assert_allclose(q, reference, atol=2e-5)
    np.testing.assert_array_equal(q[1], q[20])


@needs_pydensecrf
def test_equal_planes_of_any_weight_are_merged():
    """Three absent labels of five have odds 0.075 / 0.7 where none is negligible."""
    unary = label_unary(LABELS % 2, 4, gt_prob=0.4)
    assert module._merged_planes(unary, module.survey(unary)[1]).tolist() == [2, 3]
    q, reference = (dense_crf(IMAGE, unary, iterations=5, backend=b, **PSA) for b in BACKENDS)
    np.testing.assert_allclose(q, reference, atol=2e-5)


def test_all_planes_equal_stay_uniform():
    q = dense_crf(IMAGE, np.full((5, 768), 3.0, np.float32), iterations=3, **PSA)
    np.testing.assert_allclose(q, 0.2, rtol=1e-6)


def with_weak_planes():
    """Four classes and six planes that never reach a fifth of the best one's probability."""
    image, labels, probabilities = scene(40, 50)
    weak = (0.1 + 0.08 * np.sin(0.11 * np.arange(6 * labels.size))).reshape(6, 40, 50) * probabilities.max(axis=0)
    weak[::2] /= 5
    probabilities = np.concatenate([probabilities, weak])
    return image, probability_unary(probabilities / probabilities.sum(axis=0))


@needs_pydensecrf
@pytest.mark.parametrize("settings", [DEEPLAB, PSA], ids=["deeplab", "psa"])
def test_one_update_is_within_the_bound_on_merged_planes(settings):
    image, unary = with_weak_planes()
    merged = module._merged_planes(unary, module.survey(unary)[1])
    assert merged.tolist() == [4, 5, 6, 7, 8, 9]
    before, q = (dense_crf(image, unary, iterations=i, **settings).reshape(10, -1) for i in (0, 1))
    reference = dense_crf(image, unary, iterations=1, backend="pydensecrf", **settings).reshape(10, -1)
    rest_before = before[4:].sum(axis=0)
    appearance = module._bilateral_lattice(image, settings["bilateral_sxy"], settings["bilateral_srgb"])
    smoothness = module._spatial_lattice(40, 50, settings["gaussian_sxy"])
    message = settings["bilateral_compat"] * filter_planes(appearance, rest_before[None])[0]
    message += settings["gaussian_compat"] * filter_planes(smoothness, rest_before[None])[0]
    rest = q[4:].sum(axis=0)
    change = np.abs(q[:4] - reference[:4]).sum(axis=0)
    assert change.max() > 1e-5
    assert (change <= rest * (1 - rest) * np.expm1(message) + 1e-6).all()
    np.testing.assert_allclose(q.sum(axis=0), 1, atol=2e-6)


COMPILED_AHEAD = """
import numpy as np
from maskmill.refinement import permutohedral
from maskmill.refinement.dense_crf import compile_kernels, dense_crf, label_unary, probability_unary

def compiled():
    return {name: len(f.signatures) for name, f in vars(permutohedral).items() if hasattr(f, "signatures")}

compile_kernels()
ahead, rng = compiled(), np.random.default_rng(1)
settings = dict(gaussian_sxy=1, gaussian_compat=3, bilateral_sxy=67, bilateral_srgb=3, bilateral_compat=4, iterations=2)
for labels in range(2, 22):
    image, probabilities = rng.integers(0, 256, (9, 14, 3), np.uint8), rng.dirichlet(np.ones(labels), (9, 14))
    dense_crf(image, probability_unary(probabilities.transpose(2, 0, 1)), **settings)
    dense_crf(image, label_unary(probabilities.argmax(2), labels), **settings)
assert ahead["_splat"] == permutohedral.WIDEST, ahead
assert compiled() == ahead, (compiled(), ahead)
"""


def test_kernels_are_compiled_ahead_for_any_number_of_labels():
    # In a process where no other test has compiled any.
    subprocess.run([sys.executable, "-c", COMPILED_AHEAD], cwd=LIBRARY, check=True)


@needs_pydensecrf
@pytest.mark.parametrize("settings", [DEEPLAB, PSA], ids=["deeplab", "psa"])
def test_ten_updates_with_merged_planes_label_alike(settings):
    image, unary = with_weak_planes()
    q, reference = (dense_crf(image, unary, iterations=10, backend=b, **settings) for b in BACKENDS)
    assert (q.argmax(0) == reference.argmax(0)).mean() >= 0.999
    assert np.abs(q - reference).mean() <= 1e-3


@both_backends
def test_no_iterations_give_the_softmax(backend):
    image, _, probabilities = scene(24, 32)
    q = dense_crf(image, probability_unary(probabilities), iterations=0, backend=backend, **DEEPLAB)
    np.testing.assert_allclose(q, probabilities, rtol=1e-5)


def test_runs_are_equal_to_the_last_bit():
    image, unary = with_weak_planes()
    runs = [dense_crf(image, unary, iterations=10, **DEEPLAB) for _ in range(2)]
    np.testing.assert_array_equal(*runs)


@needs_pydensecrf
def test_large_energies_do_not_overflow():
    unary = np.where(label_unary(LABELS, 3) < 1, -500, 1e6).astype(np.float32)
    q, reference = (dense_crf(IMAGE, unary, iterations=3, backend=b, **IRN) for b in BACKENDS)
    np.testing.assert_allclose(q, reference, atol=1e-6)
    np.testing.assert_array_equal(q.argmax(0), LABELS)


@needs_pydensecrf
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1)])
def test_images_of_one_row_or_column(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    unary = np.random.default_rng(1).random((3, size[0] * size[1])).astype(np.float32)
    q, reference = (dense_crf(image, unary, iterations=5, backend=b, **DEEPLAB) for b in BACKENDS)
    np.testing.assert_allclose(q, reference, atol=1e-5)


def test_images_of_one_size_share_the_spatial_lattice():
    module._spatial_lattice.cache_clear()
    for image in (IMAGE, IMAGE[::-1]):
        dense_crf(image, label_unary(LABELS, 3), iterations=1, **IRN)
    assert module._spatial_lattice.cache_info().misses == 1


@both_backends
def test_one_label_leaves_nothing_to_decide(backend):
    unary = label_unary(np.zeros((24, 32), np.uint8), 1)
    q = dense_crf(IMAGE, unary, iterations=10, backend=backend, **IRN)
    np.testing.assert_array_equal(q, np.ones((1, 24, 32)))


def test_labels_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"0\.\.1"):
        label_unary(LABELS, 2)


def with_bad_energies(value, count):
    unary = label_unary(LABELS, 3)
    unary.ravel()[5 : 5 + count] = value
    return unary


@both_backends
@pytest.mark.parametrize(
    ("image", "unary", "message"),
    [
        (IMAGE, label_unary(LABELS[:-1], 3), r"unary must be \[L, 768\] for image \[24, 32, 3\], not \[3, 736\]"),
        (IMAGE, label_unary(LABELS, 3)[0], r"unary must be \[L, 768\].*not \[768\]"),
        (IMAGE, np.empty((0, 768), np.float32), r"not \[0, 768\]"),
        (IMAGE[:0], np.empty((3, 0), np.float32), r"for image \[0, 32, 3\]"),
        (IMAGE / 255, label_unary(LABELS, 3), "image must be uint8.*not float64"),
        (IMAGE[..., 0], label_unary(LABELS, 3), r"image must be uint8 \[H, W, 3\], not uint8 \[24, 32\]"),
        (IMAGE, np.zeros((3, 768), np.int64), "floating-point energies, not int64"),
        (IMAGE, with_bad_energies(np.nan, 4), "4 NaN and 0 infinite of 2304"),
        (IMAGE, with_bad_energies(np.inf, 2), "0 NaN and 2 infinite of 2304"),
    ],
)
def test_bad_arrays_are_refused_in_one_line(backend, image, unary, message):
    with pytest.raises(ValueError, match=message) as error:
        dense_crf(image, unary, iterations=1, backend=backend, **IRN)
    assert "\n" not in str(error.value)


def test_bad_settings_are_refused():
    unary = label_unary(LABELS, 3)
    with pytest.raises(ValueError, match="unknown backend 'gpu'; choose fast or pydensecrf"):
        dense_crf(IMAGE, unary, iterations=1, backend="gpu", **IRN)
    with pytest.raises(ValueError, match="must be positive: 3, 0, 5"):
        dense_crf(IMAGE, unary, iterations=1, **{**IRN, "bilateral_sxy": 0})
    with pytest.raises(ValueError, match="raise sxy or srgb, or use the backend pydensecrf"):
        dense_crf(IMAGE, unary, iterations=1, **{**IRN, "bilateral_srgb": 0.01})


def test_without_pydensecrf_its_backend_is_refused_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    unary = label_unary(LABELS, 3)
    with pytest.raises(InputError, match=r"needs the package pydensecrf2 .* or use the backend fast") as error:
        dense_crf(IMAGE, unary, iterations=1, backend="pydensecrf", **IRN)
    assert "\n" not in str(error.value)
    dense_crf(IMAGE, unary, iterations=1, **IRN)


def test_only_its_own_backend_imports_pydensecrf():
    code = "import sys, maskmill.refinement.dense_crf; assert 'pydensecrf' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=LIBRARY, check=True)
