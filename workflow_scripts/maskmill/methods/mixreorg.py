"""MixReorg: patches of several images are mixed, and segments learn to tell them apart by their captions.

"MixReorg: Cross-Modal Mixed Patch Reorganization is a Good Mask Learner for Open-World Semantic Segmentation", ICCV
2023. Only the abstract, the introduction and the caption of Fig. 3 were available, so this is an implementation of the
published description. The paper gives contextual mixing, progressive mixing, restoration, two-stage grouping of the
original, the mixed and the restored features, a segmentation loss of the mixed images and two contrastive losses. All
else is reconstructed and marked so below.

Symbols:
    X^o, X^m, X^res    patches of the original, the mixed and the restored images, [B, L, D]
    p                  permutation, int64 [B/M, M, L]: mixed image i takes position l from image p[:, i, l] of its group
    y                  = p, labels of the mixed patches, 0..M-1
    A                  shares of patches in segments, [B, L, 8]
    z_g, t_m           unit vectors of segments [B, 8, D'] and of captions [B, D']
"""

import torch
from torch import Tensor, nn

from maskmill.choices import check_choice
from maskmill.methods.group_vit import contrastive_loss, gathered, multi_label_loss
from maskmill.networks.group_vit import GroupViT, GroupViTEncoder, Segments
from maskmill.networks.norms import running_statistics, still_statistics
from maskmill.training.devices import divisor

PROBABILITY_FLOOR = 1e-6  # reconstructed
STATISTICS = {"batch": still_statistics, "running": running_statistics}  # of mixed segments; reconstructed


def draw_permutation(
    groups: int, members: int, rows: int, columns: int, block: int = 1, device: torch.device | None = None
) -> Tensor:
    """p, the order of a group's M images at every position: int64 [groups, M, rows * columns].

    Reconstructed; but since the originals can be restored, each position must have a permutation.

    Args:
        groups, members: number of groups, and M.
        rows, columns: of the grid of patches.
        block: side, in patches, of the squares that are not separated.
    """
    grid = -(-rows // block), -(-columns // block)
    order = torch.rand(groups, members, *grid, device=device).argsort(dim=1)
    order = order.repeat_interleave(block, dim=2).repeat_interleave(block, dim=3)
    return order[:, :, :rows, :columns].flatten(2)


def mix(patches: Tensor, permutation: Tensor) -> Tensor:
    """X^m_{i,l} = X_{p_l(i),l}, [B, L, D]: positions stay, images change."""
    groups = patches.unflatten(0, permutation.shape[:2])
    return groups.gather(1, permutation[..., None].expand_as(groups)).flatten(0, 1)


def unmix(patches: Tensor, permutation: Tensor) -> Tensor:
    """X^res_{m,l} = X^m_{p_l^-1(m),l}, [B, L, D]: the inverse of `mix`."""
    return mix(patches, permutation.argsort(dim=1))


def branches(
    encoder: GroupViTEncoder,
    pixels: Tensor,
    permutation: Tensor,
    *,
    mix_layer: int = 1,
    progressive: str = "add",
    restored_tokens: str = "mixed",
) -> tuple[Segments, Segments, Segments]:
    """The segments of the original, the mixed and the restored images (reconstructed).

    Patches are mixed behind the first `mix_layer` layers of the first stage. There the mixed images get new group
    tokens, and both branches pass through the further layers.

    Args:
        pixels: normalised images [B, 3, H, W]; M images in a row are a group.
        permutation: p.
        mix_layer: number of layers before mixing. With 0, a patch has no context of its image, except for the receptive
            field of a stem.
        progressive: use of the original features in every further layer: `add`, the mean of the mixed features and the
            mixed originals; `kv`, mixed features also attend to the originals of their group; `none`.
        restored_tokens: group tokens of the restored images: `mixed`, the mean of the mixed images' tokens over the
            group, which contains no single image; `original`, the tokens of the originals, with which the restored
            branch can ignore its patches.
    """
    check_choice("progressive", progressive, ("add", "kv", "none"))
    check_choice("restored_tokens", restored_tokens, ("mixed", "original"))
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
    start = tokens if restored_tokens == "original" else _group_mean(mixed_tokens, members)
    return (
        encoder.group(patches, tokens),
        encoder.group(mixed, mixed_tokens),
        encoder.group(restored, start),
    )


def _of_group(patches: Tensor, members: int) -> Tensor:
    """For every image the patches of all images of its group, [B, M L, D]."""
    return patches.unflatten(0, (-1, members)).flatten(1, 2).repeat_interleave(members, dim=0)


def _group_mean(tokens: Tensor, members: int) -> Tensor:
    return tokens.unflatten(0, (-1, members)).mean(dim=1).repeat_interleave(members, dim=0)


def patch_probabilities(
    shares: Tensor, segments: Tensor, texts: Tensor, scale: Tensor, members: int, contents: Tensor | None = None
) -> Tensor:
    """r_{l,m} = sum_g A_{l,g} P_{g,m}, [B, L, M]: probability that a mixed patch belongs to caption m of its group.

    P_{g,m} is the softmax of s z_g t_m over the captions of the group, or with `contents` over those of the batches of
    all devices. Reconstructed; with soft shares, gradients reach the assignment.

    Args:
        shares: A.
        segments, texts: z [B, 8, D'] and t [B, D'].
        scale: s.
        members: M.
        contents: see `segmentation_loss`. Captions of other groups that share an id with a caption of the group are
            left out, because they are correct as well.
    """
    of_group = texts.unflatten(0, (-1, members)).repeat_interleave(members, dim=0)
    logits = scale * segments @ of_group.transpose(1, 2)
    if contents is not None:
        others = scale * segments @ gathered(texts).T
        left_out = _of_group_or_like_it(contents, members).repeat_interleave(members, dim=0)
        others = others.masked_fill(left_out[:, None], -torch.inf)
        logits = torch.cat([logits, others], dim=2)
    return shares @ logits.softmax(dim=2)[..., :members]


def _of_group_or_like_it(contents: Tensor, members: int) -> Tensor:
    """Bool [B/M, B of all devices]: for every group, its own captions and those that share an id with one of them."""
    all_contents = gathered(contents)
    ids = all_contents.unique()
    of_group = _membership(contents, ids).unflatten(0, (-1, members)).amax(dim=1)
    return of_group @ _membership(all_contents, ids).T > 0


def _membership(contents: Tensor, ids: Tensor) -> Tensor:
    """Float [B, len(ids)]: 1 where a caption has one of the sorted ids; 0 for the id 0, which stands for none."""
    zeros = torch.zeros(len(contents), len(ids), device=contents.device)
    return zeros.scatter(1, torch.searchsorted(ids, contents), 1.0) * (ids != 0)


def segmentation_loss(probabilities: Tensor, permutation: Tensor, contents: Tensor) -> tuple[Tensor, Tensor]:
    """L_seg = -mean log r_{l,y} over the mixed patches, and the accuracy of the largest r; scalars.

    Args:
        probabilities: r [B, L, M].
        permutation: p, the labels.
        contents: int64 [B, S], ids of each caption's contents (its nouns, or itself), 0 for none. Patches of an image
            that shares an id with another image of its group have no single correct answer and do not count.
    """
    labels = permutation.flatten(0, 1)
    counted = _unambiguous(contents, permutation)
    count = divisor(counted.sum())
    likelihood = probabilities.gather(2, labels[..., None])[..., 0].clamp(min=PROBABILITY_FLOOR)
    correct = probabilities.argmax(dim=2) == labels
    return -(likelihood.log() * counted).sum() / count, (correct & counted).sum() / count


def _unambiguous(contents: Tensor, permutation: Tensor) -> Tensor:
    """Bool [B, L]: mixed patches of images whose captions share no id with another caption of the group."""
    membership = _membership(contents, contents.unique()).unflatten(0, permutation.shape[:2])
    single = (membership @ membership.transpose(1, 2) > 0).sum(dim=2) == 1
    return single[:, :, None].expand_as(permutation).gather(1, permutation).flatten(0, 1)


class Pretraining(nn.Module):
    """The losses of a batch: MixReorg's, or without `mixing` those of its baseline, GroupViT.

    L = L_ori + L_res + lambda L_seg; L_ori and L_res are GroupViT's losses with the same captions.

    Args:
        network: the network that learns.
        soft_targets: whether images whose captions have the same content share the contrastive targets.
        mixing: `members`, M; `block` of `draw_permutation`; `seg_targets`, the captions that L_seg compares: those of
            the `group` or of the `batch`; `mix_layer`, `progressive` and `restored_tokens` of `branches`; `statistics`
            with which the image projector normalises mixed segments: those of the `batch`, or the `running` ones, as at
            inference; `weight`, lambda.
    """

    def __init__(self, network: GroupViT, *, soft_targets: bool = False, mixing: dict | None = None):
        super().__init__()
        self.network, self.soft_targets, self.mixing = network, soft_targets, mixing

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Named losses; see `terms`."""
        return self.terms(batch)[0]

    def terms(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor | None]:
        """Named losses, and the accuracy of `segmentation_loss`, which is None without mixing.

        Args:
            batch: `image`, normalised [B, 3, H, W]; `text`, token ids [B, 1 + K, T] of the caption and K noun prompts
                (K may be 0); `key`, int64 [B], equal for captions with the same content; `concepts`, the contents of
                `segmentation_loss`.
        """
        network, images = self.network, batch["image"]
        texts = network.text_vectors(batch["text"].flatten(0, 1)).unflatten(0, batch["text"].shape[:2])
        if self.mixing is None:
            return self._contrast("original", network.encoder(images)[0], texts, batch["key"]), None
        mixing = self.mixing
        members, size = mixing["members"], network.patch_size
        rows, columns = images.shape[2] // size, images.shape[3] // size
        permutation = draw_permutation(len(images) // members, members, rows, columns, mixing["block"], images.device)
        options = {key: mixing[key] for key in ("mix_layer", "progressive", "restored_tokens")}
        original, mixed, restored = branches(network.encoder, images, permutation, **options)
        losses = self._contrast("original", original.features, texts, batch["key"])
        # Only the originals move the running statistics, because inference sees nothing else.
        with still_statistics(network.image_projector):
            losses |= self._contrast("restored", restored.features, texts, batch["key"])
        with STATISTICS[mixing["statistics"]](network.image_projector):
            segments = network.image_vectors(mixed.features)
        contents = batch["concepts"] if mixing["seg_targets"] == "batch" else None
        probabilities = patch_probabilities(mixed.shares, segments, texts[:, 0], network.scale, members, contents)
        loss, accuracy = segmentation_loss(probabilities, permutation, batch["concepts"])
        return losses | {"segmentation": mixing["weight"] * loss}, accuracy

    def _contrast(self, name: str, features: Tensor, texts: Tensor, keys: Tensor) -> dict[str, Tensor]:
        images = self.network.image_vectors(features.mean(dim=1))
        shared = keys if self.soft_targets else None
        losses = {name: contrastive_loss(images, texts[:, 0], self.network.scale, shared)}
        if texts.shape[1] > 1:
            losses[f"{name}_nouns"] = multi_label_loss(images, texts[:, 1:], self.network.multi_label_scale)
        return losses
