"""STEGO's losses. Golden numbers: reference run of the released code (mhamilton723/STEGO), CPU, float64."""

import numpy as np
import pytest
import torch

from maskmill.methods import stego
from maskmill.networks.stego import StegoHead
from maskmill.storage.checkpoints import load_network, save_network


def wave(function, frequency, *shape):
    """function(frequency n) for n = 1, 2, ... in row-major order."""
    count = torch.arange(1, torch.Size(shape).numel() + 1, dtype=torch.float64)
    return function(frequency * count).reshape(shape)


def example():
    f1, f2 = wave(torch.sin, 0.31, 2, 5, 3, 3), wave(torch.cos, 0.23, 2, 5, 3, 3)
    return f1, f2, wave(torch.sin, 0.47, 2, 4, 3, 3), wave(torch.cos, 0.29, 2, 4, 3, 3)


def summary(x):
    return [x.mean().item(), x.abs().mean().item(), x.flatten()[0].item(), x.flatten()[-1].item()]


def test_correlations_of_the_reference_run():
    f1, f2, c1, c2 = example()
    features, codes = stego.correlation(f1, f2), stego.correlation(c1, c2)
    assert features.shape == (2, 3, 3, 3, 3)
    expected = [0.106055109976, 0.389244256905, 0.780381846303, -0.521460016131]
    assert summary(features) == pytest.approx(expected, rel=1e-9)
    expected = [-0.0560716654375, 0.547902770751, 0.774264698231, -0.298571507854]
    assert summary(codes) == pytest.approx(expected, rel=1e-9)
    assert (codes > 0).sum() == 74


# pointwise, zero clamp, stabilise, pair, shift: mean, mean abs, first, last; gradient norm of c1
GOLDEN = """
1 1 0 cross 0.12: -0.0168819771412 0.0651630254528 -0.252192756314 0 0.0217148816416
1 1 0 cross 0.2: 0.00279126707137 0.0634073702469 -0.190251580456 0 0.0218744527333
1 1 0 cross 1.0: 0.199523709197 0.199523709197 0.429160178129 0 0.0468557046423
1 1 0 self 0.12: -0.301492424244 0.304077396981 -1.43467194501 -1.41116141958 0.0236621952159
1 1 0 self 0.2: -0.268396574479 0.272386859044 -1.35467194501 -1.33116141958 0.020827222466
1 1 0 self 1.0: 0.0625619231635 0.0938473970118 -0.554671945012 -0.531161419579 0.023554179545
1 1 1 cross 0.2: 0.00319999733744 0.0612472069985 -0.190251580456 0 0.0199433394468
1 1 1 self 0.2: -0.237701020248 0.241691304813 -1.08373755601 -1.06492913566 0.0162484192555
1 0 0 cross 0.2: -0.0488793737293 0.121722247199 -0.190251580456 -0.246588175521 0.0270875544276
1 0 0 self 0.2: -0.321362136203 0.368156653418 -1.35467194501 -1.33116141958 0.0438521639091
0 1 0 cross 0.12: 0.00694638875806 0.104685145742 -0.511310350945 0 0.0309499910863
0 1 0 cross 0.2: 0.0266196329706 0.10618351765 -0.449369175086 0 0.0309378515729
0 1 0 cross 1.0: 0.223352075096 0.223352075096 0.170042583499 0 0.0509612320834
0 1 0 self 0.12: -0.311009582183 0.3120974448 -0.88 -0.88 0.0257590449398
0 1 0 self 0.2: -0.277913732419 0.280510970502 -0.8 -0.8 0.0231906377122
0 1 0 self 1.0: 0.0530447652238 0.0530447652238 0 0 0.0257462140256
0 0 0 cross 0.2: -0.00516107308088 0.209468612017 -0.449369175086 -0.215407404873 0.0426893562572
0 0 0 self 0.2: -0.35002085594 0.40715735529 -0.8 -0.8 0.0538289773579
"""


@pytest.mark.parametrize("row", GOLDEN.strip().splitlines())
def test_correlation_loss_of_the_reference_run(row):
    settings, numbers = row.split(":")
    pointwise, zero_clamp, stabilise, pair, shift = settings.split()
    *expected, gradient_norm = map(float, numbers.split())
    f1, f2, c1, c2 = example()
    c1.requires_grad_()
    if pair == "self":
        f2, c2 = f1, c1
    loss = stego.correlation_loss(
        f1,
        f2,
        c1,
        c2,
        float(shift),
        pointwise=pointwise == "1",
        zero_clamp=zero_clamp == "1",
        stabilise=stabilise == "1",
    )
    loss.mean().backward()
    assert summary(loss.detach()) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert c1.grad.norm().item() == pytest.approx(gradient_norm, rel=1e-9)


def test_by_default_correlations_are_centred_and_clamped_at_zero_alone():
    published = {"pointwise": True, "zero_clamp": True, "stabilise": False}
    assert stego.correlation_loss(*example(), 0.2).equal(stego.correlation_loss(*example(), 0.2, **published))


def test_the_features_are_constants():
    f1, f2, c1, c2 = (x.requires_grad_() for x in example())
    stego.correlation_loss(f1, f2, c1, c2, 0.2).mean().backward()
    assert f1.grad is f2.grad is None and c1.grad.any() and c2.grad.any()


def test_samples_of_the_reference_run():
    features, points = wave(torch.sin, 0.31, 2, 5, 6, 7), wave(torch.cos, 0.9, 2, 4, 4, 2)
    samples = stego.sample(features, points)
    assert samples.shape == (2, 5, 4, 4)
    expected = [0.115923031774, 0.494710957405, -0.16590588799, 0.571129870982]
    assert summary(samples) == pytest.approx(expected, rel=1e-9)


def test_points_are_x_then_y_from_centre_to_centre():
    features = torch.arange(12.0).reshape(1, 1, 3, 4)
    points = torch.tensor([[-1.0, -1], [1, -1], [-1, 1], [0, 0]]).reshape(1, 2, 2, 2)
    assert stego.sample(features, points).flatten().tolist() == [0, 3, 8, 5.5]


SETTINGS = {
    "weights": {"intra": 0.1, "inter": 1.0, "negative": 0.1538},  # ViT-B values published for COCO-Stuff
    "shifts": {"intra": 0.12, "inter": 0.2, "negative": 1.0},
}


def batch(size=4, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(size, d, 7, 7, generator=draw, dtype=torch.float64) for d in (6, 3, 6, 3)]


def test_stego_loss_is_a_function_of_its_generator():
    def terms(seed):
        losses = stego.stego_loss(*batch(), **SETTINGS, generator=torch.Generator().manual_seed(seed))
        return [losses[name].item() for name in ("intra", "inter", "negative")]

    assert terms(0) == terms(0)
    assert all(a != b for a, b in zip(terms(0), terms(1), strict=True))


def test_stego_terms_scale_with_their_weights():
    def terms(weights):
        settings = SETTINGS | {"weights": weights}
        return stego.stego_loss(*batch(), **settings, generator=torch.Generator().manual_seed(0))

    once, scaled = terms(SETTINGS["weights"]), terms({"intra": 0.2, "inter": 3.0, "negative": 0.0})
    assert scaled["intra"].item() == pytest.approx(2 * once["intra"].item())
    assert scaled["inter"].item() == pytest.approx(3 * once["inter"].item())
    assert scaled["negative"].item() == 0


def test_terms_of_images_of_one_vector_each_follow_from_the_printed_formula():
    """Constant images have one correlation per pair, so a term is the mean of -lambda max(S, 0) (F - b)."""
    angles = torch.tensor([0.0, 0.5], dtype=torch.float64)
    turned = angles + 0.3

    def constant(a):
        return torch.stack([a.cos(), a.sin()], dim=1)[:, :, None, None].expand(-1, -1, 5, 5)

    losses = stego.stego_loss(
        constant(angles),
        constant(2 * angles),
        constant(turned),
        constant(2 * turned),
        **SETTINGS,
        pointwise=False,
        generator=torch.Generator().manual_seed(0),
    )
    assert losses["intra"].item() == pytest.approx(-0.1 * (1 - 0.12))
    assert losses["inter"].item() == pytest.approx(-np.cos(0.6) * (np.cos(0.3) - 0.2))
    assert losses["negative"].item() == pytest.approx(-0.1538 * np.cos(1.0) * (np.cos(0.5) - 1.0))


def test_negatives_are_the_other_images_of_the_batch_alike():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([stego._others(4, generator) for _ in range(300)])
    for image in range(4):
        counts = drawn[:, image].bincount(minlength=4)
        assert counts[image] == 0 and (counts > 50).sum() == 3


def released_permutation(batch, generator):
    """`super_perm` of the released `modules.py`, image by image."""
    drawn = torch.randperm(batch, generator=generator).tolist()
    return [(other + 1 if other == image else other) % batch for image, other in enumerate(drawn)]


@pytest.mark.parametrize("size", [2, 3, 5, 16])
def test_official_partners_are_the_released_permutation(size, monkeypatch):
    met, sample = [], stego.sample
    monkeypatch.setattr(
        stego, "sample", lambda values, points: met.append(values[:, 0, 0, 0]) or sample(values, points)
    )
    features, codes, positive, positive_codes = batch(size)
    features[:, 0, 0, 0] = torch.arange(size)
    generator = torch.Generator().manual_seed(size)
    stego.stego_loss(features, codes, positive, positive_codes, **SETTINGS, negatives=3, generator=generator)
    generator.manual_seed(size)
    for _ in range(2):
        stego._uniform((size, 11, 11, 2), generator)  # the points are drawn first
    # Features and codes at own points, then features and codes of each negative, those of the positive last.
    assert [met[2 + 2 * n].tolist() for n in range(3)] == [released_permutation(size, generator) for _ in range(3)]


def test_few_images_of_a_permutation_are_met_twice_and_many_of_independent_draws():
    generator = torch.Generator().manual_seed(0)
    repeated = {
        draw: np.mean([16 - len(draw(16, generator).unique()) for _ in range(2000)])
        for draw in (stego._permuted, stego._others)
    }
    assert repeated[stego._permuted] == pytest.approx(1 - 1 / 15, abs=0.06)
    assert repeated[stego._others] == pytest.approx(16 * (14 / 15) ** 15, abs=0.1)


def test_other_partners_are_refused():
    with pytest.raises(ValueError, match="partners is 'all'; choose one of official, independent"):
        stego.stego_loss(*batch(), **SETTINGS, partners="all", generator=torch.Generator())


def test_points_cover_the_images_and_codes_are_taken_where_features_are(monkeypatch):
    taken, sample = [], stego.sample
    monkeypatch.setattr(stego, "sample", lambda values, points: taken.append(points) or sample(values, points))
    stego.stego_loss(*batch(), **SETTINGS, negatives=1, generator=torch.Generator().manual_seed(0))
    own, others = taken[0], taken[2]
    assert all(points is own for points in taken[:2]) and all(points is others for points in taken[2:])
    for points in (own, others):
        assert points.shape == (4, 11, 11, 2)
        assert -1 <= points.min() < -0.9 and 0.9 < points.max() <= 1 and points.mean().abs() < 0.1


def test_a_batch_of_one_image_is_refused():
    with pytest.raises(ValueError, match="two or more"):
        stego.stego_loss(*batch(1), **SETTINGS, generator=torch.Generator())


def test_channel_dropout_drops_whole_channels_and_keeps_the_mean():
    features = torch.ones(20, 500, 2, 2)
    dropped = stego.channel_dropout(features, 0.1, torch.Generator().manual_seed(0))
    assert torch.equal(dropped, dropped[:, :, :1, :1].expand_as(dropped))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)


def test_encode_drops_channels_of_each_branch_independently():
    inputs = []
    features = torch.ones(8, 64, 2, 2)

    def head(linear, nonlinear):
        inputs.extend([linear, nonlinear])
        return linear[:, :3]

    target, codes = stego.encode(head, features, dropout=0.5, generator=torch.Generator().manual_seed(0))
    assert codes.shape == (8, 3, 2, 2)
    assert not any(torch.equal(a, b) for a, b in ((inputs[0], inputs[1]), (inputs[0], target), (inputs[1], target)))
    same, _ = stego.encode(head, features, dropout=0.0, generator=torch.Generator())
    assert torch.equal(same, features)


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_nearest_neighbours_equal_a_full_sort_without_the_image_itself(chunk):
    pooled = torch.randn(40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit = pooled.numpy() / np.linalg.norm(pooled.numpy(), axis=1, keepdims=True)
    similarity = unit @ unit.T
    order = [[j for j in np.argsort(-row) if j != i][:6] for i, row in enumerate(similarity)]
    assert stego.nearest_neighbours(pooled, 6, chunk).tolist() == order


def test_head_is_the_sum_of_a_linear_and_a_two_layer_projection():
    torch.manual_seed(0)
    head, x = StegoHead(6, dim=4), torch.randn(2, 6, 3, 3)
    vectors = x.permute(0, 2, 3, 1)
    linear, (first, _, second) = head.linear, head.nonlinear
    hidden = (vectors @ first.weight[:, :, 0, 0].T + first.bias).clamp(min=0)
    expected = vectors @ linear.weight[:, :, 0, 0].T + linear.bias + hidden @ second.weight[:, :, 0, 0].T + second.bias
    torch.testing.assert_close(head(x), expected.permute(0, 3, 1, 2))


def test_head_of_the_paper_has_70_dimensions_and_survives_a_checkpoint(tmp_path):
    head = StegoHead(768)
    assert sum(p.numel() for p in head.parameters()) == (768 * 70 + 70) * 2 + 768 * 768 + 768
    small = StegoHead(6, dim=4)
    save_network(tmp_path / "head.safetensors", small)
    x = torch.randn(1, 6, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(load_network(tmp_path / "head.safetensors", StegoHead)(x), small(x))


def test_stego_training_step_reaches_every_parameter_of_the_head():
    torch.manual_seed(0)
    head, draw = StegoHead(6, dim=3), torch.Generator().manual_seed(0)
    features, _, positive, _ = (x.float() for x in batch())
    pairs = [*stego.encode(head, features, generator=draw), *stego.encode(head, positive, generator=draw)]
    sum(stego.stego_loss(*pairs, **SETTINGS, generator=draw).values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())
