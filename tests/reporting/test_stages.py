"""One picture of all stages."""

import numpy as np
import pytest
from PIL import Image

from maskmill.data.catalog import CAMVID, VOC
from maskmill.reporting.overlay import label_colours, overlay
from maskmill.reporting.stages import Panel, draw_stages, panels_of, principal_components, wrapped


def test_labels_of_a_data_set_without_background_are_painted_in_its_own_colours():
    image = np.zeros((1, 2, 3), np.uint8)
    assert overlay(image, np.array([[0, 8]], np.uint8), 0.7, dataset=CAMVID).tolist() == [[[89, 89, 89], [44, 0, 89]]]
    assert label_colours(CAMVID)[11].tolist() == label_colours(VOC)[11].tolist(), "no class: as in VOC"


def test_features_that_lie_on_a_line_are_shown_by_their_place_on_it():
    place = np.array([[0.0, 1.0], [3.0, 4.0]])
    shown = principal_components(np.stack([place, -2 * place, 0 * place]))
    first = shown[..., 0] if shown[0, 0, 0] == 0 else 1 - shown[..., 0]  # the sign is free
    np.testing.assert_allclose(first, place / 4, atol=1e-9)


def test_one_feature_and_a_single_place_can_be_shown():
    assert principal_components(np.ones((1, 2, 2), np.float16)).shape == (2, 2, 3)
    assert principal_components(np.ones((4, 1, 1), np.float16)).tolist() == [[[0, 0, 0]]]


@pytest.mark.parametrize(
    ("kind", "values", "highest"),
    [
        ("logits", [[[0.0]], [[np.log(3.0)]]], 0.75),
        ("probability", [[[0.2]], [[0.8]]], 0.8),
    ],
)
def test_scores_are_shown_by_the_probability_of_the_strongest_class(kind, values, highest):
    (panel,) = panels_of("name", kind, np.array(values, np.float32), {}, VOC)
    assert panel.form == "heat" and panel.values.item() == pytest.approx(highest, abs=1e-6)


def test_activations_without_tags_or_classes_that_are_known_can_be_shown():
    assert panels_of("name", "cam", np.zeros((0, 3, 4)), {"classes": []}, VOC) == []
    (panel,) = panels_of("name", "cam", 5 * np.eye(3)[None], {"top_k": [1]}, None)
    assert panel.title == "name\nstrongest, scaled" and panel.values.max() == 1


def test_titles_are_broken_after_slashes():
    assert wrapped("students/irn/baseline/val/argmax\nmIoU 50.0", 20) == "students/irn/\nbaseline/val/argmax\nmIoU 50.0"
    assert wrapped("short/name", 20) == "short/name"


def test_a_picture_has_a_place_for_every_panel(tmp_path):
    image, rng = np.zeros((20, 30, 3), np.uint8), np.random.default_rng([0])
    labels = rng.choice(np.array([0, 8, 254, 255], np.uint8), size=(20, 30))
    panels = [Panel("labels", labels, "labels"), Panel("heat", rng.random((5, 7)), "heat")]
    panels.append(Panel("colours", rng.random((2, 3, 3)), "colours"))
    sizes = []
    for number, dataset in ((2, VOC), (1, None)):
        draw_stages(image, panels * number, tmp_path / "picture.png", "title", dataset)
        with Image.open(tmp_path / "picture.png") as picture:
            sizes.append(picture.size)
    assert sizes[0][0] > sizes[1][0], "five columns, then four"
    assert sizes[0][1] > sizes[1][1] + 150, "two rows, then one"
