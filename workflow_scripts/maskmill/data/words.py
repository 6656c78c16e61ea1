"""A tokenizer of whole words, for sets of captions that have a few dozen: a text tower then learns from no more."""

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from maskmill.errors import InputError


class Words:
    """Captions to token ids, 1.. for the words in their order, 0 behind the end. As CLIP's, but for the vocabulary: a
    start and an end token frame the words, the end has the largest id, and a long caption is cut before it.

    Args:
        words: the vocabulary, see `vocabulary`.
        context_length: tokens a caption is cut or filled up to.
    """

    def __init__(self, words: Sequence[str], context_length: int):
        self.ids = {word: number for number, word in enumerate(words, start=1)}
        self.start, self.end = len(words) + 1, len(words) + 2
        self.vocab_size, self.context_length = len(words) + 3, context_length

    def __call__(self, captions: list[str]) -> Tensor:
        """int64 [captions, context_length].

        Raises:
            InputError: a word is not in the vocabulary.
        """
        tokens = torch.zeros(len(captions), self.context_length, dtype=torch.long)
        for row, caption in zip(tokens, captions, strict=True):
            words = [*map(self._id, split(caption))][: self.context_length - 2]
            row[: len(words) + 2] = torch.tensor([self.start, *words, self.end])
        return tokens

    def _id(self, word: str) -> int:
        if word not in self.ids:
            raise InputError(f"the network never read the word {word!r}; choose from {', '.join(self.ids)}")
        return self.ids[word]


def vocabulary(captions: Iterable[str]) -> list[str]:
    """The words of captions, sorted."""
    return sorted({word for caption in captions for word in split(caption)})


def split(caption: str) -> list[str]:
    """Lower-case words without punctuation."""
    return re.findall(r"[a-z0-9']+", caption.lower())
