"""What text-supervised networks are trained on: augmented images with the tokens of their captions."""

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
SAID = 32  # nouns of a caption that are told apart; further ones do not count


class CaptionedImages:
    """Image-text pairs in the form the training loop asks for.

    Args:
        pairs: (key, image uint8 [H, W, 3], caption) by index, e.g. `Shards`.
        augment: (image, rng) to float32 [3, crop, crop].
        tokenizer: captions to token ids [n, T].
        find_nouns: caption to its nouns.
        prompts: K, noun prompts beside each caption; `templates`: of them, with {} in the noun's place.
        same_nouns: whether captions say their nouns, and those with the same ones the same; else, and without a known
            noun, a caption says itself.
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
        """One example: `image` float32 [3, crop, crop], `text` int64 [1 + K, T], the caption first, `key` int64 [],
        equal for captions that say the same, and `said` int64 [SAID], ids of what the caption says and then 0."""
        _, image, caption = self.pairs[index]
        nouns = self.find_nouns(caption)
        texts = [caption, *(noun_prompts(caption, nouns, self.templates, rng, self.prompts) if self.prompts else [])]
        said = sorted(nouns) if self.same_nouns and nouns else [caption]
        numbers = [_number(text) for text in said[:SAID]]
        return {
            "image": self.augment(image, rng),
            "text": self.tokenizer(texts),
            "key": torch.tensor(_number(" ".join(said))),
            "said": torch.tensor(numbers + [0] * (SAID - len(numbers))),
        }


class TimmAugmentation:
    """timm's training recipe (spec open_vocabulary 1.6): random resized crop, flip, RandAugment, random erasing.

    Args:
        crop: side of the square, pixels.
        area: range of the crop's area before it is resized, as shares of the image's.
        auto_augment: RandAugment in timm's notation; None: no change of colours or shapes.
        erase: probability that a random box is filled with noise.
        mean, std: normalisation of the network.
    """

    def __init__(
        self, mean, std, *, crop: int, area: tuple[float, float], auto_augment: str | None = None, erase: float = 0.0
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
        """uint8 [H, W, 3] to float32 [3, crop, crop]."""
        # timm draws from three global generators, which the training loop seeds anew before every step.
        seed = int(rng.integers(2**32))
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        return self.transform(Image.fromarray(image))


def _number(text: str) -> int:
    """A digest of a text, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), signed=True)
