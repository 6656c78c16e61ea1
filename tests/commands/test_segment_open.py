"""`maskmill segment-open`: the ways to give classes."""

import pytest

from maskmill.commands import segment_open
from maskmill.commands.segment_open import class_names
from maskmill.errors import InputError
from maskmill.networks.group_vit import GroupViT
from maskmill.storage.checkpoints import save_network
from small_networks import GROUP_VIT


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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_list_may_begin_with_a_byte_order_mark(encoding, tmp_path):
    (tmp_path / "classes.txt").write_text("cat\ncafe\u0301\n", encoding=encoding)
    assert class_names([str(tmp_path / "classes.txt")]) == ["cat", "caf\u00e9"]
    (tmp_path / "classes.txt").write_text("cat\n", encoding="utf-16")
    with pytest.raises(InputError, match=r"classes\.txt: not a text in UTF-8; save it as one"):
        class_names([str(tmp_path / "classes.txt")])


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    save_network(path, GroupViT(**GROUP_VIT))
    return str(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, r"--threshold: 1\.5 lies outside 0\.\.1; correct it"),
        ({"threshold": 90}, r"--threshold: 90 lies outside 0\.\.1; correct it"),
        ({"opacity": -0.1}, r"--opacity: -0\.1 lies outside 0\.\.1; correct it"),
        ({"stride": 33}, "--stride: 33 pixels, windows have 32; give a number from 1 to that"),
        ({"stride": 0}, "--stride: 0 pixels, windows have 32"),
        ({"window": 36}, "--window: 36 pixels are not whole patches of 8; give a multiple"),
        ({"side": 7}, "--side: 7 pixels, but a patch of the network has 8; give more"),
        ({"templates": ["a"]}, r"templates: 'a' has no \{\} in the place of the class's name; add it"),
        ({"templates": []}, "templates: there is none; give prompts"),
        ({"classes": ["cat", "Cat"]}, "the network reads 'cat' and 'Cat' alike, since capitals do not count"),
        (
            {"classes": ["red red red red red cat", "red red red red red red"]},
            "alike, .* nor what lies behind its longest",
        ),
        (
            {"classes": ["cat", "\u732b"]},
            "the network reads nothing of '\u732b' in the templates; give it a name in English",
        ),
        (
            {"templates": ["a red a red a red a red {}"]},
            "the network reads nothing of 'cat' in the templates; .* shorter",
        ),
    ],
)
def test_what_gives_no_meaning_is_refused_before_an_image_is_read(network, tmp_path, options, message):
    given = {"classes": ["cat"], "templates": ["a {}"], "side": 32, "window": 32, "stride": 16} | options
    with pytest.raises(InputError, match=message):
        segment_open.main(network, str(tmp_path / "nowhere"), str(tmp_path / "out"), **given)
    assert not (tmp_path / "out").exists()


def test_braces_in_a_name_or_a_template_are_text(network, tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match="no images in it"):
        segment_open.main(
            *(network, str(tmp_path / "photos"), str(tmp_path / "out"), ["{cat}", "red"]),
            templates=["a {red} {}"],
            **{"side": 32, "window": 32, "stride": 16},
        )
