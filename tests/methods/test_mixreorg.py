"""GroupViT's losses against open_clip and closed forms, and invariants of MixReorg."""

import math

import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss

from maskmill.methods.group_vit import contrastive_loss, multi_label_loss, segments_used
from maskmill.methods.mixreorg import (
    PROBABILITY_FLOOR,
    Pretraining,
    branches,
    draw_permutation,
    mix,
    patch_probabilities,
    segmentation_loss,
    unmix,
)
from maskmill.networks.group_vit import GroupViT

NETWORK = {
    "encoder": {
        **{"image_size": 32, "patch_size": 8, "width": 16, "heads": 2, "depths": (3, 1, 1), "groups": (6, 3)},
        **{"drop_path": 0.0, "gumbel": False, "assign_scale": 4.0},
    },
    "text": {"width": 16, "heads": 2, "layers": 1, "context_length": 6},
    "hidden": 24,
    "dim": 12,
    "words": ["a", "cat", "cow", "dog", "red"],
}
MIXING = {"block": 1, "mix_layer": 0, "progressive": "none", "restored_tokens": "mixed", "weight": 1.0}
MIXING |= {"statistics": "batch", "seg_targets": "group"}


@pytest.fixture
def network() -> GroupViT:
    torch.manual_seed(0)
    network = GroupViT(**NETWORK, multi_label=True).double()
    for parameter in network.parameters():  # initial weights make segments that are all alike
        if parameter.ndim > 1:
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return network


def batch_of(network, captions: list[str], prompts: int = 0) -> dict[str, torch.Tensor]:
    texts = network.tokenizer(captions)[:, None].expand(-1, 1 + prompts, -1)
    keys = torch.tensor([hash(caption) for caption in captions])
    images = torch.randn(len(captions), 3, 32, 32).double()
    return {"image": images, "text": texts, "key": keys, "concepts": keys[:, None]}


def unit(*shape) -> torch.Tensor:
    return F.normalize(torch.randn(*shape).double(), dim=-1)


# GroupViT


def test_contrastive_loss_equals_open_clips():
    torch.manual_seed(0)
    images, texts, scale = unit(6, 256), unit(6, 256), torch.tensor(1 / 0.07).double()
    torch.testing.assert_close(contrastive_loss(images, texts, scale), ClipLoss()(images, texts, scale))


def test_segments_used_are_those_that_are_some_patchs_first():
    shares = torch.full((2, 8, 3), 0.15)
    shares[0, :, 2] = 0.8  # all patches of the first image in one segment
    shares[1, :4, 0] = shares[1, 4:, 1] = 0.8  # halves of the second in two
    shares[1, ::2, 2] = 0.05  # in all three some patch has its smallest share
    used, entropy = segments_used(shares)
    assert used.item() == pytest.approx(1.5) and entropy.item() == pytest.approx(math.log(2) / 2)


def test_multi_label_loss_equals_its_closed_form():
    torch.manual_seed(0)
    images, prompts, scale = unit(6, 256), unit(6, 3, 256), torch.tensor(1 / 0.07).double()
    logits = scale * torch.einsum("id,jkd->ijk", images, prompts)
    of_images = -torch.stack([logits[i].flatten().log_softmax(0).reshape(6, 3)[i].mean() for i in range(6)]).mean()
    of_texts = -torch.stack([logits[:, j, k].log_softmax(0)[j] for j in range(6) for k in range(3)]).mean()
    torch.testing.assert_close(multi_label_loss(images, prompts, scale), (of_images + of_texts) / 2)


def test_captions_that_say_the_same_share_the_target():
    torch.manual_seed(0)
    images, texts, scale = unit(4, 8), unit(4, 8), torch.tensor(5.0).double()
    logits = scale * images @ texts.T
    targets = torch.tensor([[1, 0, 1, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 2]]).double() / 2
    expected = (
        -((targets * logits.log_softmax(1)).sum(1).mean() + (targets * logits.T.log_softmax(1)).sum(1).mean()) / 2
    )
    keys = torch.tensor([7, 5, 7, -3])
    torch.testing.assert_close(contrastive_loss(images, texts, scale, keys), expected)
    alone = contrastive_loss(images, texts, scale, torch.arange(4))
    torch.testing.assert_close(alone, contrastive_loss(images, texts, scale))


def _loss_of_one_of_two(rank: int, address: str, images, texts, prompts, results) -> None:
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    own = slice(3 * rank, 3 * rank + 3)
    images, texts = images[own].clone().requires_grad_(), texts[own]
    keys = torch.tensor([0, 1, 2, 0, 3, 4])[own]
    loss = contrastive_loss(images, texts, torch.tensor(9.0).double(), keys)
    loss = loss + multi_label_loss(images, prompts[own], torch.tensor(9.0).double())
    loss.backward()
    results[rank] = (loss.item(), images.grad)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_negatives_come_from_all_devices(tmp_path):
    torch.manual_seed(0)
    images, texts, prompts, scale = unit(6, 8).requires_grad_(), unit(6, 8), unit(6, 2, 8), torch.tensor(9.0).double()
    loss = contrastive_loss(images, texts, scale, torch.tensor([0, 1, 2, 0, 3, 4]))
    loss = loss + multi_label_loss(images, prompts, scale)
    loss.backward()
    results = torch.multiprocessing.get_context("spawn").Manager().dict()
    arguments = (f"file://{tmp_path}/store", images.detach(), texts, prompts, results)
    torch.multiprocessing.spawn(_loss_of_one_of_two, arguments, nprocs=2)
    assert [results[rank][0] for rank in (0, 1)] == pytest.approx([loss.item()] * 2)
    # Data-parallel training averages over the devices.
    gradient = torch.cat([results[rank][1] for rank in (0, 1)]) / 2
    torch.testing.assert_close(gradient, images.grad)


# MixReorg


@pytest.mark.parametrize("block", [1, 3])
def test_unmix_undoes_mix_and_every_position_has_a_permutation(block):
    torch.manual_seed(0)
    patches, permutation = torch.randn(12, 4 * 5, 7), draw_permutation(3, 4, 4, 5, block)
    assert torch.equal(unmix(mix(patches, permutation), permutation), patches)
    assert torch.equal(mix(unmix(patches, permutation), permutation), patches)
    assert torch.equal(permutation.sort(dim=1).values, torch.arange(4)[None, :, None].expand(3, 4, 20))
    assert len({tuple(position) for position in permutation[0].T.tolist()}) > 1


def test_blocks_of_patches_keep_together():
    torch.manual_seed(0)
    order = draw_permutation(1, 4, 4, 5, block=2).unflatten(2, (4, 5))[0]
    assert torch.equal(order[:, ::2, :4:2], order[:, 1::2, 1::2]) and torch.equal(order[:, ::2, 4], order[:, 1::2, 4])
    assert not torch.equal(order[:, :2], order[:, 2:])


def test_the_labels_say_which_image_a_mixed_patch_is_from():
    torch.manual_seed(0)
    permutation = draw_permutation(2, 3, 4, 4)
    numbers = torch.arange(3).repeat(2)[:, None, None].expand(6, 16, 1)
    assert torch.equal(mix(numbers, permutation)[..., 0], permutation.flatten(0, 1))


def give_the_originals_tokens(encoder) -> None:
    """Fresh group tokens become those that the originals have at that depth."""
    seen, apply_layer = [encoder.group_tokens(6)], encoder.apply_layer

    def recorded(layer, patches, tokens, others=None):
        patches, tokens = apply_layer(layer, patches, tokens, others)
        seen.append(tokens)
        return patches, tokens

    encoder.apply_layer, encoder.group_tokens = recorded, lambda batch: seen[-1]


@pytest.mark.parametrize("progressive", ["none", "add"])
@pytest.mark.parametrize("mix_layer", [0, 1, 2])
@torch.no_grad()
def test_images_mixed_with_themselves_are_the_originals(network, mix_layer, progressive):
    encoder = network.encoder.eval()
    give_the_originals_tokens(encoder)
    identity = torch.arange(3)[None, :, None].expand(2, 3, 16)
    pixels = torch.randn(6, 3, 32, 32).double()
    original, mixed, _ = branches(encoder, pixels, identity, mix_layer=mix_layer, progressive=progressive)
    for ours, expected in zip(mixed, original, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(original.features, encoder.group(*_first_stage(encoder, pixels)).features)


def _first_stage(encoder, pixels):
    patches, tokens = encoder.embed(pixels), encoder.layers[0].group_token.expand(len(pixels), -1, -1)
    for layer in encoder.layers[0].blocks:
        patches, tokens = encoder.apply_layer(layer, patches, tokens)
    return patches, tokens


@torch.no_grad()
def test_progressive_readings_let_the_originals_in(network):
    torch.manual_seed(1)
    pixels, permutation = torch.randn(6, 3, 32, 32).double(), draw_permutation(2, 3, 4, 4)
    outputs = {
        progressive: branches(network.encoder, pixels, permutation, progressive=progressive)
        for progressive in ("none", "add", "kv")
    }
    for progressive in ("add", "kv"):
        assert torch.equal(outputs[progressive][0].features, outputs["none"][0].features)
        assert not torch.allclose(outputs[progressive][1].features, outputs["none"][1].features)
    other = pixels.clone()
    other[3:] = torch.randn(3, 3, 32, 32)
    for progressive in outputs:  # and none of another group
        mixed = branches(network.encoder, other, permutation, progressive=progressive)[1].features
        torch.testing.assert_close(mixed[:3], outputs[progressive][1].features[:3])


def test_the_segmentation_loss_is_0_for_the_true_map_and_known_for_a_wrong_one():
    torch.manual_seed(0)
    permutation, texts = draw_permutation(2, 3, 4, 4), torch.eye(6).double()
    labels, contents = permutation.flatten(0, 1), torch.arange(1, 7)[:, None]
    segments = texts.unflatten(0, (2, 3)).repeat_interleave(3, dim=0)  # segment g of an image is text g of its group

    def loss(assigned):
        shares = F.one_hot(assigned, 3).double()
        return segmentation_loss(patch_probabilities(shares, segments, texts, 100.0, 3), permutation, contents)

    value, accuracy = loss(labels)
    assert value.item() == pytest.approx(0, abs=1e-12) and accuracy == 1
    value, accuracy = loss((labels + 1) % 3)
    assert value.item() == pytest.approx(-math.log(PROBABILITY_FLOOR)) and accuracy == 0
    even = patch_probabilities(torch.full((6, 16, 3), 1 / 3).double(), segments, texts, 100.0, 3)
    assert segmentation_loss(even, permutation, contents)[0].item() == pytest.approx(math.log(3))


def test_candidates_may_be_all_captions_of_the_batch_but_those_that_are_right_as_well():
    torch.manual_seed(0)
    shares, segments, texts, scale = torch.rand(6, 16, 4).double(), unit(6, 4, 8), unit(6, 8), torch.tensor(3.0)
    contents = torch.tensor([[5, 0], [6, 7], [-8, 0], [7, 9], [10, 0], [11, 0]])  # caption 3 shares 7 with caption 1
    candidates = [[0, 1, 2, 4, 5]] * 3 + [[3, 4, 5, 0, 2]] * 3  # the group's first
    expected = torch.stack([
        shares[image] @ (scale * segments[image] @ texts[of_image].T).softmax(dim=1)[:, :3]
        for image, of_image in enumerate(candidates)
    ])  # fmt: skip
    torch.testing.assert_close(patch_probabilities(shares, segments, texts, scale, 3, contents), expected)
    one_group = patch_probabilities(shares, segments, texts, scale, 6)
    torch.testing.assert_close(patch_probabilities(shares, segments, texts, scale, 6, contents), one_group)


def test_seg_targets_choose_the_candidates(network):
    batch = batch_of(network, ["a cat", "a red dog", "a cow", "red"])
    losses = []
    for targets, members in (("group", 2), ("batch", 2), ("group", 4), ("batch", 4)):
        torch.manual_seed(3)
        objective = Pretraining(network, mixing={**MIXING, "members": members, "seg_targets": targets})
        losses.append(objective(batch)["segmentation"])
    assert losses[1] > losses[0]
    torch.testing.assert_close(losses[2], losses[3])


def _probabilities_of_one_of_two(rank: int, address: str, shares, segments, texts, contents, results) -> None:
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    own = slice(2 * rank, 2 * rank + 2)
    scale = torch.tensor(3.0).double()
    results[rank] = patch_probabilities(shares[own], segments[own], texts[own], scale, 2, contents[own])
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_candidates_come_from_all_devices(tmp_path):
    torch.manual_seed(0)
    values = torch.rand(4, 16, 3).double(), unit(4, 3, 8), unit(4, 8)
    contents = torch.tensor([[5, 0], [6, 7], [-8, 0], [7, 9]])
    expected = patch_probabilities(*values, torch.tensor(3.0).double(), 2, contents)
    results = torch.multiprocessing.get_context("spawn").Manager().dict()
    arguments = (f"file://{tmp_path}/store", *values, contents, results)
    torch.multiprocessing.spawn(_probabilities_of_one_of_two, arguments, nprocs=2)
    torch.testing.assert_close(torch.cat([results[0], results[1]]), expected)


@pytest.mark.parametrize("contents", [[[4, 0], [4, 0], [9, 0]], [[4, 5], [6, 4], [9, 7]]])
def test_patches_of_images_that_share_what_their_captions_say_do_not_count(contents):
    permutation = torch.tensor([[[0, 1], [1, 2], [2, 0]]])
    right = torch.tensor([0.5, 0.25]).double()
    probabilities = torch.full((3, 2, 3), 0.01).double()
    probabilities[1, 1, 2], probabilities[2, 0, 2] = right  # the two patches of image 2
    loss, accuracy = segmentation_loss(probabilities, permutation, torch.tensor(contents))
    torch.testing.assert_close(loss, -right.log().mean())
    assert accuracy == 1
    loss, accuracy = segmentation_loss(probabilities, permutation, torch.tensor([[4, 1], [4, 3], [3, 9]]))
    assert loss == 0 and accuracy == 0


def test_the_segmentation_loss_reaches_every_part(network):
    batch = batch_of(network, ["a cat", "a red dog", "a cow", "red"])
    objective = Pretraining(network, mixing={**MIXING, "members": 4})
    objective(batch)["segmentation"].backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    # The same for all groups that the softmax compares; a shift that layer or batch norm takes out; of nouns.
    silent = ("assign.q_proj.bias", "mlp_inter.fc2.bias", "group_projector.1.fc2.bias", "projector.hidden.bias")
    silent += ("encoder.norm.bias", "ln_final.bias", "multi_label_log_scale")
    without = {name for name in gradients if name.endswith(silent)}
    for name, gradient in gradients.items():
        largest = 0.0 if gradient is None else gradient.abs().max().item()
        assert largest < 1e-12 if name in without else largest > 1e-12, name
    assert (gradients["encoder.position"].abs().amax(dim=2) > 0).all()


def test_one_image_a_group_is_its_own_restoration(network):
    batch = batch_of(network, ["a cat", "a red dog", "a cow", "red"])
    losses = Pretraining(network, mixing={**MIXING, "members": 1})(batch)
    assert losses["segmentation"].item() == pytest.approx(0, abs=1e-9)
    torch.testing.assert_close(losses["restored"], losses["original"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("progressive", ["none", "add"])
def test_the_restored_branch_answers_from_its_patches_alone(network, progressive):
    torch.manual_seed(0)
    encoder, calls = network.encoder, []
    group = encoder.group
    encoder.group = lambda patches, tokens: calls.append((patches, tokens)) or group(patches, tokens)
    pixels, permutation = torch.randn(4, 3, 32, 32).double(), draw_permutation(1, 4, 4, 4)

    def changes(restored_tokens):
        calls.clear()
        branches(encoder, pixels, permutation, mix_layer=1, progressive=progressive, restored_tokens=restored_tokens)
        (_, of_originals), _, (patches, tokens) = calls
        leak = torch.autograd.grad(tokens.sum(), of_originals, allow_unused=True)[0]
        of_one_image = (tokens - tokens[:1]).abs().max().item()
        vector = group(patches, tokens).features[0].mean(dim=0)
        swapped = group(patches.roll(1, dims=0), tokens).features[0].mean(dim=0)
        return (swapped - vector).norm().item(), 0.0 if leak is None else leak.norm().item(), of_one_image

    by_patches, by_tokens, of_one_image = changes("mixed")
    assert by_patches > 1e-3 and by_tokens == of_one_image == 0
    assert min(changes("original")[1:]) > 0


def test_the_losses_of_a_batch_and_the_baselines(network):
    batch = batch_of(network, ["a cat", "a red dog", "a cow", "red"], prompts=2)
    assert set(Pretraining(network)(batch)) == {"original", "original_nouns"}
    losses, accuracy = Pretraining(network, mixing={**MIXING, "members": 2, "weight": 0.5}).terms(batch)
    assert set(losses) == {"original", "original_nouns", "restored", "restored_nouns", "segmentation"}
    assert 0 <= accuracy <= 1
    torch.manual_seed(3)
    half = Pretraining(network, mixing={**MIXING, "members": 2, "weight": 0.5})(batch)["segmentation"]
    torch.manual_seed(3)
    torch.testing.assert_close(2 * half, Pretraining(network, mixing={**MIXING, "members": 2})(batch)["segmentation"])


def test_captions_share_their_targets_only_where_soft_targets_are_asked_for(network):
    batch = batch_of(network, ["a cat", "a red dog", "a cow", "red"])
    batch["key"] = torch.tensor([7, 7, 5, -3])
    images = network.image_vectors(network.encoder(batch["image"])[0].mean(dim=1))
    pairs = images, network.text_vectors(batch["text"][:, 0]), network.scale
    hard, soft = Pretraining(network)(batch), Pretraining(network, soft_targets=True)(batch)
    assert set(hard) == set(soft) == {"original"}, "without prompts there is no term of nouns"
    torch.testing.assert_close(hard["original"], contrastive_loss(*pairs))
    torch.testing.assert_close(soft["original"], contrastive_loss(*pairs, batch["key"]))
    assert not torch.allclose(hard["original"], soft["original"])


def test_only_originals_move_the_projectors_statistics(network):
    batch, norm = batch_of(network, ["a cat", "a red dog", "a cow", "red"]), network.image_projector.norm
    Pretraining(network, mixing={**MIXING, "members": 2})(batch)
    mixed = norm.running_mean.clone()
    assert mixed.abs().sum() > 0
    norm.reset_running_stats()
    Pretraining(network)(batch)
    torch.testing.assert_close(norm.running_mean, mixed)


def test_mixed_segments_may_be_normalised_as_at_inference(network):
    batch = batch_of(network, ["a cat", "a red dog", "a cow", "red"])
    losses, means = {}, {}
    for statistics in ("batch", "running"):
        torch.manual_seed(3)
        network.image_projector.norm.reset_running_stats()
        objective = Pretraining(network, mixing={**MIXING, "members": 2, "statistics": statistics})
        losses[statistics] = objective(batch)
        means[statistics] = network.image_projector.norm.running_mean.clone()
        sum(losses[statistics].values()).backward()
    assert torch.equal(means["batch"], means["running"])
    for name in ("original", "restored"):
        torch.testing.assert_close(losses["batch"][name], losses["running"][name])
    assert not torch.allclose(losses["batch"]["segmentation"], losses["running"]["segmentation"])


def test_an_unknown_reading_is_refused(network):
    pixels, permutation = torch.zeros(2, 3, 32, 32).double(), draw_permutation(1, 2, 4, 4)
    for wrong in ({"progressive": "once"}, {"restored_tokens": "none"}):
        with pytest.raises(ValueError, match="choose one of"):
            branches(network.encoder, pixels, permutation, **wrong)
