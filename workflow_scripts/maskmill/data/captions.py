"""Captions made from tags, nouns of captions, and the prompts that GroupViT's multi-label loss makes from the nouns.

As in GroupViT's release (`datasets/builder.py`): NLTK's words and the tags that count as nouns, up to K = 3 nouns per
caption, the 80 templates, and the caption itself in empty slots. Our addition: a vocabulary replaces the tagger where
NLTK's data is not installed.
"""

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from maskmill.data.catalog import DATASETS
from maskmill.errors import InputError

NLTK_PACKAGES = ("taggers/averaged_perceptron_tagger_eng", "tokenizers/punkt_tab")  # tagger and sentence splitter
NOUN_TAGS = {"NN", "NNS", "NNP", "VB", "VBD", "VBG", "VBN", "VBP", "VBZ"}  # verbs too, as released

# The words of the data sets' class names. "of" comes from "chest of drawers"; "orange" is a colour in most captions.
VOCABULARY = frozenset(word for dataset in DATASETS.values() for name in dataset.classes for word in name.split()) - {
    "background",
    "of",
    "orange",
}


def caption_of(things: Sequence[str]) -> str:
    """A caption that names the things in an image: `a photo of a cat, an ox and a dog`; empty for no things."""
    if not things:
        return ""
    named = [f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}" for thing in things]
    return f"a photo of {' and '.join(filter(None, (', '.join(named[:-1]), named[-1])))}"


def find_nouns(caption: str, vocabulary: Collection[str] = VOCABULARY) -> list[str]:
    """The words of a caption that are in the vocabulary, in their order, each once; regular plurals count as the
    singular."""
    words = (_singular(word, vocabulary) for word in re.findall(r"[a-z]+", caption.lower()))
    return list(dict.fromkeys(word for word in words if word in vocabulary))


def tag_nouns(caption: str) -> list[str]:
    """The words that NLTK tags as nouns or verbs (`NOUN_TAGS`), in their order and case; one that a caption repeats is
    repeated."""
    import nltk

    return [word for word, tag in nltk.pos_tag(nltk.word_tokenize(caption)) if tag in NOUN_TAGS]


def noun_finder(nltk_data: str | Path | None) -> Callable[[str], list[str]]:
    """The function that finds the nouns of a caption.

    Args:
        nltk_data: folder with NLTK's data, which is never downloaded, for `tag_nouns`; None: `find_nouns`.

    Raises:
        InputError: the folder holds no tagger.
    """
    if nltk_data is None:
        return find_nouns
    import nltk

    nltk.data.path.insert(0, str(nltk_data))
    for package in NLTK_PACKAGES:
        try:
            nltk.data.find(package, paths=[str(nltk_data)])
        except LookupError:
            raise InputError(
                f"{nltk_data}: has no {package}; unpack NLTK's package there, or set the folder to null for a list of "
                "words instead"
            ) from None
    return tag_nouns


def imagenet_templates() -> list[str]:
    """CLIP's 80 ImageNet templates, each with `{}` for the noun."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES  # it imports torch

    return [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]


def noun_prompts(
    caption: str, nouns: list[str], templates: list[str], rng: np.random.Generator, count: int = 3
) -> list[str]:
    """The texts that a caption is trained with besides itself: random nouns, drawn without replacement, each in a
    random template; the caption itself fills the rest.

    Args:
        nouns: of the caption; a repeated one has as many chances, and may be drawn twice.
        templates: with `{}` for the noun.
        count: number of texts, K in GroupViT.
    """
    chosen = list(rng.permutation(nouns)[:count]) if nouns else []
    prompts = [templates[rng.integers(len(templates))].replace("{}", noun) for noun in chosen]
    return prompts + [caption] * (count - len(prompts))


def _singular(word: str, vocabulary: Collection[str]) -> str:
    candidates = [word, word.removesuffix("s"), word.removesuffix("es")]
    return next((candidate for candidate in candidates if candidate in vocabulary), word)
