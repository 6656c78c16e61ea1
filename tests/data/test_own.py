"""A user's own images: names, sources of tags, splits; and mistakes in the files."""

import json

import h5py
import numpy as np
import pytest
from PIL import Image

from data.index_own import main as index_own
from data.validation_own import main as validation_own
from few_masks.partition_own import main as partition_own
from mars.image_centroids import main as image_centroids
from maskmill.data.catalog import find_dataset
from maskmill.data.index import read_ids, read_index
from maskmill.data.own import find_images, id_of, read_own, read_tags, training_masks
from maskmill.data.voc import write_mask
from maskmill.errors import InputError
from maskmill.storage.maps import create_maps, merge_maps, open_maps
from maskmill.storage.tables import read_tables

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
