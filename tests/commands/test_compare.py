"""`maskmill compare`: how much two stores of labels agree."""

import csv
import io

import numpy as np
import pytest

from maskmill.commands import compare
from maskmill.errors import InputError
from stores import BIASED, CAT, HALF, IDS, IGNORE, store


def compared(capsys, **options) -> list[dict]:
    compare.main(**options)
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def pair(work) -> dict:
    return {"first": str(work / "irn/pseudo_labels.h5"), "second": str(work / "mars/irn/pseudo_labels.h5")}


def test_two_stores_are_compared_by_class_and_image_and_with_the_truth(work, capsys):
    """Per image, both have 48 background, 96 cat and 48 dog pixels; in one image the dog becomes background."""
    rows = compared(capsys, **pair(work))
    by_key = {row["image_id"] or row["class_name"]: row for row in rows}
    assert list(by_key) == ["", "background", "cat", "dog", IDS[0], IDS[1]], "the image that changed most comes first"
    values = {key: [row[name] for name in ("changed", "agreement", "first", "second")] for key, row in by_key.items()}
    # Over both images: background 96 -> 144 of which 96 agree; dog 96 -> 48.
    assert values["background"] == ["0.00", "66.67", "50.00", "75.00"]
    assert values["cat"] == ["0.00", "100.00", "100.00", "100.00"]
    assert values["dog"] == ["50.00", "50.00", "0.00", "0.00"]
    assert values[""] == ["12.50", "72.22", "50.00", "58.33"]
    assert values[IDS[0]] == ["25.00", "50.00", "50.00", "100.00"]
    assert values[IDS[1]] == ["0.00", "100.00", "50.00", "50.00"]


def test_scores_can_be_restricted_to_some_classes(work, capsys):
    rows = compared(capsys, **pair(work), classes=["cat"], images=0)
    assert [row["class_name"] for row in rows] == ["", "background", "cat"]
    assert rows[0]["first"] == "75.00", "of background 50 and cat 100"
    with pytest.raises(InputError, match="unknown class 'catt'; did you mean 'cat'"):
        compare.main(**pair(work), classes=["catt"])


def test_without_masks_two_stores_are_compared_with_each_other_alone(tmp_path, capsys):
    labels = np.array([[0, CAT, IGNORE, CAT]], np.uint8)
    paths = {"first": store(tmp_path / "a.h5", "label", {"x": labels})}
    paths["second"] = store(tmp_path / "b.h5", "label", {"x": np.array([[0, CAT, CAT, BIASED]], np.uint8)})
    rows = compared(capsys, **{name: str(path) for name, path in paths.items()}, dataset="voc", images=0)
    # Of the three pixels that neither ignores, background 1 of 2 and cat 1 of 2 agree.
    assert list(rows[0].values()) == ["", "", "50.00", "50.00", "", ""]
    assert [row["class_name"] for row in rows[1:]] == ["background", "cat"]


def test_the_comparison_is_written_whole_where_a_file_is_named(work, tmp_path, capsys):
    printed = compared(capsys, **pair(work))
    compare.main(**pair(work), output=str(tmp_path / "changes.csv"))
    with open(tmp_path / "changes.csv", newline="") as file:
        assert list(csv.DictReader(file)) == printed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"second": "cache/features.h5"}, "cache/features.h5: holds features, not labels"),
        ({"first": "views.h5"}, "views.h5: holds vectors of samples"),
        ({"second": "irn/pseudo_labels/1-of-2.h5"}, f"1 images are in one of them only, e.g. {IDS[1]}"),
        ({"second": "none.h5"}, "none.h5: no such map store"),
        ({"images": -1}, "--images: -1; give 0 or more"),
        ({"index": "nowhere.csv"}, "nowhere.csv: no such index of images; correct --index"),
    ],
)
def test_stores_that_cannot_be_compared_are_one_line(changes, message, work, monkeypatch):
    monkeypatch.chdir(work)
    with pytest.raises(InputError) as error:
        compare.main(**pair(work) | changes)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_stores_without_maps_are_one_line(tmp_path):
    path = str(store(tmp_path / "a.h5", "label", {}))
    with pytest.raises(InputError, match=r"a\.h5: holds no maps; give another store"):
        compare.main(path, path, dataset="voc")


def test_labels_of_an_unknown_data_set_want_its_name(tmp_path):
    path = str(store(tmp_path / "a.h5", "label", {"x": HALF}))
    with pytest.raises(InputError, match="say whose classes it has with --dataset"):
        compare.main(path, path)
