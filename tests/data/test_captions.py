"""Captions: nouns, prompts."""

import nltk
import numpy as np
import pandas as pd
import pytest

from maskmill.data.captions import (
    caption_of,
    find_nouns,
    imagenet_templates,
    noun_finder,
    noun_prompts,
    tag_nouns,
)
from maskmill.data.sample_scenes import CLASSES, draw_scene, draw_scenes
from maskmill.errors import InputError


def test_every_drawn_scene_has_a_caption_that_names_its_classes(tmp_path):
    draw_scenes(tmp_path, train_aug=20, train=5, val=2, size=32)
    captions = pd.read_csv(tmp_path / "captions.csv", index_col="image_id")["caption"]
    assert len(captions) == 22
    for number in range(1, 21):
        boxes = draw_scene(number, 32).boxes
        assert {CLASSES[box[0] - 1] for box in boxes} <= set(find_nouns(captions[f"2012_{number:06d}"]))


@pytest.mark.parametrize(
    ("caption", "nouns"),
    [
        ("Two sheep, three BUSES and a cat's dogs", ["sheep", "bus", "cat", "dog"]),
        ("a dog beside a dog", ["dog"]),
        ("nothing here", []),
    ],
)
def test_nouns_are_words_of_the_vocabulary_each_once(caption, nouns):
    assert find_nouns(caption) == nouns


@pytest.mark.parametrize(
    ("things", "caption"),
    [
        ([], ""),
        (["ox"], "a photo of an ox"),
        (["cat", "person"], "a photo of a cat and a person"),
        (["cat", "ox", "potted plant"], "a photo of a cat, an ox and a potted plant"),
    ],
)
def test_captions_of_tags_name_them_in_their_order(things, caption):
    assert caption_of(things) == caption
    assert set(find_nouns(caption)) == {word for thing in things for word in thing.split()} - {"ox"}


def test_without_nltk_data_the_vocabulary_finds_nouns_and_nothing_is_downloaded(tmp_path):
    assert noun_finder(None)("a grey cat") == ["cat"]
    with pytest.raises(InputError, match="has no taggers/averaged_perceptron_tagger_eng"):
        noun_finder(tmp_path)
    (tmp_path / "taggers/averaged_perceptron_tagger_eng").mkdir(parents=True)
    with pytest.raises(InputError, match="has no tokenizers/punkt_tab"):
        noun_finder(tmp_path)
    (tmp_path / "tokenizers/punkt_tab").mkdir(parents=True)
    assert noun_finder(tmp_path) is tag_nouns


def test_nouns_are_the_released_ones_in_their_case_and_number(monkeypatch):
    """NLTK's data is not available as a package, so the test supplies the sentences and tags; NLTK splits the words."""
    tags = {"DT": ["A", "The"], "NN": ["dog", "cat"], "NNP": ["Dog", "TV"], "NNS": ["o'clock"], "VBG": ["running"]}
    tags |= {"POS": ["'s"], "RB": ["quickly"], ".": ["."], ",": [","], "CC": ["and"], "VBZ": ["sits"], "JJ": ["red"]}
    tag_of = {word: tag for tag, words in tags.items() for word in words}
    monkeypatch.setattr(nltk.tokenize, "sent_tokenize", lambda text, language: text.split("|"))
    monkeypatch.setattr(nltk, "pos_tag", lambda words: [(word, tag_of[word]) for word in words])
    caption = "A dog's red TV, running quickly.|The dog and Dog sits o'clock."
    assert tag_nouns(caption) == ["dog", "TV", "running", "dog", "Dog", "sits", "o'clock"]


def test_a_repeated_noun_may_be_drawn_twice():
    nouns, templates = ["dog", "cat", "dog", "bus"], ["{}"]
    drawn = [noun_prompts("c", nouns, templates, np.random.default_rng(seed)) for seed in range(2000)]
    twice = np.mean([prompts.count("dog") == 2 for prompts in drawn])
    assert twice == pytest.approx(0.5, abs=0.05), "3 of 4 places: both dogs are among them in 2 of 4 choices"
    assert {tuple(sorted(prompts)) for prompts in drawn} == {("cat", "dog", "dog"), ("bus", "dog", "dog"),
                                                             ("bus", "cat", "dog")}  # fmt: skip


def test_there_are_80_templates_of_one_noun():
    templates = imagenet_templates()
    assert len(set(templates)) == 80 and all(template.count("{}") == 1 for template in templates)
    assert templates[0] == "a bad photo of a {}."  # the first of CLIP's list


@pytest.mark.parametrize(("nouns", "own"), [([], 0), (["cat"], 1), (["cat", "dog", "bus", "car"], 3)])
def test_prompts_are_distinct_nouns_then_the_caption(nouns, own):
    prompts = noun_prompts("the caption", nouns, ["a {}."], np.random.default_rng(0))
    assert len(prompts) == 3 and prompts[own:] == ["the caption"] * (3 - own)
    chosen = prompts[:own]
    assert len(set(chosen)) == own and set(chosen) <= {f"a {noun}." for noun in nouns}


def test_all_nouns_and_templates_come_up():
    rng = np.random.default_rng(0)
    drawn = {p for _ in range(100) for p in noun_prompts("c", ["cat", "dog", "bus", "car"], ["a {}", "the {}"], rng)}
    assert drawn == {f"{article} {noun}" for article in ("a", "the") for noun in ("cat", "dog", "bus", "car")}
