"""ZeroSeg's network against the masked autoencoder in transformers, and its gradients."""

import pytest
import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from maskmill.methods.zeroseg import (
    coverage_loss,
    distillation_loss,
    matching_loss,
    reconstruction_loss,
    view_distances,
    view_weights,
)
from maskmill.networks.zeroseg import ZeroSeg, keep_patches, resized_codes
from maskmill.storage.checkpoints import load_network, save_network

SIZE, PATCH, DIM = 64, 8, 24
L, M = (SIZE // PATCH) ** 2, 5


def build(stem=None):
    torch.manual_seed(0)
    return ZeroSeg(
        dim=DIM,
        image_size=SIZE,
        patch_size=PATCH,
        stem=stem,
        mask_ratio=0.6,
        width=48,
        heads=3,
        depth=2,
        reconstruction={"width": 32, "heads": 2, "depth": 2},
        segmentation={"width": 32, "heads": 2, "depths": (2, 2, 1), "groups": (12, M)},
    )


@pytest.fixture
def network():
    """Random weights everywhere, norms' and biases' too, in double precision; no noise in the groupings."""
    network = build().eval()
    for name, parameter in network.named_parameters():
        torch.nn.init.normal_(parameter, 1.0 if "norm" in name and name.endswith("weight") else 0.0, std=0.2)
    return network.double()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(2, 3, SIZE, SIZE, generator=generator, dtype=torch.float64)
    return pixels, torch.rand(2, L, generator=generator, dtype=torch.float64)


def reference(network):
    """transformers' model with our weights."""
    config = ViTMAEConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=192,
        image_size=SIZE,
        patch_size=PATCH,
        mask_ratio=0.6,
        decoder_hidden_size=32,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=128,
        layer_norm_eps=1e-6,
        norm_pix_loss=False,
    )
    model = ViTMAEForPreTraining(config)
    model.vit.embeddings.patch_embeddings.projection._is_hf_initialized = False
    model.vit.embeddings.initialize_weights()  # of the position codes, which the constructor leaves at 0
    model.decoder.initialize_weights(L)
    model = model.double().eval()
    own = network.state_dict()
    given = {
        "vit.embeddings.cls_token": own["class_token"],
        "vit.embeddings.patch_embeddings.projection": "proj",
        "vit.layernorm": "norm",
        "decoder.decoder_embed": "reconstruction.embed",
        "decoder.mask_token": own["reconstruction.mask_token"],
        "decoder.decoder_norm": "reconstruction.norm",
        "decoder.decoder_pred": "reconstruction.pixels",
    }
    tensors = {}
    for theirs, ours in given.items():
        if isinstance(ours, str):
            tensors |= {f"{theirs}.{kind}": own[f"{ours}.{kind}"] for kind in ("weight", "bias")}
        else:
            tensors[theirs] = ours
    names = model.state_dict().keys()
    for theirs, ours in (("vit.layers", "blocks"), ("decoder.decoder_layers", "reconstruction.blocks")):
        for number in range(2):
            tensors |= layer(f"{theirs}.{number}", f"{ours}.{number}", own)
    fixed = {"vit.embeddings.position_embeddings", "decoder.decoder_pos_embed"}
    assert set(tensors) == set(names) - fixed, set(names) ^ set(tensors)
    model.load_state_dict(tensors, strict=False)
    return model


def layer(theirs, ours, own):
    """One transformer layer's weights under transformers' names; its queries, keys and values are apart."""
    tensors = {}
    for kind in ("weight", "bias"):
        for part, value in zip("qkv", own[f"{ours}.attn.qkv.{kind}"].chunk(3), strict=True):
            tensors[f"{theirs}.attention.{part}_proj.{kind}"] = value
        tensors[f"{theirs}.attention.o_proj.{kind}"] = own[f"{ours}.attn.proj.{kind}"]
        tensors[f"{theirs}.mlp.fc1.{kind}"] = own[f"{ours}.mlp.fc1.{kind}"]
        tensors[f"{theirs}.mlp.fc2.{kind}"] = own[f"{ours}.mlp.fc2.{kind}"]
        tensors[f"{theirs}.layernorm_before.{kind}"] = own[f"{ours}.norm1.{kind}"]
        tensors[f"{theirs}.layernorm_after.{kind}"] = own[f"{ours}.norm2.{kind}"]
    return tensors


@torch.no_grad()
def test_encoder_and_reconstruction_equal_transformers(network, batch):
    pixels, noise = batch
    expected = reference(network)(pixels, noise=noise)
    output = network(pixels, noise)
    _, places = keep_patches(noise, 0.6)
    torch.testing.assert_close(places, expected.ids_restore)
    torch.testing.assert_close(output["removed"], expected.mask.float())
    torch.testing.assert_close(output["pixels"], expected.logits, atol=1e-6, rtol=1e-5)  # the codes are float32
    loss = reconstruction_loss(output["pixels"], pixels, output["removed"])
    torch.testing.assert_close(loss, expected.loss, atol=1e-5, rtol=1e-5, check_dtype=False)


def test_60_percent_of_the_patches_are_removed(network, batch):
    output = network(*batch)
    assert (output["removed"].sum(dim=1) == L - int(L * 0.4)).all()
    assert keep_patches(torch.rand(1, 196), 0.6)[0].shape == (1, 78)  # MAE truncates


@pytest.mark.parametrize("stem", [None, "sample_cnn_light"])
@torch.no_grad()
def test_segments_see_no_removed_patch(network, batch, stem):
    pixels, noise = batch
    if stem:
        network = build(stem).eval().double()
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    output = network(pixels, noise)
    hidden = output["removed"].bool().reshape(2, 1, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    changed = network(pixels + 5 * hidden, noise)
    torch.testing.assert_close(changed["segments"], output["segments"])
    torch.testing.assert_close(changed["pixels"], output["pixels"])
    shown = network(pixels + 5 * ~hidden, noise)
    assert (shown["segments"] - output["segments"]).abs().max() > 1e-3


@torch.no_grad()
def test_with_all_patches_visible_training_and_inference_agree(network, batch):
    """Segments, image vector, and their shares in the patches, which sum to 1."""
    pixels, noise = batch
    network.mask_ratio = 0.0
    output = network(pixels, noise)
    shares, segments, image = network.describe(pixels)
    torch.testing.assert_close(torch.nn.functional.normalize(output["segments"], dim=-1), segments)
    torch.testing.assert_close(torch.nn.functional.normalize(output["image"], dim=-1), image)
    assert shares.shape == (2, L, M)
    torch.testing.assert_close(shares.sum(dim=2), torch.ones(2, L, dtype=torch.float64))


@torch.no_grad()
def test_a_stem_gives_as_many_patches_as_pixels_do():
    pixels = torch.randn(2, 3, SIZE, SIZE)
    assert build("sample_cnn_light").embed(pixels).shape == build().embed(pixels).shape == (2, L, 48)


@pytest.mark.parametrize("stem", [None, "sample_cnn_light"])
@torch.no_grad()
def test_what_is_behind_the_last_whole_patches_is_not_seen(stem):
    network, pixels = build(stem).eval(), torch.randn(1, 3, 83, 131)
    for odd, whole in zip(network.describe(pixels), network.describe(pixels[..., :80, :128]), strict=True):
        torch.testing.assert_close(odd, whole)


@torch.no_grad()
def test_larger_images_are_seen_with_resized_position_codes(network):
    shares, segments, image = network.describe(torch.randn(1, 3, 80, 128, dtype=torch.float64))
    assert segments.shape == (1, M, DIM) and image.shape == (1, DIM) and shares.shape == (1, 10 * 16, M)
    codes = network.positions
    assert resized_codes(codes, 8, 8) is codes
    larger = resized_codes(codes, 16, 16).reshape(16, 16, -1)
    assert (larger[2:-2:2, 2:-2:2] - codes.reshape(8, 8, -1)[1:-1, 1:-1]).abs().max() < 0.5


def test_every_loss_reaches_the_encoder_and_its_own_head(network, batch):
    generator = torch.Generator().manual_seed(2)
    views = torch.randn(2, 30, DIM, generator=generator, dtype=torch.float64)
    losses = {
        "reconstruction": lambda out: reconstruction_loss(out["pixels"], batch[0], out["removed"]),
        "distillation": lambda out: distillation_loss(out["image"], views, view_weights((1, 2, 3, 4))),
        "matching": lambda out: matching_loss(view_distances(out["segments"], views))[0],
        "coverage": lambda out: coverage_loss(view_distances(out["segments"], views)),
    }
    untouched = {
        "reconstruction": "segmentation.",
        "distillation": ("reconstruction.", "segmentation.of_segments."),
        "matching": ("reconstruction.", "segmentation.of_image.", "segmentation.pool."),
        "coverage": ("reconstruction.", "segmentation.of_image.", "segmentation.pool."),
    }
    for name, loss in losses.items():
        network.zero_grad()
        loss(network(*batch)).backward()
        for parameter, value in network.named_parameters():
            reached = value.grad is not None and bool(value.grad.abs().max() > 0)
            assert reached != parameter.startswith(untouched[name]), (name, parameter)


def test_a_checkpoint_gives_the_same_network(tmp_path, batch):
    network = build().eval()
    save_network(tmp_path / "network.safetensors", network)
    loaded = load_network(tmp_path / "network.safetensors", ZeroSeg)
    pixels = batch[0].float()
    for own, read in zip(network.describe(pixels), loaded.describe(pixels), strict=True):
        torch.testing.assert_close(own, read, atol=0, rtol=0)
