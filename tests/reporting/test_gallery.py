"""The picture of what debiasing removed."""

import numpy as np
from PIL import Image

from maskmill.reporting.gallery import Row, draw_gallery
from maskmill.reporting.overlay import overlay
from maskmill.reporting.style import LABEL_OPACITY


def test_overlay_shows_background_as_it_is_and_removed_regions_in_white():
    image = np.full((1, 3, 3), 100, np.uint8)
    shown = overlay(image, np.array([[0, 254, 255]], np.uint8), LABEL_OPACITY)
    assert shown[0].tolist() == [[100] * 3, [208] * 3, [186, 186, 164]]


def test_gallery_draws_a_row_an_image_even_without_tags(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.choice(np.array([0, 8, 254], np.uint8), size=(20, 30))
    rows = [
        Row("a", rng.integers(0, 255, (20, 30, 3), np.uint8), labels % 254, cam, labels % 254, labels, labels % 254)
        for cam in (rng.random((1, 5, 8)), np.zeros((0, 5, 8)))
    ]
    names = ["background", *"abcdefghijklmnopqrst"]
    heights = []
    for number in (1, 2):
        draw_gallery(rows[:number], tmp_path / "picture.png", names, "title")
        with Image.open(tmp_path / "picture.png") as picture:
            heights.append(picture.height)
    assert heights[1] > heights[0] + 200
