"""Frozen extractors and the multi-scale embedding."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import nn

from maskmill.errors import InputError
from maskmill.networks.frozen_features import (
    DinoPatches,
    FrozenFeatures,
    frozen_features,
    multi_scale_features,
)


@pytest.fixture(scope="module")
def dino():
    return frozen_features("dino_vitb8")


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "filter_bank"])
def test_extractor_gives_its_channels_on_the_grid_of_its_patch(name):
    extract = frozen_features(name)
    height, width = 5 * extract.patch, 8 * extract.patch
    assert extract(images(2, 3, height, width)).shape == (2, extract.channels, 5, 8)
    assert len(extract.mean) == len(extract.std) == 3


def test_dino_gives_768_channels_at_any_multiple_of_8(dino):
    assert (dino.channels, dino.patch) == (768, 8)
    assert (dino.mean, dino.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert dino(images(1, 3, 24, 40)).shape == (1, 768, 3, 5)


def test_dino_tokens_lie_where_their_patches_are(dino):
    """With random weights, which attend almost evenly, a changed patch shows most at its own token."""
    plain = images(1, 3, 32, 48)
    changed = plain.clone()
    changed[..., 8:16, 32:40] += 3  # row 1, column 4
    difference = (dino(changed) - dino(plain)).norm(dim=1)[0]
    assert divmod(int(difference.argmax()), 6) == (1, 4)


def cubic(distance):
    """Weights of cubic convolution with a = -0.75, as torch has them without antialiasing."""
    a, d = -0.75, np.abs(distance)
    near, far = (a + 2) * d**3 - (a + 3) * d**2 + 1, a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def interpolated(size, side=28):
    """Matrix [size, side] of DINO's interpolation along a side: samples at steps of side / (size + 0.1)."""
    place = (np.arange(size) + 0.5) * side / (size + 0.1) - 0.5
    matrix = np.zeros((size, side))
    for offset in (-1, 0, 1, 2):
        cell = np.floor(place) + offset
        np.add.at(matrix, (np.arange(size), cell.clip(0, side - 1).astype(int)), cubic(place - cell))
    return matrix


@pytest.mark.parametrize(("h", "w"), [(13, 17), (28, 27), (14, 56), (61, 45), (1, 2)])
def test_position_codes_of_other_grids_are_dinos(dino, h, w):
    codes = dino.extractor.vit.pos_embed[0].double().numpy()
    grid = np.einsum("hy,wx,yxd->hwd", interpolated(h), interpolated(w), codes[1:].reshape(28, 28, -1))
    positions = dino.extractor.positions(h, w)[0].numpy()
    np.testing.assert_array_equal(positions[:1], codes[:1].astype(np.float32))
    np.testing.assert_allclose(positions[1:], grid.reshape(h * w, -1), atol=1e-6)  # codes are about 0.02
    by_timm = resample_abs_pos_embed(dino.extractor.vit.pos_embed, new_size=[h, w], num_prefix_tokens=1)
    assert (by_timm[0].numpy() - positions).std() > 0.02 * positions.std()


def test_position_codes_of_the_trained_grid_stay_as_they_are(dino):
    assert dino.extractor.positions(28, 28) is dino.extractor.vit.pos_embed
    assert dino.extractor.positions(56, 14).shape == (1, 785, 768), "as many patches, but another grid"


def test_but_for_position_codes_tokens_are_timms(dino, monkeypatch):
    vit, x = dino.extractor.vit, images(2, 3, 24, 40)
    by_timm = resample_abs_pos_embed(vit.pos_embed, new_size=[3, 5], num_prefix_tokens=1)
    monkeypatch.setattr(dino.extractor, "positions", lambda h, w: by_timm)
    with torch.no_grad():
        expected = vit.forward_features(x)[:, 1:].transpose(1, 2).reshape(2, 768, 3, 5)
    torch.testing.assert_close(dino(x), expected)


def test_extractor_stays_frozen_and_in_evaluation_mode():
    extract = frozen_features("efficientnet_lite0")
    x = images(2, 3, 32, 32).requires_grad_()
    before = extract(x)
    outer = nn.Sequential(extract).train()
    assert not any(module.training for module in extract.modules())
    assert not any(p.requires_grad for p in outer.parameters())
    assert not before.requires_grad
    assert torch.equal(extract(x), before)  # no batch statistics were updated


def test_pyramid_holds_strides_4_8_16_each_of_unit_length():
    extract = frozen_features("efficientnet_lite0")
    assert (extract.channels, extract.patch) == (24 + 40 + 112, 8)
    lengths = [part.norm(dim=1) for part in extract(images(1, 3, 40, 40)).split([24, 40, 112], dim=1)]
    for length in lengths:
        torch.testing.assert_close(length, torch.ones_like(length))


@pytest.mark.slow
def test_dino_weights_come_from_a_file_and_wrong_ones_are_refused(tmp_path, dino):
    path = tmp_path / "dino.safetensors"
    save_file({name: t.contiguous() for name, t in dino.extractor.vit.state_dict().items()}, path)
    x = images(1, 3, 16, 16)
    assert torch.equal(FrozenFeatures(DinoPatches(str(path)))(x), dino(x))
    save_file({"cls_token": torch.zeros(1, 1, 768)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"other.safetensors: not the weights of DINO"):
        frozen_features("dino_vitb8", str(tmp_path / "other.safetensors"))
    with pytest.raises(InputError, match=r"none.safetensors: no such weights"):
        frozen_features("dino_vitb8", str(tmp_path / "none.safetensors"))


def test_unknown_extractor_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="'dino'; choose one of dino_vitb8, efficientnet_lite0, filter_bank"):
        frozen_features("dino")


class Averages(nn.Module):
    """A stand-in extractor: the mean colour of each patch. Records the sizes that it saw."""

    channels, patch, mean, std = 3, 8, (0.0,) * 3, (1.0,) * 3

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, x):
        self.sizes.append(tuple(x.shape))
        return F.avg_pool2d(x, self.patch)


def test_scales_are_rounded_up_to_whole_patches_and_the_grid_is_that_of_scale_two():
    extract = Averages()
    embedding = multi_scale_features(extract, nn.Identity(), images(3, 37, 61))
    assert extract.sizes == [(2, 3, 80, 128), (2, 3, 40, 64), (2, 3, 56, 96), (2, 3, 24, 32)]
    assert embedding.shape == (3, 10, 16)


def test_pixels_are_cut_before_rounding_up_to_patches():
    extract = Averages()
    multi_scale_features(extract, nn.Identity(), images(3, 33, 17), scales=[0.5])  # 16.5 and 8.5 pixels
    assert extract.sizes == [(2, 3, 16, 8)]


def test_grid_scale_one_gives_the_grid_of_the_image():
    embedding = multi_scale_features(Averages(), nn.Identity(), images(3, 37, 61), grid_scale=1.0)
    assert embedding.shape == (3, 5, 8)


def test_embedding_is_the_mean_of_scales_and_mirror_images():
    torch.manual_seed(0)
    head, image = nn.Conv2d(3, 4, 3, padding=1), images(3, 16, 24)  # not symmetric, so mirroring matters
    expected = 0
    for scale in (2, 1):
        x = F.interpolate(image[None], scale_factor=scale, mode="bilinear") if scale > 1 else image[None]
        codes = head(F.avg_pool2d(x, 8))
        mirrored = head(F.avg_pool2d(x.flip(-1), 8)).flip(-1)
        expected += F.interpolate((codes + mirrored) / 2, (4, 6), mode="bilinear")[0] / 2
    embedding = multi_scale_features(Averages(), head, image, scales=(2.0, 1.0))
    torch.testing.assert_close(embedding, expected)
    assert not embedding.requires_grad


def test_mirror_images_are_averaged_or_not():
    torch.manual_seed(0)
    head, image = nn.Conv2d(3, 4, 3, padding=1), images(3, 16, 24)

    def embed(x, flip):
        return multi_scale_features(Averages(), head, x, flip=flip)

    torch.testing.assert_close(embed(image.flip(-1), True), embed(image, True).flip(-1))
    assert (embed(image.flip(-1), False) - embed(image, False).flip(-1)).abs().max() > 1e-2
    extract = Averages()
    multi_scale_features(extract, head, image, scales=[1.0], flip=False)
    assert extract.sizes == [(1, 3, 16, 24)]
