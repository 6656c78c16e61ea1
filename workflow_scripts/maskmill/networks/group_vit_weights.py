"""Published weights of GroupViT, under the names of `GroupViT`.

This module knows two sets of names: those of the release NVlabs/GroupViT (`img_encoder.`, `text_encoder.`) and those of
the `transformers` package (`vision_model.`, `text_model.`). Both hold the same tensors, except that the release
concatenates query, key and value of a layer and has convolutions of size 1 in the projectors.
"""

import re

import torch
from torch import Tensor

RELEASED = (
    (r"^img_encoder\.patch_embed\.proj\.", "encoder.proj."),
    (r"^img_encoder\.patch_embed\.norm\.", "encoder.norm_patches."),
    (r"^img_encoder\.pos_embed$", "encoder.position"),
    (r"^img_encoder\.", "encoder."),
    (r"^text_encoder\.", "text."),
    (r"\.attn\.qkv\.(weight|bias)$", r".attn.in_proj_\1"),
    (r"\.attn\.proj\.", ".attn.out_proj."),
    (r"^img_projector\.", "image_projector."),
    (r"\.linear_hidden\.0\.", ".hidden."),
    (r"\.linear_hidden\.1\.", ".norm."),
    (r"\.linear_out\.", ".out."),
    (r"logit_scale$", "log_scale"),
)
TRANSFORMERS = (
    (r"^vision_model\.embeddings\.patch_embeddings\.projection\.", "encoder.proj."),
    (r"^vision_model\.embeddings\.layernorm\.", "encoder.norm_patches."),
    (r"^vision_model\.embeddings\.position_embeddings$", "encoder.position"),
    (r"^vision_model\.encoder\.stages\.(\d+)\.layers\.", r"encoder.layers.\1.blocks."),
    (r"^vision_model\.encoder\.stages\.", "encoder.layers."),
    (r"^vision_model\.layernorm\.", "encoder.norm."),
    (r"^text_model\.embeddings\.token_embedding\.", "text.token_embedding."),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "text.positional_embedding"),
    (r"^text_model\.final_layer_norm\.", "text.ln_final."),
    (r"^text_model\.encoder\.layers\.(\d+)\.layer_norm", r"text.transformer.resblocks.\1.ln_"),
    (r"^text_model\.encoder\.layers\.(\d+)\.mlp\.fc1", r"text.transformer.resblocks.\1.mlp.c_fc"),
    (r"^text_model\.encoder\.layers\.(\d+)\.mlp\.fc2", r"text.transformer.resblocks.\1.mlp.c_proj"),
    (r"^text_model\.encoder\.layers\.", "text.transformer.resblocks."),
    (r"\.self_attn\.", ".attn."),
    (r"\.layer_norm", ".norm"),
    (r"^visual_projection\.", "image_projector."),
    (r"^text_projection\.", "text_projector."),
    (r"^(image|text)_projector\.0\.", r"\1_projector.hidden."),
    (r"^(image|text)_projector\.1\.", r"\1_projector.norm."),
    (r"^(image|text)_projector\.3\.", r"\1_projector.out."),
    (r"^logit_scale$", "log_scale"),
)
SPLIT = re.compile(r"(.*\.attn\.)q_proj\.(weight|bias)$")  # attention only: the assignment keeps them separate


def group_vit_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict under the names of `GroupViT`."""
    names = RELEASED if any(name.startswith("img_encoder.") for name in state) else TRANSFORMERS
    state = {_renamed(name, names): tensor for name, tensor in state.items() if not name.endswith("position_ids")}
    for name in list(state):
        if match := SPLIT.match(name):
            start, kind = match.groups()
            parts = [state.pop(f"{start}{part}_proj.{kind}") for part in "qkv"]
            state[f"{start}in_proj_{kind}"] = torch.cat(parts)
    flat = ("_projector.hidden.weight", "_projector.out.weight")
    return {name: tensor.flatten(1) if name.endswith(flat) else tensor for name, tensor in state.items()}


def _renamed(name: str, names: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in names:
        name = re.sub(pattern, replacement, name)
    return name
