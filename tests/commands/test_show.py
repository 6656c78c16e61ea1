"""`maskmill show`: one image with its maps side by side."""

import pytest

from maskmill.commands import show
from maskmill.errors import InputError
from stores import IDS


def shown(monkeypatch, **options):
    """What the command hands to the drawing: image, panels by title, and the title of all."""
    drawn = {}

    def draw(image, panels, path, title, dataset):
        drawn.update(image=image, panels={panel.title: panel for panel in panels}, title=title)

    monkeypatch.setattr(show, "draw_stages", draw)
    show.main(output="unused.png", **options)
    return drawn


def test_all_stores_below_a_folder_that_hold_the_image_are_shown_with_its_miou(work, monkeypatch, caplog):
    drawn = shown(monkeypatch, image=IDS[0], folder=str(work))
    forms = {title.replace("\n", "|"): panel.form for title, panel in drawn["panels"].items()}
    # Labels before: background 48 of 96 right, cat all of 96, dog none of 48. After: 254 counts as background.
    assert forms == {
        "truth": "labels",
        "irn/pseudo_labels|mIoU 50.0": "labels",
        "mars/irn/pseudo_labels|mIoU 100.0": "labels",
        "cams|cat": "heat",
        "cams|dog": "heat",
        "cache/logits|softmax, strongest class": "heat",
        "cache/features|principal components": "colours",
        "cache/confidence": "heat",
    }
    assert drawn["title"] == f"{IDS[0]}: cat" and drawn["image"].shape == (12, 16, 3)
    assert drawn["panels"]["cache/confidence"].values.max() == pytest.approx(200 / 255)
    assert "scores.h5: its map of kind probability is no picture" in caplog.text


def test_stores_that_are_named_are_shown_in_their_order(work, monkeypatch):
    monkeypatch.chdir(work)
    paths = [str(work / "mars/irn/pseudo_labels.h5"), "irn/pseudo_labels/2-of-2.h5"]
    titles = list(shown(monkeypatch, image=IDS[1], stores=paths)["panels"])
    assert titles == ["truth", "mars/irn/pseudo_labels\nmIoU 50.0", "irn/pseudo_labels\nmIoU 50.0"]


def test_a_folder_may_stand_among_the_stores(work, monkeypatch):
    by_folder = shown(monkeypatch, image=IDS[0], folder=str(work))["panels"]
    assert list(shown(monkeypatch, image=IDS[0], stores=[str(work)])["panels"]) == list(by_folder)
    monkeypatch.chdir(work)
    titles = list(shown(monkeypatch, image=IDS[0], stores=["cams.h5", "mars"])["panels"])
    assert titles == ["truth", "cams\ncat", "cams\ndog", "mars/irn/pseudo_labels\nmIoU 100.0"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": IDS[0]}, "give either --stores"),
        ({"image": "000001", "folder": "."}, f"no map store below it holds image 000001; did you mean {IDS[0]}?"),
        ({"image": "2012_9", "folder": "."}, "no map store below it holds image 2012_9"),
        ({"image": IDS[0], "folder": "none"}, "no such folder"),
        ({"image": IDS[1], "stores": ["cams.h5"]}, f"no map of image {IDS[1]}"),
        ({"image": IDS[0], "stores": ["mars/irn/centroids.h5"]}, "not a map store"),
        ({"image": IDS[0], "folder": ".", "output": "a.pdf"}, "a.pdf: pictures are written as PNG; name it .png"),
        ({"image": IDS[0], "folder": ".", "index": "none.csv"}, "none.csv: no such index of images; correct --index"),
        ({"image": IDS[0], "stores": ["cams.h5"], "dataset": "vok"}, "--dataset: 'vok' is not one of voc"),
    ],
)
def test_what_cannot_be_shown_is_one_line(options, message, work, monkeypatch):
    monkeypatch.chdir(work)
    with pytest.raises(InputError) as error:
        show.main(**{"output": "picture.png"} | options)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (work / "picture.png").exists()
