"""Image-text pairs as the training loop sees them."""

import numpy as np
import pytest
import torch

from maskmill.data.captioned import CaptionedImages, TimmAugmentation
from maskmill.data.captions import find_nouns
from maskmill.data.words import Words

CAPTIONS = ["a red cat", "a cat", "a dog and a cat", "a cat and a dog"]
WORDS = Words(["a", "and", "cat", "dog", "red"], context_length=7)
RECIPE = {"crop": 32, "area": (0.3, 1.0), "auto_augment": "rand-m9-mstd0.5-inc1", "erase": 0.25}


def dataset(**options) -> CaptionedImages:
    images = np.random.default_rng(0).integers(0, 256, (4, 40, 50, 3), np.uint8)
    pairs = [(str(number), images[number], caption) for number, caption in enumerate(CAPTIONS)]
    augment = TimmAugmentation((0.5, 0.5, 0.5), (0.2, 0.2, 0.2), **RECIPE)
    return CaptionedImages(pairs, augment, WORDS, find_nouns, **options)


def sample(dataset, index: int, seed: int = 0) -> dict:
    return dataset.sample(index, np.random.default_rng(seed))


def test_an_example_depends_on_its_index_and_generator_alone():
    first = sample(dataset(), 1)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    again, other = sample(dataset(), 1), sample(dataset(), 1, seed=1)
    assert first["image"].shape == (3, 32, 32) and first["image"].dtype == torch.float32
    assert torch.equal(first["image"], again["image"]) and not torch.equal(first["image"], other["image"])


def test_the_caption_comes_first_and_nouns_behind_it():
    text = sample(dataset(prompts=2, templates=["a {}"]), 2)["text"]
    assert text.shape == (3, 7)
    assert torch.equal(text[0], WORDS([CAPTIONS[2]])[0])
    assert {tuple(row) for row in text[1:].tolist()} == {tuple(row) for row in WORDS(["a cat", "a dog"]).tolist()}
    assert sample(dataset(), 2)["text"].shape == (1, 7)


@pytest.mark.parametrize(("same_nouns", "groups"), [(False, [0, 1, 2, 3]), (True, [0, 0, 1, 1])])
def test_keys_are_equal_for_captions_that_say_the_same(same_nouns, groups):
    keys = [sample(dataset(same_nouns=same_nouns), index)["key"].item() for index in range(4)]
    assert [keys.index(key) for key in keys] == [groups.index(group) for group in groups]


def test_a_caption_says_its_nouns_or_without_any_itself():
    pairs = [
        (caption, np.zeros((8, 8, 3), np.uint8), caption) for caption in ("a dog and a cat", "a cat", "red", "and")
    ]
    augment = TimmAugmentation((0.5, 0.5, 0.5), (0.2, 0.2, 0.2), crop=8, area=(1.0, 1.0))
    images = CaptionedImages(pairs, augment, WORDS, find_nouns, same_nouns=True)
    samples = [sample(images, index) for index in range(4)]
    both, cat, red, other = (set(example["concepts"].tolist()) - {0} for example in samples)
    assert len(both) == 2 and len(cat) == 1 and cat < both
    assert red != other and not (red | other) & both
    assert len({example["key"].item() for example in samples}) == 4


def test_nouns_of_another_case_or_number_say_the_same():
    """The tagger keeps the case of a word and its repeats."""
    pairs = [(caption, np.zeros((8, 8, 3), np.uint8), caption) for caption in ("a Cat and a cat", "a cat")]
    augment = TimmAugmentation((0.5, 0.5, 0.5), (0.2, 0.2, 0.2), crop=8, area=(1.0, 1.0))

    def tagged(caption: str) -> list[str]:
        return [word for word in caption.split() if word.lower() == "cat"]

    words = Words(["a", "and", "cat"], context_length=7)
    first, second = (sample(CaptionedImages(pairs, augment, words, tagged, same_nouns=True), i) for i in range(2))
    assert first["key"] == second["key"] and torch.equal(first["concepts"], second["concepts"])


def test_without_a_recipe_images_are_cropped_and_flipped_only():
    plain = TimmAugmentation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), crop=40, area=(1.0, 1.0))
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    expected = torch.from_numpy(image).permute(2, 0, 1) / 255
    seen = [plain(image, np.random.default_rng(seed)) for seed in range(8)]
    whole = [pixels for pixels in seen if torch.equal(pixels, expected) or torch.equal(pixels.flip(2), expected)]
    assert whole and len({pixels.flatten()[0].item() for pixels in whole}) == 2
