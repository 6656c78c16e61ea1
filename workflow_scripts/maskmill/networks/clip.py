"""Image-text models that teach ZeroSeg: any of open_clip's with weights of your own, or a small one trained here.

Both have `image_size`, `mean`, `std` of their input, `dim` of the space of images and texts, `encode_image`,
`tokenizer`, `text_features` and `scale`.
"""

import difflib
import math
import pickle
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import TextTransformer
from safetensors import SafetensorError
from torch import Tensor, nn

from maskmill.errors import InputError
from maskmill.networks.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone, build_backbone
from maskmill.storage.checkpoints import load_network


class TinyCLIP(nn.Module):
    """A backbone and a text tower of a layer or two, for the sample scenes.

    Args:
        image_size: pixels.
        backbone: see `build_backbone`; its last maps are averaged.
        dim: of the shared space.
        text: context length, width, heads and layers of the text tower, which reads CLIP's pieces of words.
    """

    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, *, image_size: int, backbone: str, dim: int, text: dict):
        super().__init__()
        self.arguments = {"image_size": image_size, "backbone": backbone, "dim": dim, "text": text}
        self.image_size, self.dim = image_size, dim
        self.tokenizer = SimpleTokenizer(context_length=text["context_length"])
        self.backbone = build_backbone(backbone)
        self.image_projection = nn.Linear(self.backbone.channels[-1], dim)
        self.text = TextTransformer(**text, vocab_size=self.tokenizer.vocab_size, output_dim=dim, pool_type="argmax")
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def scale(self) -> Tensor:
        """Of the logits, a scalar, at most 100."""
        return self.log_scale.exp().clamp(max=100)

    def forward(self, pixels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of images [B, dim] and of texts [n, dim]; see below for what goes in."""
        return F.normalize(self.encode_image(pixels), dim=-1), F.normalize(self.text_features(tokens), dim=-1)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Normalised images [B, 3, image_size, image_size] to vectors [B, dim], not normalised."""
        return self.image_projection(self.backbone(pixels)[-1].mean(dim=(2, 3)))

    def text_features(self, tokens: Tensor) -> Tensor:
        """Token ids [B, T] to vectors [B, dim], not normalised."""
        return self.text(tokens)


class OpenCLIP(nn.Module):
    """A model of open_clip with weights from a local file. See `TinyCLIP` for the interface."""

    def __init__(self, name: str, weights: str | Path):
        super().__init__()
        self.model = open_clip.create_model(name, pretrained=str(weights))
        given = open_clip.get_model_preprocess_cfg(self.model)
        size = given["size"]
        self.image_size, self.mean, self.std = size if isinstance(size, int) else size[0], given["mean"], given["std"]
        self.tokenizer = open_clip.get_tokenizer(name)
        self.dim = open_clip.get_model_config(name)["embed_dim"]

    @property
    def scale(self) -> Tensor:
        return self.model.logit_scale.exp()

    def encode_image(self, pixels: Tensor) -> Tensor:
        return self.model.encode_image(pixels)

    def text_features(self, tokens: Tensor) -> Tensor:
        return self.model.encode_text(tokens)


def start_stem(stem: Backbone | None, checkpoint: str | Path) -> None:
    """Start a stem from the trained backbone of a `TinyCLIP`.

    Raises:
        InputError: there is no stem, or it is another network.
    """
    tower = load_network(checkpoint, TinyCLIP)
    try:
        stem.load_state_dict(tower.backbone.state_dict())
    except (AttributeError, RuntimeError):
        name = tower.arguments["backbone"]
        raise InputError(
            f"config: stem_init is tiny_clip, but network.stem is not its {name}; set it to {name}"
        ) from None


def load_teacher(name: str, weights: str | Path | None) -> nn.Module:
    """A teacher in evaluation mode.

    Args:
        name: `tiny`, or one of open_clip's models. Weights that OpenAI released need the names that end in -quickgelu.
        weights: a checkpoint of `TinyCLIP`, or a file that open_clip reads; safetensors, or weights alone.

    Raises:
        InputError: no such model or file, or weights of another model.
    """
    if name == "tiny":
        return load_network(weights, TinyCLIP)
    known = open_clip.list_models()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1) or ["ViT-L-14-quickgelu"]
        raise InputError(
            f"config: zeroseg.teacher {name!r} is none of open_clip's models; did you mean {nearest[0]!r}?"
        )
    if not weights:
        raise InputError(
            f"config: zeroseg.teacher_weights is null; name a file with weights of {name}, or "
            "set zeroseg.teacher to tiny"
        )
    if not Path(weights).is_file():
        raise InputError(f"{weights}: no such file of weights; correct zeroseg.teacher_weights")
    try:
        return OpenCLIP(name, weights).eval().requires_grad_(False)
    except (RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{weights}: cannot be loaded as {name} ({reason}); correct zeroseg.teacher") from None
