"""A tokenizer of whole words, for captions with a vocabulary of a few dozen words.

With so few tokens a small text tower learns from the drawn sample scenes."""

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from maskmill.errors import InputError


class Words:
    """Converts captions to token ids as CLIP's tokenizer does, but with whole words as the vocabulary.

    Words have the ids 1.. in their order. A start and an end token enclose the words, the end token has the largest id,
    0 fills the rest, and a long caption is cut before the end token.

    Args:
        words: the vocabulary, see `vocabulary`.
        context_length: number of tokens that a caption is cut or filled to.

    Attributes:
        vocab_size: number of token ids.
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
