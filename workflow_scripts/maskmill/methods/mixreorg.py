"""MixReorg: patches of several images are mixed, and segments learn to tell them apart by their captions.

"MixReorg: Cross-Modal Mixed Patch Reorganization is a Good Mask Learner for Open-World Semantic Segmentation", ICCV
2023. Of the paper only abstract, introduction and one caption could be read: what follows is an implementation from
the published description. Certain: contextual mixing, progressive mixing, restoration, two-stage grouping of the
original, the mixed and the restored features, a segmentation loss of the mixed images and two contrastive losses.
Everything else is reconstructed (spec open_vocabulary 2.3 to 2.7) and marked so below.

Symbols:
    X^o, X^m, X^res    patches of the original, the mixed and the restored images, [B, L, D]
    p                  permutation, int64 [B/M, M, L]: mixed image i takes position l from image p[:, i, l] of its group
    y                  = p, the mixed patches' labels, 0..M-1
    A                  shares of patches in segments, [B, L, 8]
    z_g, t_m           unit vectors of segments [B, 8, D'] and of captions [B, D']
"""

import torch
from torch import Tensor, nn

from maskmill.methods.group_vit import contrastive_loss, gathered, multi_label_loss
from maskmill.networks.norms import running_statistics, still_statistics

PROBABILITY_FLOOR = 1e-6  # reconstructed
STATISTICS = {"batch": still_statistics, "running": running_statistics}  # of mixed segments; reconstructed


def draw_permutation(groups: int, members: int, rows: int, columns: int, block: int = 1, device=None) -> Tensor:
    """p of 2.3: at every position the M images of a group in another order, int64 [groups, M, rows * columns].

    Reconstructed, though that originals can be restored leaves no other choice than one permutation a position.

    Args:
        block: side of the squares of patches that keep together.
    """
    grid = -(-rows // block), -(-columns // block)
    order = torch.rand(groups, members, *grid, device=device).argsort(dim=1)
    order = order.repeat_interleave(block, dim=2).repeat_interleave(block, dim=3)
    return order[:, :, :rows, :columns].flatten(2)


def mix(patches: Tensor, permutation: Tensor) -> Tensor:
    """X^mix_{i,l} = X_{p_l(i),l}, [B, L, D]: positions stay, images change (2.3)."""
    groups = patches.unflatten(0, permutation.shape[:2])
    return groups.gather(1, permutation[..., None].expand_as(groups)).flatten(0, 1)


def unmix(patches: Tensor, permutation: Tensor) -> Tensor:
    """X^res_{m,l} = X^mix_{p_l^-1(m),l}: undoes `mix`."""
    return mix(patches, permutation.argsort(dim=1))


def branches(
    encoder,
    pixels: Tensor,
    permutation: Tensor,
    *,
    mix_layer: int = 1,
    progressive: str = "add",
    restored_tokens: str = "mixed",
) -> tuple:
    """The segments of the original, the mixed and the restored images (2.4 to 2.6, reconstructed).

    Patches are mixed behind the first `mix_layer` layers of the first stage, get fresh group tokens, and go on.

    Args:
        encoder: a `GroupViTEncoder`.
        pixels: normalised images [B, 3, H, W], groups of M in a row.
        mix_layer: k; 0 mixes patches that have not seen the rest of their image, but for what a stem sees around them.
        progressive: what the originals do for the mixed features behind every further layer: `add`, the mean with the
            mixed originals; `kv`, mixed features also attend to the group's originals; `none`.
        restored_tokens: group tokens of the restored images: `mixed`, the mean of the mixed ones over the group, which
            knows no single image; `original`, the originals', which let the restored branch answer without its patches.
    """
    _check("progressive", progressive, ("add", "kv", "none"))
    _check("restored_tokens", restored_tokens, ("mixed", "original"))
    members = permutation.shape[1]
    patches, tokens = encoder.embed(pixels), encoder.group_tokens(len(pixels))
    for number, layer in enumerate(encoder.layers[0].blocks):
        if number == mix_layer:
            mixed, mixed_tokens = mix(patches, permutation), encoder.group_tokens(len(pixels))
        others = _of_group(patches, members) if progressive == "kv" else None
        patches, tokens = encoder.apply_layer(layer, patches, tokens)
        if number >= mix_layer:
            mixed, mixed_tokens = encoder.apply_layer(layer, mixed, mixed_tokens, others)
            if progressive == "add":
                mixed = (mixed + mix(patches, permutation)) / 2
    restored = unmix(mixed, permutation)
    own = tokens if restored_tokens == "original" else _group_mean(mixed_tokens, members)
    return (
        encoder.group(patches, tokens),
        encoder.group(mixed, mixed_tokens),
        encoder.group(restored, own),
    )


def _of_group(patches: Tensor, members: int) -> Tensor:
    """Every image's patches beside those of its group, [B, M L, D]."""
    return patches.unflatten(0, (-1, members)).flatten(1, 2).repeat_interleave(members, dim=0)


def _group_mean(tokens: Tensor, members: int) -> Tensor:
    return tokens.unflatten(0, (-1, members)).mean(dim=1).repeat_interleave(members, dim=0)


def patch_probabilities(
    shares: Tensor, segments: Tensor, texts: Tensor, scale: Tensor, members: int, said: Tensor | None = None
) -> Tensor:
    """r_{l,m} = sum_g A_{l,g} P_{g,m}, [B, L, M]: which of its group's captions a mixed patch belongs to (2.7).

    P_{g,m} = softmax of s z_g t_m over the group's captions, or with `said` over those of the batch, of all devices.
    Reconstructed; the soft shares let gradients reach the assignment.

    Args:
        said: see `segmentation_loss`. Captions of other groups that share something with one of the group's are left
            out, for they are right as well.
    """
    of_group = texts.unflatten(0, (-1, members)).repeat_interleave(members, dim=0)
    logits = scale * segments @ of_group.transpose(1, 2)
    if said is not None:
        others = scale * segments @ gathered(texts).T
        left_out = _of_group_or_like_it(said, members).repeat_interleave(members, dim=0)
        others = others.masked_fill(left_out[:, None], -torch.inf)
        logits = torch.cat([logits, others], dim=2)
    return shares @ logits.softmax(dim=2)[..., :members]


def _of_group_or_like_it(said: Tensor, members: int) -> Tensor:
    """bool [B/M, B of all devices]: for every group, the captions that are its own or share something with one."""
    everyone = gathered(said)
    ids = everyone.unique()
    of_group = _named(said, ids).unflatten(0, (-1, members)).amax(dim=1)
    return of_group @ _named(everyone, ids).T > 0


def _named(said: Tensor, ids: Tensor) -> Tensor:
    """float [B, len(ids)]: 1 where a caption says one of the sorted ids; never for 0, which is none."""
    found = torch.zeros(len(said), len(ids), device=said.device)
    return found.scatter(1, torch.searchsorted(ids, said), 1.0) * (ids != 0)


def segmentation_loss(probabilities: Tensor, permutation: Tensor, said: Tensor) -> tuple[Tensor, Tensor]:
    """L_seg = -mean log r_{l,y} over the mixed patches, and the share of them whose largest r is the true one's (2.7).

    Args:
        probabilities: r [B, L, M].
        permutation: p; the labels.
        said: int64 [B, S], ids of what each caption says, 0 for none. Patches of an image that shares one with another
            image of its group have no single answer and do not count (2.10).
    """
    labels = permutation.flatten(0, 1)
    counted = _single(said, permutation)
    count = counted.sum().clamp(min=1)
    likelihood = probabilities.gather(2, labels[..., None])[..., 0].clamp(min=PROBABILITY_FLOOR)
    correct = probabilities.argmax(dim=2) == labels
    return -(likelihood.log() * counted).sum() / count, (correct & counted).sum() / count


def _single(said: Tensor, permutation: Tensor) -> Tensor:
    """bool [B, L]: mixed patches of images whose captions share nothing with another one of the group."""
    named = _named(said, said.unique()).unflatten(0, permutation.shape[:2])
    single = (named @ named.transpose(1, 2) > 0).sum(dim=2) == 1
    return single[:, :, None].expand_as(permutation).gather(1, permutation).flatten(0, 1)


class Pretraining(nn.Module):
    """The losses of a batch: MixReorg's, or without `mixing` those of its baseline, GroupViT.

    L = L_ori + L_res + lambda L_seg (2.7); L_ori and L_res are GroupViT's, with the same captions.

    Args:
        network: a `GroupViT`.
        soft_targets: whether images whose captions say the same share the contrastive targets.
        mixing: `members`, M; `block` of `draw_permutation`; `seg_targets`, whose captions L_seg compares: those of the
            `group` or of the `batch`; `mix_layer`, `progressive` and `restored_tokens` of
            `branches`; `statistics`, by which the image projector normalises mixed segments: those of their `batch`,
            or the `running` ones, as at inference; `weight`, lambda.
    """

    def __init__(self, network: nn.Module, *, soft_targets: bool = False, mixing: dict | None = None):
        super().__init__()
        self.network, self.soft_targets, self.mixing = network, soft_targets, mixing

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Named losses; see `terms`."""
        return self.terms(batch)[0]

    def terms(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor | None]:
        """Named losses, and the share of mixed patches that find their image's caption; None without mixing.

        Args:
            batch: `image` [B, 3, H, W]; `text`, token ids [B, 1 + K, T] of the caption and K noun prompts, K may be 0;
                `key`, int64 [B], equal for captions that say the same; `said`, see `segmentation_loss`.
        """
        network, images = self.network, batch["image"]
        texts = network.text_vectors(batch["text"].flatten(0, 1)).unflatten(0, batch["text"].shape[:2])
        if self.mixing is None:
            return self._contrast("original", network.encoder(images)[0], texts, batch["key"]), None
        chosen = self.mixing
        members, size = chosen["members"], network.patch_size
        rows, columns = images.shape[2] // size, images.shape[3] // size
        permutation = draw_permutation(len(images) // members, members, rows, columns, chosen["block"], images.device)
        how = {key: chosen[key] for key in ("mix_layer", "progressive", "restored_tokens")}
        original, mixed, restored = branches(network.encoder, images, permutation, **how)
        losses = self._contrast("original", original.features, texts, batch["key"])
        with still_statistics(network.image_projector):  # at inference, it meets originals only
            losses |= self._contrast("restored", restored.features, texts, batch["key"])
        with STATISTICS[chosen["statistics"]](network.image_projector):
            segments = network.image_vectors(mixed.features)
        said = batch["said"] if chosen["seg_targets"] == "batch" else None
        probabilities = patch_probabilities(mixed.shares, segments, texts[:, 0], network.scale, members, said)
        loss, accuracy = segmentation_loss(probabilities, permutation, batch["said"])
        return losses | {"segmentation": chosen["weight"] * loss}, accuracy

    def _contrast(self, name: str, features: Tensor, texts: Tensor, keys: Tensor) -> dict[str, Tensor]:
        images = self.network.image_vectors(features.mean(dim=1))
        keys = keys if self.soft_targets else None
        losses = {name: contrastive_loss(images, texts[:, 0], self.network.scale, keys)}
        if texts.shape[1] > 1:
            losses[f"{name}_nouns"] = multi_label_loss(images, texts[:, 1:], self.network.multi_label_scale)
        return losses


def _check(name: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(options)}")
