"""A user's own images: names, sources of tags, splits; and mistakes in the files."""

import json
import os
import shutil
import unicodedata
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import ExifTags, Image

from data.index_own import main as index_own
from data.validation_own import main as validation_own
from few_masks.partition_own import main as partition_own
from mars.debiased_centroids import main as debiased_centroids
from mars.image_centroids import main as image_centroids
from maskmill.data.catalog import find_dataset
from maskmill.data.datasets import check_tags
from maskmill.data.images import read_mask
from maskmill.data.index import read_ids, read_index
from maskmill.data.own import find_images, id_of, read_own, read_tags, training_masks
from maskmill.data.voc import list_text, write_mask
from maskmill.errors import InputError
from maskmill.storage.maps import create_maps, merge_maps, open_maps
from maskmill.storage.tables import read_tables, write_table
from maskmill.workflow.user_files import own_digests

CLASSES = ("background", "cat", "traffic light")
CAT, LIGHT = 1, 2
TAGS = "image,tags\na.jpg,traffic light; cat\nday 2/b,cat\nc.png,cat;cat\n"


@pytest.fixture
def own(tmp_path):
    """Four photos of 8x6 pixels: a, c and d in the folder, b in one below it; b and d have masks, d is for scoring."""
    for name in ("a.jpg", "day 2/b.JPG", "c.png", "d.webp"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(path)
    for name, class_id in (("day 2/b", LIGHT), ("d", CAT)):
        path = tmp_path / f"masks/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(path, np.array([[0, class_id, 255, 0]], np.uint8).repeat(6, axis=0).repeat(2, axis=1))
    (tmp_path / "tags.csv").write_text(TAGS)
    (tmp_path / "val.txt").write_text("d\n")
    return tmp_path


def read(own, **changes):
    given = {"tags": own / "tags.csv", "masks": own / "masks", "val": own / "val.txt"} | changes
    return read_own(own / "photos", CLASSES, **given)


def refused(own, **changes) -> str:
    """The message of the error."""
    with pytest.raises(InputError) as error:
        read(own, **changes)
    assert "\n" not in str(error.value)
    return str(error.value).replace(f"{own}/", "")


def test_images_are_named_by_their_path_with_or_without_suffix(own):
    assert list(find_images(own / "photos")) == ["a", "c", "d", "day 2_b"]
    names = ["day 2/b.JPG", "day 2/b", " day 2/b.png "]
    assert {id_of(name) for name in names} == {"day 2_b"}
    assert id_of("IMG.2023.jpg") == "IMG.2023" == id_of("IMG.2023"), "only an image's suffix is cut off"


def test_hidden_files_and_others_than_images_are_left_out(own):
    for name in ("._a.jpg", ".thumbs/b.jpg", "notes.txt"):
        (own / "photos" / name).parent.mkdir(exist_ok=True)
        (own / "photos" / name).write_bytes(b"no image")
    assert list(find_images(own / "photos")) == ["a", "c", "d", "day 2_b"]


def test_what_is_not_scored_on_is_trained_on(own):
    _, splits = read(own)
    assert splits == {"train": ["a", "c", "day 2_b"], "labelled_train": ["day 2_b"], "val": ["d"]}
    _, splits = read(own, val=None)
    assert splits == {"train": ["a", "c", "d", "day 2_b"], "labelled_train": ["d", "day 2_b"], "val": []}


def test_tags_come_from_the_table_and_else_from_the_mask(own):
    records, _ = read(own)
    assert {r.image_id: r.classes for r in records} == {
        "a": (CAT, LIGHT),
        "c": (CAT,),
        "d": (CAT,),  # of its mask
        "day 2_b": (CAT,),  # its mask shows the other class
    }
    records, _ = read(own, tags=None)
    assert [r.classes for r in records] == [(), (), (CAT,), (LIGHT,)]


def test_an_empty_field_means_no_tags(own):
    (own / "tags.csv").write_text("image,tags\na,\nday 2/b,\n")
    records, _ = read(own)
    assert [r.classes for r in records] == [(), (), (CAT,), (LIGHT,)]


def test_a_table_saved_by_a_spreadsheet_is_read(own):
    (own / "tags.csv").write_bytes(b"\xef\xbb\xbf" + TAGS.replace("\n", "\r\n").encode())
    assert read_tags(own / "tags.csv", ["a", "c", "day 2_b"], CLASSES) == {"a": (1, 2), "day 2_b": (1,), "c": (1,)}


def test_tags_alone_are_enough(own):
    records, splits = read(own, masks=None, val=None)
    assert splits == {"train": ["a", "c", "d", "day 2_b"], "labelled_train": [], "val": []}
    assert all(record.mask is None for record in records)


def test_which_training_images_have_masks_is_known_before_anything_runs(own):
    assert training_masks(own / "masks", own / "val.txt") == {"day 2_b"}
    assert training_masks(own / "masks", None) == {"day 2_b", "d"}
    (own / "val.txt").write_bytes(b"\xef\xbb\xbfd\n")  # as an editor saves it with a byte order mark
    (own / "masks/day 2/b.png").rename(own / "masks/day 2/b.PNG")
    for name in ("._a.png", ".thumbs/c.png"):
        (own / "masks" / name).parent.mkdir(exist_ok=True)
        (own / "masks" / name).write_bytes(b"no mask")
    _, splits = read(own)
    assert training_masks(own / "masks", own / "val.txt") == set(splits["labelled_train"]) == {"day 2_b"}
    assert training_masks(None, own / "val.txt") == training_masks(own / "missing", own / "missing.txt") == set()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("image,tags\ne.jpg,cat\n", "tags.csv: line 2: no image 'e.jpg' below data.mine.images; correct the name"),
        ("image,tags\na,cat\na.jpg,cat\n", "tags.csv: line 3: names image 'a.jpg' again; keep one line per image"),
        ("image,tags\na,cat;dogg\n", "tags.csv: line 2: unknown class 'dogg'; choose from cat, traffic light"),
        ("image,tags\na,trafic light\n", "tags.csv: line 2: unknown class 'trafic light'; did you mean"),
        ("image,tags\na,background\n", "tags.csv: line 2: unknown class 'background'"),
        ("image,tags\na,cat,traffic light\n", "tags.csv: line 2: has 3 columns; separate tags by semicolons"),
        ("image;tags\na;cat\n", "tags.csv: columns are ['image;tags'], not ['image', 'tags']; correct the first line"),
        ("", "tags.csv: columns are None, not ['image', 'tags']"),
        ('image,tags\na,cat\n\n"c.png,cat\nday 2/b,cat\n', 'tags.csv: line 4: opens a quote (") and does not close it'),
        ('"image,tags\na,cat\n', 'tags.csv: line 1: opens a quote (") and does not close it; correct the line'),
        pytest.param("image,tags\na," + "x" * 200_000, "tags.csv: line 2: field larger than field limit", id="long"),
    ],
)
def test_a_wrong_table_of_tags_is_refused_with_the_line_that_is_wrong(own, text, line):
    (own / "tags.csv").write_text(text)
    assert refused(own).startswith(line)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("d\ne\n", "val.txt: line 2: no image 'e' below data.mine.images; correct the name"),
        ("d\nd.webp\n", "val.txt: names d twice; remove one of the lines"),
        ("d\na.jpg\n", "val.txt: image a has no mask to be scored on; draw one, or remove its line"),
        ("\n", "val.txt: is empty; put one image per line there, or set data.mine.val to null"),
    ],
)
def test_a_wrong_list_of_images_to_score_on_is_refused(own, text, line):
    (own / "val.txt").write_text(text)
    assert refused(own) == line


def test_a_list_of_all_images_leaves_none_to_train_on(own):
    for name in ("a", "c"):
        write_mask(own / f"masks/{name}.png", np.zeros((6, 8), np.uint8))
    (own / "val.txt").write_text("a\nday 2/b\nc\nd\n")
    assert refused(own).startswith("val.txt: names all images of photos; leave some")


def test_a_mask_of_another_size_is_refused(own):
    write_mask(own / "masks/d.png", np.zeros((8, 6), np.uint8))
    assert refused(own) == "masks/d.png: height and width are (8, 6), its image's (6, 8); replace it"


def test_a_mask_with_an_id_of_no_class_is_refused_also_where_the_table_has_tags(own):
    write_mask(own / "masks/day 2/b.png", np.full((6, 8), 3, np.uint8))
    assert refused(own).startswith(
        "masks/day 2/b.png: class id 3 is out of range 0..2 (255 = ignore); correct the mask"
    )


def test_a_mask_in_colour_is_refused(own):
    Image.new("RGB", (8, 6)).save(own / "masks/d.png")
    assert refused(own).startswith("masks/d.png: mask in mode RGB; save class ids")


def test_a_mask_of_no_image_is_refused(own):
    write_mask(own / "masks/d_mask.png", np.zeros((6, 8), np.uint8))
    assert refused(own) == "masks/d_mask.png: no image has this name without its suffix; rename the mask, or remove it"


@pytest.mark.parametrize(("name", "first"), [("a.png", "a.jpg"), ("day 2_b.jpg", "day 2/b.JPG")])
def test_two_images_with_one_id_are_refused(own, name, first):
    Image.new("RGB", (8, 6)).save(own / "photos" / name)
    line = refused(own)
    assert "has the same id as" in line and "rename or remove one of them" in line
    assert name in line and first in line


def test_masks_among_the_images_are_refused(own):
    (own / "masks").rename(own / "photos/masks")
    assert refused(own, masks=own / "photos/masks").startswith("photos/masks: lies within data.mine.images")


def test_a_broken_image_is_named(own):
    (own / "photos/a.jpg").write_bytes(b"no image")
    assert refused(own).startswith("photos/a.jpg: truncated or not an image")


def test_an_empty_folder_and_missing_files_are_named(own):
    (own / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no images in it; set data\.mine\.images to a folder with \.png"):
        find_images(own / "empty")
    with pytest.raises(InputError, match=r"away: no such folder; set data\.mine\.images to a folder of images"):
        find_images(own / "away")
    for key in ("tags", "val"):
        assert refused(own, **{key: own / "away"}) == "away: no such file; correct its name in data.mine"
    assert refused(own, masks=own / "away").startswith("away: no such folder; set data.mine.masks")
    (own / "tags.csv").write_bytes("image,tags\nä,cat\n".encode("latin-1"))
    assert refused(own) == "tags.csv: is not in UTF-8; save it again in that encoding"


# What is read, and what is left out


@pytest.fixture
def said(own, caplog):
    """Reads the images and returns the lines of the log."""

    def read_and_listen(**changes) -> list[str]:
        caplog.clear()
        with caplog.at_level("INFO"):
            read(own, **changes)
        return [message.replace(f"{own}/", "") for message in caplog.messages]

    return read_and_listen


def test_what_was_read_is_summed_up_in_numbers(said):
    assert said() == [
        "photos: 4 files: 2 .jpg, 1 .png, 1 .webp",
        "tags of the 3 training images: 'cat' 3, 'traffic light' 1",
        "masks: 2 files: 2 .png",
        "masks: ids, number of masks and share of pixels: 0 'background' in 2 (50.0 %), 1 'cat' in 1 (12.5 %), "
        "2 'traffic light' in 1 (12.5 %), 255 'ignore' in 2 (25.0 %)",
        "warning: masks: no mask of a training image shows 'cat'",
        "warning: the tags of 1 images are not what their masks show, and the tags count; the first is day 2_b: tags "
        "'cat', mask 'traffic light'",
    ]


def test_files_of_other_kinds_are_counted(own, said):
    for name in ("photos/day 2/y.cr2", "photos/z.cr2", "photos/LICENSE", "masks/a.jpg"):
        (own / name).write_bytes(b"")
    lines = said()
    assert "; left out: 2 .cr2, " in lines[0] and "1 without suffix" in lines[0]
    assert "masks: 2 files: 2 .png; left out: 1 .jpg" in lines


def test_images_that_are_changed_are_counted(own, said):
    for name, values in (("deep", 4095), ("deeper", 60000)):
        Image.fromarray(np.full((6, 8), values, np.uint16)).save(own / f"photos/{name}.tif")
    turned(own / "photos/turned.jpg", (6, 8))
    Image.new("RGBA", (8, 6)).save(own / "photos/c.png")
    assert said(tags=None)[1:6] == [
        "photos: 1 images with an alpha channel, laid on white",
        "photos: 1 images of 12 bits, scaled to 8 bits",
        "photos: 1 images of 16 bits, scaled to 8 bits",
        "photos: 1 images turned upright, as EXIF says",
        "warning: photos: images of several depths may differ in brightness; save all with 8 bits",
    ]


def test_a_class_that_nothing_shows_is_named(own, said):
    (own / "tags.csv").write_text("image,tags\na,cat\nday 2/b,cat\nc,\n")
    line = "warning: no training image has the tag 'traffic light'; remove the class, or add images"
    assert line in said() and line not in said(tags=None)


def turned(path, size) -> None:
    """Save an image that EXIF turns by 90 degrees; the upright one has this height and width."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", size).save(path, exif=exif)  # stored: as high as the upright image is wide


def test_a_photograph_is_as_large_as_exif_turns_it_and_so_is_its_mask(own):
    turned(own / "photos/d.webp", (6, 8))  # height 6, width 8, as its mask
    records, _ = read(own)
    assert {record.image_id: (record.height, record.width) for record in records}["d"] == (6, 8)
    turned(own / "photos/d.webp", (8, 6))
    assert refused(own) == (
        "masks/d.png: height and width are (6, 8), its image's (8, 6); turn it as its image, which EXIF turns"
    )


@pytest.mark.parametrize("suffix", ["tif", "TIFF", "bmp"])
def test_masks_may_be_in_other_files_that_change_no_id(own, suffix):
    ids = read_mask(own / "masks/d.png", 3)
    (own / "masks/d.png").unlink()
    Image.fromarray(ids).save(own / f"masks/d.{suffix}")
    records, _ = read(own)
    assert records[2].mask == own / f"masks/d.{suffix}" and records[2].classes == (CAT,)


def test_linked_folders_are_read_and_no_circle_is_followed(own):
    (own / "photos/day 2").rename(own / "elsewhere")
    (own / "photos/day 2").symlink_to(own / "elsewhere")
    (own / "elsewhere/back").symlink_to(own / "photos")
    assert list(find_images(own / "photos")) == ["a", "c", "d", "day 2_b"]
    assert training_masks(own / "masks", None) == {"day 2_b", "d"}


def test_a_folder_with_an_images_name_is_no_image_and_a_broken_link_is_named(own):
    (own / "photos/album.jpg").mkdir()
    assert list(find_images(own / "photos")) == ["a", "c", "d", "day 2_b"]
    (own / "photos/e.jpg").symlink_to(own / "away.jpg")
    assert refused(own).startswith("photos/e.jpg: no such image; restore it")


def test_a_folder_that_may_not_be_listed_is_named(own, monkeypatch):
    scandir = os.scandir

    def refuse(folder):
        if Path(folder).name == "day 2":
            raise PermissionError(13, "Permission denied", str(folder))  # chmod does not stop root
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert refused(own) == "photos/day 2: cannot be listed (Permission denied); correct the name or its permissions"
    assert training_masks(own / "masks", own / "val.txt") == set(), "the stage reports it, not the plan"
    assert own_digests(own / "photos", own / "masks", None, None)


# Names


def test_an_accent_of_one_or_two_characters_is_the_same_name(own):
    one, two = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    assert one != two and id_of(one) == id_of(two)
    (own / "photos/a.jpg").rename(own / f"photos/{two}.jpg")
    (own / "tags.csv").write_text(f"image,tags\n{one}.jpg,{two}\nday 2/b,\nc,\n")
    records, _ = read_own(own / "photos", ("background", one), tags=own / "tags.csv")
    assert {r.image_id: r.classes for r in records}[one] == (1,)
    Image.new("RGB", (8, 6)).save(own / f"photos/{one}.jpg")
    assert "has the same id as" in refused(own, tags=None)


def test_spaces_around_a_name_and_windows_paths_are_no_part_of_an_id(own, tmp_path):
    (own / "photos/c.png").rename(own / "photos/c .png")
    (own / "tags.csv").write_text("image,tags\nday 2\\b.JPG,cat\nc ,cat\n")
    records, splits = read(own, masks=None, val=None)
    assert {r.image_id: r.classes for r in records}["day 2_b"] == (CAT,)
    (tmp_path / "ids.txt").write_text(list_text(splits["train"]))
    assert (
        read_ids(tmp_path / "ids.txt") == splits["train"] == [r.image_id for r in records] == ["a", "c", "d", "day 2_b"]
    )


def test_a_name_that_no_list_can_hold_is_refused(own):
    (own / "photos/two\nlines.jpg").write_bytes(b"")
    assert "two\\nlines.jpg': its name has a line break" in refused(own)
    (own / "photos/two\nlines.jpg").unlink()
    with open(os.fsencode(own) + b"/photos/caf\xe9.jpg", "wb"):
        assert refused(own) == "photos/caf\\xe9.jpg: its name is not in UTF-8; rename it"
        assert own_digests(own / "photos", None, None, None), "the stage reports it, not the plan"


@pytest.mark.parametrize("key", ["tags", "val"])
def test_a_list_that_cannot_be_read_is_named(own, key, monkeypatch):
    (own / "folder").mkdir()
    line = "folder: cannot be read (Is a directory); correct its name or permissions"
    assert refused(own, **{key: own / "folder"}) == line

    def refuse(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    file = {"tags": "tags.csv", "val": "val.txt"}[key]
    line = f"{file}: cannot be read (Permission denied); correct its name or permissions"
    assert refused(own, **{"tags": None, "val": None, key: own / file}) == line


# Masks that cannot be meant


def save_masks(own, values: dict, **palette) -> None:
    """Masks of the images a, c and d, one row of ids each, with the colours of a palette."""
    shutil.rmtree(own / "masks")
    (own / "masks").mkdir()
    for name, ids in values.items():
        image = Image.fromarray(np.array([ids], np.uint8).repeat(6, axis=0).repeat(8 // len(ids), axis=1))
        if name in palette:
            image.putpalette(np.array(palette[name], np.uint8).tobytes())
        image.save(own / f"masks/{name}.png")


@pytest.mark.parametrize(("ids", "held"), [([0, 255], "0 and 255"), ([0, 0], "0"), ([255, 255], "255")])
def test_masks_that_show_no_class_are_refused(own, ids, held):
    save_masks(own, {"a": ids, "d": [0, 0] if held == "0" else ids})
    assert refused(own) == (
        f"masks: 2 masks hold {held} alone; 0 is background and 255 ignore, so they show no class; save 'cat' as 1, "
        "and so on"
    )


def test_a_mask_of_one_bit_shows_the_first_class_unless_others_have_eight_bits(own):
    shutil.rmtree(own / "masks")
    (own / "masks").mkdir()
    for name in ("a", "d"):
        Image.fromarray(np.eye(6, 8, dtype=bool)).save(own / f"masks/{name}.png")
    records, _ = read(own, tags=None)
    assert [record.classes for record in records] == [(CAT,), (), (CAT,), ()]
    Image.fromarray(np.eye(6, 8, dtype=np.uint8)).save(own / "masks/a.png")
    assert refused(own).startswith(
        "masks/d.png: has one bit a pixel, as 1 of 2 masks, so white may be class 1 or ignore"
    )


BLACK, RED, GREEN, PINK = (0, 0, 0), (128, 0, 0), (0, 128, 0), (255, 0, 200)
LOST = "a program has renumbered the palette: restore the ids, or save all masks as grey PNG if theirs are right"


def test_a_palette_that_an_optimiser_renumbered_is_refused(own):
    palette = [BLACK, PINK, (0, 200, 0)]
    save_masks(own, {"a": [0, 1, 2, 0], "d": [0, 1]}, a=palette, d=[BLACK, palette[2]])
    assert refused(own) == f"masks/d.png: id 1 has the colour (0, 200, 0), which is id 2 in masks/a.png; {LOST}"
    save_masks(own, {"a": [0, 1], "d": [0, 1]}, a=[BLACK, PINK], d=[BLACK, palette[2]])
    assert refused(own) == f"masks/d.png: id 1 has the colour (0, 200, 0), but (255, 0, 200) in masks/a.png; {LOST}"
    save_masks(own, {"a": [0, 1], "d": [0, 1]}, a=[BLACK, GREEN], d=[BLACK, GREEN])
    assert refused(own) == f"masks/a.png: id 1 has the colour (0, 128, 0), id 2 in VOC's palette; {LOST}"


def test_palettes_that_agree_and_grey_masks_are_read(own):
    for first, second in (([BLACK, RED, GREEN], [BLACK, RED]), ([PINK, BLACK, RED], [PINK, BLACK])):
        save_masks(own, {"a": [0, 1, 2, 0], "d": [0, 1], "c": [0, 2]}, a=first, d=second)  # c is grey
        records, _ = read(own, tags=None)
        assert [record.classes for record in records] == [(CAT, LIGHT), (LIGHT,), (CAT,), ()]


def test_programs_may_differ_in_the_colour_of_ignore(own):
    white, grey = (np.zeros((256, 3), np.uint8) for _ in range(2))
    for palette, colour in ((white, 255), (grey, 200)):
        palette[1], palette[255] = RED, colour
    save_masks(own, {"a": [0, 1, 255, 0], "d": [1, 255]}, a=white, d=grey)
    records, _ = read(own, tags=None)
    assert records[0].classes == (CAT,)


def test_masks_whose_classes_begin_at_0_are_said_to_be_shifted(own, said):
    save_masks(own, {"a": [0, 255, 255, 1], "d": [255, 0]})
    lines = said(tags=None)
    assert (
        "masks: ids, number of masks and share of pixels: 0 'background' in 2 (37.5 %), 1 'cat' in 1 (12.5 %), "
        "255 'ignore' in 2 (50.0 %)"
    ) in lines
    assert lines[-1] == (
        "warning: masks: more pixels are ignore (255) than background (0); if 255 is your background, all ids are one "
        "too low: classes begin at 1"
    )


def test_a_folder_without_masks_is_named_with_what_it_holds(own):
    shutil.rmtree(own / "masks")
    (own / "masks").mkdir()
    end = "save class ids there as <image>.png, or set data.mine.masks to null"
    assert refused(own) == f"masks: no masks in it; {end}"
    (own / "masks/d.jpg").write_bytes(b"")
    assert refused(own) == f"masks: no masks in it, but 1 .jpg; {end}"


# Images that show none of the classes


def test_an_empty_field_means_no_class_and_a_missing_line_means_unknown(own):
    (own / "tags.csv").write_text("image,tags\na,\n")
    records, splits = read(own)
    assert {r.image_id: (r.classes, "untagged" in r.splits) for r in records} == {
        "a": ((), False),
        "c": ((), True),
        "d": ((CAT,), False),
        "day 2_b": ((LIGHT,), False),
    }
    assert set(splits) == {"train", "labelled_train", "val"}
    training = [record for record in records if "train" in record.splits]
    with pytest.raises(InputError, match=r"c.png: the image has no tags to learn from \(1 of 3 images have none\)"):
        check_tags(training, CLASSES, "add")
    check_tags([record for record in training if record.image_id != "c"], CLASSES, "add")


def test_a_class_in_all_training_images_is_warned_of(own, caplog):
    (own / "tags.csv").write_text("image,tags\na,cat\nc,cat;traffic light\nd,cat\nday 2/b,cat\n")
    records, _ = read(own, masks=None, val=None)
    caplog.clear()
    check_tags(records, CLASSES, "add")
    assert caplog.messages == [
        "warning: all 4 training images show 'cat', so nothing teaches what it is not; add images without it, with an "
        "empty field where they show no class"
    ]
    (own / "tags.csv").write_text("image,tags\na,\nc,cat\nd,cat\nday 2/b,cat\n")
    records, _ = read(own, masks=None, val=None)
    caplog.clear()
    check_tags(records, CLASSES, "add")
    assert caplog.messages == []


def debias(folder, classes) -> None:
    table = {"centroids": np.ones((2, 3), np.float32), "classes": np.array(classes, np.uint8)}
    write_table(folder / "centroids.h5", table)
    debiased_centroids("voc", "index.csv", [str(folder / "centroids.h5")], str(folder / "debiased.h5"), 0.4, False)


def test_mars_refuses_pseudo_labels_without_background(tmp_path):
    with pytest.raises(InputError, match="no image has background in its pseudo label, which MARS"):
        debias(tmp_path, [1, 1])


def test_mars_warns_of_pseudo_labels_without_an_object(tmp_path, caplog):
    debias(tmp_path, [0, 0])
    assert "no image has an object in its pseudo label, so MARS removes nothing" in caplog.text
    assert (tmp_path / "debiased.h5").exists()


# The stages


@pytest.fixture
def indexed(own):
    """The values of data.mine, and the paths of the stage's outputs."""
    given = {"images": f"{own}/photos", "tags": f"{own}/tags.csv", "masks": f"{own}/masks", "val": f"{own}/val.txt"}
    made = {"index": "index.csv", "class_list": "classes.txt", "manifest_file": "manifest.json"}
    made |= {"train": "train.txt", "labelled_train": "labelled_train.txt"}
    return given | {"classes": list(CLASSES[1:])} | {name: str(own / file) for name, file in made.items()}


def test_the_index_has_the_classes_beside_it(indexed, own):
    index_own(**indexed)
    about = find_dataset("mine", own / "index.csv")
    assert about.classes == CLASSES and about.has_background
    assert list(read_index(own / "index.csv")) == ["a", "c", "d", "day 2_b"]
    assert read_ids(own / "train.txt") == ["a", "c", "day 2_b"], "ids may hold spaces"
    manifest = json.loads((own / "manifest.json").read_text())
    assert manifest["labelled_train"]["images"] == 1 and manifest["val"]["published"] == "own"
    assert manifest["train"]["images_per_class"] == {"cat": 3, "traffic light": 1}


@pytest.mark.parametrize("key", ["images", "classes"])
def test_an_unset_value_is_named(indexed, key):
    with pytest.raises(InputError, match=rf"config: data\.mine\.{key} is not set"):
        index_own(**indexed | {key: None})


def test_without_a_list_of_classes_the_message_says_how_to_make_it(own):
    with pytest.raises(InputError, match=r"classes\.txt: no such list of classes; run snakemake"):
        find_dataset("mine", own / "index.csv")


def test_a_table_needs_images_to_score_on_and_labels_do_not(indexed, own):
    index_own(**indexed)
    validation_own(str(own / "index.csv"), str(own / "val_ids.txt"), scale="small")
    assert read_ids(own / "val_ids.txt") == ["d"]
    index_own(**indexed | {"val": None})
    with pytest.raises(InputError, match=r"data\.mine\.val is not set.* work/small/mine/mars/irn/pseudo_labels\.h5"):
        validation_own(str(own / "index.csv"), str(own / "val_ids.txt"), scale="small")


def test_images_with_masks_are_the_labelled_ones(indexed, own):
    index_own(**indexed)
    made = {"labelled": own / "labelled.txt", "unlabelled": own / "unlabelled.txt", "manifest_file": own / "part.json"}
    partition_own(indexed["train"], indexed["labelled_train"], **made)
    assert read_ids(own / "labelled.txt") == ["day 2_b"] and read_ids(own / "unlabelled.txt") == ["a", "c"]
    (own / "none.txt").write_text("")
    with pytest.raises(InputError, match=r"no training image has a mask in data\.mine\.masks"):
        partition_own(indexed["train"], own / "none.txt", **made)
    with pytest.raises(InputError, match=r"all 3 training images have a mask in data\.mine\.masks"):
        partition_own(indexed["train"], indexed["train"], **made)


def test_map_stores_keep_such_ids(tmp_path):
    """A "/" in an id would be a folder to HDF5."""
    image_id = id_of("day 2/Ä & b (1).jpg")
    with create_maps(tmp_path / "1.h5", "label", producer="test") as store:
        store.write(image_id, np.zeros((2, 2), np.uint8))
    merge_maps([tmp_path / "1.h5"], tmp_path / "all.h5")
    assert list(open_maps(tmp_path / "all.h5")) == [image_id]
    assert open_maps(tmp_path / "all.h5")[image_id].shape == (2, 2)
    with h5py.File(tmp_path / "1.h5") as file:
        assert list(file["maps"]) == [image_id]


def test_centroids_keep_such_ids_and_shards_may_outnumber_images(tmp_path):
    (tmp_path / "ids.txt").write_text("Ä 1\n")
    for kind, array in (("features", np.ones((3, 2, 2), np.float16)), ("label", np.zeros((4, 4), np.uint8))):
        with create_maps(tmp_path / f"{kind}.h5", kind, producer="test") as store:
            store.write("Ä 1", array)
    shards = [tmp_path / f"{number}.h5" for number in (1, 2)]
    for number, shard in enumerate(shards, start=1):
        image_centroids(
            *(str(tmp_path / name) for name in ("ids.txt", "features.h5", "label.h5")),
            *(str(shard), 1, 1, "patches", "euclidean", "repeat"),
            scatteritem=f"{number}-of-2",
        )
    table = read_tables(shards)
    assert table["images"].tolist() == ["Ä 1"] and table["centroids"].tolist() == [[1.0, 1.0, 1.0]]
    assert read_tables(shards[1:])["centroids"].shape == (0, 3)
