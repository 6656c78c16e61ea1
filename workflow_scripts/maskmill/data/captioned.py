"""Training data of text-supervised networks: augmented images with the tokens of their captions."""

import hashlib
import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor

from maskmill.data.captions import noun_prompts

Tokenizer = Callable[[list[str]], Tensor]
CONCEPTS = 32  # concepts of a caption that are compared with those of others; further ones do not count


class CaptionedImages:
    """Image-text pairs in the form the training loop asks for.

    Args:
        pairs: (key, image uint8 [H, W, 3], caption) by index, e.g. `Shards`.
        augment: maps (image, rng) to float32 [3, crop, crop].
        tokenizer: maps captions to token ids [n, T].
        find_nouns: maps a caption to its nouns.
        prompts: K, number of noun prompts per caption.
        templates: of the prompts, with `{}` for the noun.
        same_nouns: whether the concepts of a caption are its nouns, whatever their case, so that captions with the same
            nouns are equal. Otherwise, and for a caption without a known noun, the only concept is the caption itself.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[str, np.ndarray, str]],
        augment: Callable[[np.ndarray, np.random.Generator], Tensor],
        tokenizer: Tokenizer,
        find_nouns: Callable[[str], list[str]],
        *,
        prompts: int = 0,
        templates: Sequence[str] = (),
        same_nouns: bool = False,
    ):
        self.pairs, self.augment, self.tokenizer, self.find_nouns = pairs, augment, tokenizer, find_nouns
        self.prompts, self.templates, self.same_nouns = prompts, list(templates), same_nouns

    def __len__(self) -> int:
        return len(self.pairs)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """One example.

        `image` float32 [3, crop, crop]; `text` int64 [1 + K, T], the caption first; `key` int64 [], equal for captions
        with the same concepts; `concepts` int64 [CONCEPTS], ids of the caption's concepts, filled with 0.
        """
        _, image, caption = self.pairs[index]
        nouns = self.find_nouns(caption)
        texts = [caption, *(noun_prompts(caption, nouns, self.templates, rng, self.prompts) if self.prompts else [])]
        concepts = sorted({noun.lower() for noun in nouns}) if self.same_nouns and nouns else [caption]
        numbers = [_number(text) for text in concepts[:CONCEPTS]]
        return {
            "image": self.augment(image, rng),
            "text": self.tokenizer(texts),
            "key": torch.tensor(_number(" ".join(concepts))),
            "concepts": torch.tensor(numbers + [0] * (CONCEPTS - len(numbers))),
        }


class TimmAugmentation:
    """timm's training recipe, as in GroupViT's release: random resized crop, flip, RandAugment, random erasing.

    Args:
        crop: side of the square, pixels.
        area: range of the crop's area before it is resized, as shares of the image's.
        auto_augment: RandAugment in timm's notation; None: no change of colours or shapes.
        erase: probability that a random box is filled with noise.
        mean, std: normalisation of the network, RGB in 0..1.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        crop: int,
        area: tuple[float, float],
        auto_augment: str | None = None,
        erase: float = 0.0,
    ):
        self.transform = create_transform(
            crop,
            is_training=True,
            scale=tuple(area),
            color_jitter=None,
            auto_augment=auto_augment,
            interpolation="bilinear",
            re_prob=erase,
            re_mode="pixel",
            mean=mean,
            std=std,
        )

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Augment an image uint8 [H, W, 3]: float32 [3, crop, crop], normalised."""
        # timm draws from three global generators; the training loop seeds them again before every step.
        seed = int(rng.integers(2**32))
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        return self.transform(Image.fromarray(image))


def _number(text: str) -> int:
    """A 64-bit digest of a text, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), signed=True)
