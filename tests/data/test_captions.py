"""Captions: reading, nouns, prompts."""

import csv

import numpy as np
import pytest

from maskmill.data.captions import (
    caption_of,
    find_nouns,
    imagenet_templates,
    noun_finder,
    noun_prompts,
    read_captions,
)
from maskmill.data.sample_scenes import CLASSES, draw_scene, draw_scenes
from maskmill.errors import InputError


def write(path, *rows, header=("image_id", "caption")):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_every_drawn_scene_has_a_caption_that_names_its_classes(tmp_path):
    draw_scenes(tmp_path, train_aug=20, train=5, val=2, size=32)
    captions = read_captions(tmp_path / "captions.csv")
    assert len(captions) == 22
    for number in range(1, 21):
        boxes = draw_scene(number, 32).boxes
        assert {CLASSES[box[0] - 1] for box in boxes} <= set(find_nouns(captions[f"2012_{number:06d}"]))


def test_white_space_around_a_caption_is_dropped_and_commas_stay(tmp_path):
    path = write(tmp_path / "captions.csv", ("a", " a red bus, parked "))
    assert read_captions(path) == {"a": "a red bus, parked"}


@pytest.mark.parametrize("caption", ["", "  \t"])
def test_an_empty_caption_is_named(tmp_path, caption):
    path = write(tmp_path / "captions.csv", ("a", "a cat"), ("b", caption))
    with pytest.raises(InputError, match=r"captions\.csv: image b has an empty caption; write one"):
        read_captions(path)


def test_a_list_of_captions_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match="no such list of captions"):
        read_captions(tmp_path / "captions.csv")
    with pytest.raises(InputError, match=r"columns are \['id', 'text'\]"):
        read_captions(write(tmp_path / "captions.csv", ("a", "b"), header=("id", "text")))
    with pytest.raises(InputError, match="image a has two captions"):
        read_captions(write(tmp_path / "captions.csv", ("a", "a cat"), ("a", "a dog")))


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
