"""`maskmill segment-open`: the ways to give classes."""

import pytest

from maskmill.commands.segment_open import class_names
from maskmill.errors import InputError


@pytest.mark.parametrize("classes", [["cat", "traffic light"], [" cat", "", "traffic light "], "classes.txt"])
def test_classes_are_given_by_name_or_in_a_file(classes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\n\ntraffic light\n")
    assert class_names(classes) == ["cat", "traffic light"]
    assert class_names([classes] if isinstance(classes, str) else classes) == ["cat", "traffic light"]


def test_one_class_is_no_file():
    assert class_names(["cat"]) == ["cat"]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["nowhere.txt"], "nowhere.txt: no such list of classes"),
        ([], "--classes: 0 names; give 1 to 254"),
        (["cat", "dog", "cat"], "'cat' comes twice"),
    ],
)
def test_classes_that_cannot_be_used_are_refused(classes, message):
    with pytest.raises(InputError, match=message):
        class_names(classes)
