"""Labels over their image as arrays."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from maskmill.data.catalog import CAMVID, CAMVID_COLOURS
from maskmill.reporting.overlay import overlay, palette

LIBRARY = Path(__file__).resolve().parents[2] / "workflow_scripts"
GREY = np.full((1, 4, 3), 100, np.uint8)
LABELS = np.array([[0, 1, 254, 255]], np.uint8)


def test_the_palette_is_vocs():
    colours = palette()
    assert colours.shape == (256, 3) and colours.dtype == np.uint8
    assert colours[[0, 1, 15, 255]].tolist() == [[0, 0, 0], [128, 0, 0], [192, 128, 128], [224, 224, 192]]


def test_background_shows_the_image_and_other_labels_their_colour():
    shown = overlay(GREY, LABELS)
    assert shown.dtype == np.uint8
    assert shown[0].tolist() == [[100, 100, 100], [116, 40, 40], [193, 193, 193], [174, 174, 155]]


def test_opacity_goes_from_the_image_to_the_colours():
    assert (overlay(GREY, LABELS, 0.0) == GREY).all()
    assert (overlay(GREY, LABELS, 1.0)[0, 1] == palette()[1]).all()


def test_where_a_data_set_has_no_background_class_0_is_painted_in_its_own_colour():
    assert overlay(GREY, LABELS, 1.0, dataset=CAMVID)[0, 0].tolist() == list(CAMVID_COLOURS[0])


def test_the_pictures_of_the_report_are_painted_as_before():
    """At 70 % the pictures have always used the factors 0.3 and 0.7."""
    values = np.arange(256, dtype=np.uint8)
    image = np.repeat(np.repeat(values[:, None, None], 256, axis=1), 3, axis=2)
    labels = np.repeat(values[None], 256, axis=0)
    colours = palette()
    colours[254] = 255
    expected = (0.3 * image + 0.7 * colours[labels]).astype(np.uint8)
    assert (overlay(image, labels, 0.7)[:, 1:] == expected[:, 1:]).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"image of \(1, 4\) pixels, labels of \(4, 1\)"):
        overlay(GREY, LABELS.T)
    with pytest.raises(ValueError, match=r"opacity is 60; choose a number in 0\.\.1"):
        overlay(GREY, LABELS, 60)


def test_a_notebooks_backend_is_left_alone():
    code = "import sys, maskmill.reporting.overlay; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=LIBRARY, check=True)
