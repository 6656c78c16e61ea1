"""GroupViT's network against the implementations in transformers, timm and open_clip."""

import open_clip
import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import nn
from transformers import GroupViTConfig, GroupViTModel
from transformers.models.groupvit.modeling_groupvit import get_grouping_from_attentions

from maskmill.data.words import Words, vocabulary
from maskmill.errors import InputError
from maskmill.networks.group_vit import GroupingBlock, GroupViT, GroupViTEncoder, Layer
from maskmill.networks.group_vit_weights import group_vit_weights
from small_networks import GROUP_VIT as SMALL

TEXT = {"width": 256, "heads": 4, "layers": 12, "context_length": 77}


@pytest.fixture(scope="module")
def models():
    """transformers' GroupViT with random weights and statistics, and ours with the same."""
    torch.manual_seed(0)
    theirs = GroupViTModel(GroupViTConfig()).eval()
    for name, tensor in theirs.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif tensor.is_floating_point() and tensor.ndim:
            tensor.add_(0.05 * torch.randn_like(tensor))
    ours = GroupViT(encoder={}, text=TEXT).eval()
    ours.load_state_dict(group_vit_weights(theirs.state_dict()))
    return theirs.double(), ours.double()


@pytest.mark.slow
@torch.no_grad()
def test_encoder_equals_transformers(models):
    theirs, ours = models
    pixels = torch.randn(2, 3, 224, 224).double()
    expected = theirs.vision_model(pixels, output_attentions=True)
    features, *maps = ours.encoder(pixels)
    torch.testing.assert_close(features, expected.last_hidden_state, rtol=0, atol=1e-9)
    for soft, attention in zip(maps, expected.attentions[:2], strict=True):
        torch.testing.assert_close(soft, attention, rtol=0, atol=1e-9)


@pytest.mark.slow
@torch.no_grad()
def test_vectors_of_images_and_texts_equal_transformers(models):
    theirs, ours = models
    pixels = torch.randn(3, 3, 224, 224).double()
    features = ours.encoder(pixels).features
    expected = theirs.get_image_features(pixels).pooler_output
    torch.testing.assert_close(ours.image_projector(features.mean(dim=1)), expected, rtol=1e-9, atol=1e-9)
    tokens = torch.randint(1, 49406, (5, 77))
    for row, end in zip(tokens, (5, 9, 20, 40, 77), strict=True):
        row[end - 1 :] = 0
        row[0], row[end - 1] = 49406, 49407
    expected = theirs.get_text_features(tokens).pooler_output
    torch.testing.assert_close(ours.text_features(tokens), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@torch.no_grad()
def test_larger_images_get_a_resized_position_embedding_as_in_transformers(models):
    theirs, ours = models
    pixels = torch.randn(1, 3, 448, 448).double()
    vision = theirs.vision_model
    hidden = vision.embeddings(pixels, interpolate_pos_encoding=True)
    expected = vision.encoder(hidden, output_attentions=True)
    features, *maps = ours.encoder(pixels)
    torch.testing.assert_close(features, vision.layernorm(expected.last_hidden_state), rtol=0, atol=1e-9)
    assert [tuple(soft.shape) for soft in maps] == [(1, 64, 784), (1, 8, 64)]
    for soft, attention in zip(maps, expected.attentions[:2], strict=True):
        torch.testing.assert_close(soft, attention, rtol=0, atol=1e-9)


@torch.no_grad()
def test_composed_maps_equal_transformers_grouping(models):
    theirs, ours = models
    pixels = torch.randn(2, 3, 224, 224).double()
    attentions = theirs.vision_model(pixels, output_attentions=True).attentions[:2]
    shares = ours.encoder(pixels).shares
    first, second = attentions  # [B, 64, L], [B, 8, 64]
    torch.testing.assert_close(shares, (second @ first).transpose(1, 2), rtol=0, atol=1e-9)
    torch.testing.assert_close(shares.sum(dim=2), torch.ones(2, 196).double())
    resized = F.interpolate(shares.transpose(1, 2).unflatten(2, (14, 14)), (224, 224), mode="bilinear")
    torch.testing.assert_close(resized, get_grouping_from_attentions(attentions, (224, 224)), rtol=0, atol=1e-6)


def grouping(**assignment) -> tuple[GroupingBlock, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    block = GroupingBlock(16, 2, 6, 4, **assignment).double()
    return block, torch.randn(3, 10, 16).double(), torch.randn(3, 6, 16).double()


@torch.no_grad()
def test_hard_assignment_is_the_arg_max_and_an_empty_group_gets_nothing():
    block = grouping()[0].assign.eval()
    groups, segments = torch.randn(3, 4, 16).double(), torch.randn(3, 10, 16).double()
    values, soft = block(groups, segments)
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(3, 10).double())
    hard = F.one_hot(soft.argmax(dim=1), 4).transpose(1, 2).double()
    members = hard.sum(dim=2, keepdim=True)
    assert (members == 0).any()
    expected = block.proj(hard @ block.v_proj(segments) / (members + 1))
    torch.testing.assert_close(values, expected)
    empty = members[..., 0] == 0
    torch.testing.assert_close(values[empty], block.proj.bias.expand_as(values[empty]))


def test_gumbel_noise_is_drawn_while_training_only_and_never_in_the_map():
    block, segments, tokens = grouping()
    block.train()
    (first, soft), (second, again) = block(segments, tokens), block(segments, tokens)
    assert not torch.equal(first, second) and torch.equal(soft, again)
    block.eval()
    assert torch.equal(block(segments, tokens)[0], block(segments, tokens)[0])
    assert torch.equal(block(segments, tokens)[1], soft)


def test_the_gradient_reaches_both_projections_of_the_assignment():
    for gumbel in (True, False):
        block, segments, tokens = grouping(gumbel=gumbel)
        block(segments, tokens)[0].square().sum().backward()
        assert block.assign.q_proj.weight.grad.abs().max() > 0 and block.assign.k_proj.weight.grad.abs().max() > 0


def test_assign_scale_sharpens_the_map():
    block, segments, tokens = grouping()
    sharp = grouping(assign_scale=4.0)[0]
    assert sharp(segments, tokens)[1].max() > block(segments, tokens)[1].max()
    torch.testing.assert_close(sharp.assign.scale, 4 * block.assign.scale)


def test_layer_equals_timms_with_an_epsilon_of_1e_5():
    torch.manual_seed(0)
    ours, theirs = Layer(384, 6).double(), Block(384, 6, qkv_bias=True, norm_layer=nn.LayerNorm).double()
    state = {
        name.replace("attn.qkv.", "attn.in_proj_").replace("attn.proj.", "attn.out_proj."): tensor
        for name, tensor in theirs.state_dict().items()
    }
    ours.load_state_dict(state)
    x = 10 * torch.randn(2, 260, 384).double()
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-9)
    assert ours.norm1.eps == 1e-5
    torch.testing.assert_close(ours(x, x), ours(x))


def test_captions_get_clips_tokens_and_a_long_one_ends_in_its_end_token():
    network = GroupViT(encoder=SMALL["encoder"], text=TEXT).double()
    captions = ["It's 3 o'clock: a cat, (two) dogs & more!", "word " * 100]
    tokens = network.tokenizer(captions)
    assert torch.equal(tokens, open_clip.get_tokenizer("ViT-B-32")(captions))
    assert tokens[1, -1] == 49407 and tokens.max() == 49407
    tower = open_clip.transformer.TextTransformer(
        width=256, heads=4, layers=12, act_layer=open_clip.transformer.QuickGELU, output_dim=256, pool_type="argmax"
    ).double()
    state = tower.state_dict()
    nn.init.eye_(state.pop("text_projection"))
    network.text.load_state_dict(state)
    torch.testing.assert_close(network.text(tokens), tower(tokens), rtol=0, atol=1e-9)


def test_released_names_become_ours():
    torch.manual_seed(0)
    network = GroupViT(**SMALL, multi_label=True)
    released = {
        "img_encoder.patch_embed.proj.weight": "encoder.proj.weight",
        "img_encoder.patch_embed.norm.bias": "encoder.norm_patches.bias",
        "img_encoder.pos_embed": "encoder.position",
        "img_encoder.layers.1.group_token": "encoder.layers.1.group_token",
        "img_encoder.layers.1.group_projector.1.fc1.weight": "encoder.layers.1.group_projector.1.fc1.weight",
        "img_encoder.layers.2.blocks.0.attn.qkv.weight": "encoder.layers.2.blocks.0.attn.in_proj_weight",
        "img_encoder.layers.2.blocks.0.attn.proj.bias": "encoder.layers.2.blocks.0.attn.out_proj.bias",
        "img_encoder.layers.0.downsample.assign.q_proj.weight": "encoder.layers.0.downsample.assign.q_proj.weight",
        "img_encoder.layers.0.downsample.pre_assign_attn.attn.proj.weight": (
            "encoder.layers.0.downsample.pre_assign_attn.attn.out_proj.weight"
        ),
        "img_encoder.norm.weight": "encoder.norm.weight",
        "text_encoder.transformer.resblocks.0.attn.in_proj_weight": "text.transformer.resblocks.0.attn.in_proj_weight",
        "text_encoder.positional_embedding": "text.positional_embedding",
        "img_projector.linear_hidden.1.running_mean": "image_projector.norm.running_mean",
        "text_projector.linear_out.bias": "text_projector.out.bias",
        "logit_scale": "log_scale",
        "multi_label_logit_scale": "multi_label_log_scale",
    }
    ours = network.state_dict()
    renamed = group_vit_weights({theirs: ours[name] for theirs, name in released.items()})
    assert set(renamed) == set(released.values())
    assert all(torch.equal(renamed[name], ours[name]) for name in renamed)
    split = {f"img_encoder.layers.0.downsample.pre_assign_attn.attn.{n}_proj.bias": torch.full((16,), i)
             for i, n in enumerate("qkv")}  # fmt: skip
    name = "encoder.layers.0.downsample.pre_assign_attn.attn.in_proj_bias"
    assert group_vit_weights(split)[name].tolist() == [0] * 16 + [1] * 16 + [2] * 16
    convolution = group_vit_weights({"img_encoder.norm.bias": ours["encoder.norm.bias"],
                                     "img_projector.linear_out.weight": torch.ones(12, 24, 1)})  # fmt: skip
    assert convolution["image_projector.out.weight"].shape == (12, 24)


def test_the_published_sizes():
    """28.84 M, 22.15 M and 55.727 M parameters, counted on the released code."""
    network = GroupViT(encoder={}, text=TEXT, multi_label=False)
    counts = [sum(p.numel() for p in part.parameters()) / 1e6 for part in (network.encoder, network.text, network)]
    assert counts == pytest.approx([28.84, 22.15, 55.727], abs=0.005)


def test_a_stem_gives_as_many_patches_as_pixels_do():
    pixels = torch.randn(2, 3, 64, 48)
    plain = GroupViTEncoder(**SMALL["encoder"] | {"patch_size": 16})
    with_stem = GroupViTEncoder(**SMALL["encoder"] | {"patch_size": 16, "stem": "sample_cnn_light"})
    assert plain.embed(pixels).shape == with_stem.embed(pixels).shape == (2, 12, 16)


@pytest.mark.parametrize(("init", "spread"), [("released", 0.02), ("xavier", (2 / (256 + 1024)) ** 0.5)])
def test_linear_layers_start_as_init_says(init, spread):
    torch.manual_seed(0)
    encoder = SMALL["encoder"] | {"width": 256, "init": init}
    network = GroupViT(**SMALL | {"encoder": encoder, "hidden": 1024})
    block = network.encoder.layers[0].blocks[0]
    assert block.mlp.fc1.weight.std().item() == pytest.approx(spread, rel=0.05) and not block.mlp.fc1.bias.any()
    of_attention = 0.02 if init == "released" else (2 / (256 + 768)) ** 0.5
    assert block.attn.in_proj_weight.std().item() == pytest.approx(of_attention, rel=0.05)


@pytest.mark.parametrize("tower", ["image_projector", "text_projector"])
def test_projectors_start_as_the_released_convolutions(tower):
    """Uniform up to one over the root of the fan-in, biases too; the release has `nn.Conv1d` with torch's start."""
    torch.manual_seed(0)
    projector = getattr(GroupViT(**SMALL | {"hidden": 4096, "dim": 256}), tower)
    for layer in (projector.hidden, projector.out):
        bound = layer.in_features**-0.5
        for values in (layer.weight, layer.bias):
            assert values.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
            assert 0.9 * bound < values.abs().max().item() <= bound
    released = nn.Conv1d(4096, 256, 1)
    assert projector.out.weight.std().item() == pytest.approx(released.weight.std().item(), rel=0.01)
    assert projector.out.weight.std().item() == pytest.approx(0.0090, abs=5e-5)


def test_xavier_starts_projectors_too():
    torch.manual_seed(0)
    network = GroupViT(**SMALL | {"encoder": SMALL["encoder"] | {"width": 256, "init": "xavier"}, "hidden": 1024})
    hidden = network.image_projector.hidden
    assert hidden.weight.std().item() == pytest.approx((2 / (256 + 1024)) ** 0.5, rel=0.05) and not hidden.bias.any()


def test_an_unknown_init_is_refused():
    with pytest.raises(ValueError, match="init is 'zeros'; choose one of released, xavier"):
        GroupViT(**SMALL | {"encoder": SMALL["encoder"] | {"init": "zeros"}})


def test_the_scale_is_clamped_at_100():
    network = GroupViT(**SMALL)
    assert network.scale.item() == pytest.approx(1 / 0.07, rel=1e-5)
    network.log_scale.data.fill_(7)
    assert network.scale.item() == 100


def test_words_are_framed_and_cut_before_the_end_token():
    words = Words(vocabulary(["A red cat.", "a cat's tail"]), context_length=5)
    assert list(words.ids) == ["a", "cat", "cat's", "red", "tail"]
    assert words(["a red cat", "cat", "a a a a a a"]).tolist() == [[6, 1, 4, 2, 7], [6, 2, 7, 0, 0], [6, 1, 1, 1, 7]]
    with pytest.raises(InputError, match="never read the word 'dog'; choose from a, cat, cat's, red, tail"):
        words(["a dog"])
