"""Localisation sets: all layouts, the held-out format, boxes in the formats of their sources, download, wrong lists."""

import hashlib
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxes import download_cub
from maskmill.data.index import read_index, write_index
from maskmill.data.localization import (
    CUB,
    ILSVRC,
    build_index,
    manifest,
    read_boxes,
    read_cub,
    read_held_out,
    read_ilsvrc,
    write_boxes,
)
from maskmill.data.sample_localization import FIRST, draw_localization_scenes, lone_objects
from maskmill.errors import InputError

SIZES = {"train": 6, "heldout": 3, "val": 4, "size": 48}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("localization")
    for boxset in FIRST:
        draw_localization_scenes(folder / boxset, boxset, **SIZES)
    return folder


@pytest.fixture
def copy(drawn, tmp_path) -> Path:
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    return tmp_path


def cub(root):
    names, located = read_cub(root / "cub")
    return names, located + read_held_out(root / "cub/heldout/images", root / "cub/heldout/lists", len(names))


def replace_line(path: Path, number: int, line: str | None) -> None:
    lines = path.read_text().splitlines()
    lines[number : number + 1] = [] if line is None else [line]
    path.write_text("\n".join(lines) + "\n")


# --- what the scenes give -------------------------------------------------------------------------------------------


def test_every_run_draws_the_same_bytes_and_more_scenes_leave_the_first(drawn, tmp_path):
    draw_localization_scenes(tmp_path, "cub", **{**SIZES, "train": 8})
    for path in (drawn / "cub").rglob("*.*p*g"):
        assert (tmp_path / path.relative_to(drawn / "cub")).read_bytes() == path.read_bytes()


def test_boxes_and_masks_are_those_of_the_single_object(drawn):
    located = {one.image_id: one for one in cub(drawn)[1]}
    scenes = lone_objects(FIRST["cub"], 48, 0)
    for _ in range(SIZES["train"]):
        number, scene = next(scenes)
        one = next(one for name, one in located.items() if name.endswith(f"_{number:07d}"))
        mask = np.array(Image.open(one.mask)) >= 128
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert one.boxes == ((columns[0], rows[0], columns[-1], rows[-1]),)
        assert (one.class_id, *one.boxes[0]) == scene.boxes[0]


def test_cub_splits_classes_and_held_out_images_are_read(drawn):
    names, located = cub(drawn)
    assert names[0] == "001.aeroplane" and len(names) == 20
    assert [sum(one.split == split for one in located) for split in ("train", "heldout", "val")] == [6, 3, 4]
    assert all(one.boxes and "/" not in one.image_id for one in located)
    for one in located:
        if one.split != "heldout":
            assert names[one.class_id - 1] == one.image.parent.name


def test_ilsvrc_reads_boxes_from_xml_and_from_both_kinds_of_lists(drawn, tmp_path):
    names, located = read_ilsvrc(drawn / "ilsvrc", drawn / "ilsvrc/boxes")
    boxes = {one.image_id: (one.boxes, one.stated) for one in located}
    assert all(names[one.class_id - 1] == one.image.parent.name for one in located)
    assert [sum(one.split == split for one in located) for split in ("train", "val")] == [6, 4]
    val = [one for one in located if one.split == "val"]
    rows = [(f"val/{one.image.name}", *map(int, one.boxes[0])) for one in val]
    (tmp_path / "localization.txt").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    (tmp_path / "image_sizes.txt").write_text("".join(f"{row[0]},48,48\n" for row in rows))
    bas = [f"{one.image.parent.name}\\{one.image.name} 48 48 ; {' '.join(map(str, one.boxes[0]))}\n" for one in val]
    (tmp_path / "val_gt.txt").write_text("".join(bas))
    for source in ("localization.txt", "val_gt.txt"):
        assert {
            one.image_id: (one.boxes, one.stated) for one in read_ilsvrc(drawn / "ilsvrc", tmp_path / source)[1]
        } == boxes


def test_several_boxes_of_an_image_are_kept(copy):
    names = sorted(path.name for path in (copy / "ilsvrc/val").rglob("*.JPEG"))
    lines = [f"val/{name},1,2,20,30" for name in names] + [f"val/{names[0]},5,6,7,8"]
    (copy / "list.txt").write_text("\n".join(lines))
    located = {one.image.name: one for one in read_ilsvrc(copy / "ilsvrc", copy / "list.txt")[1]}
    assert located[names[0]].boxes == ((1, 2, 20, 30), (5, 6, 7, 8))
    assert located[names[1]].boxes == ((1, 2, 20, 30),)


def test_cub_boxes_are_corners_as_the_benchmark_prints_them(tmp_path):
    """The release's first line is 60 27 325 304, that of the benchmark's localization.txt 60,27,385,331."""
    files = {
        "images": "1 001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg",
        "image_class_labels": "1 1",
        "train_test_split": "1 0",
        "bounding_boxes": "1 60.0 27.0 325.0 304.0",
        "classes": "1 001.Black_footed_Albatross",
    }
    for name, line in files.items():
        (tmp_path / f"{name}.txt").write_text(line + "\n")
    (one,) = read_cub(tmp_path)[1]
    assert one.boxes == ((60, 27, 385, 331),) and one.split == "val" and one.mask is None


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def as_bas_has_it(release: Path, root: Path) -> Path:
    """CUB's release in BAS' layout; the lists have another order than the files."""
    names, located = read_cub(release)
    for name in names:
        (root / "train" / name).mkdir(parents=True)
    lists = {"test_list": [], "test_bounding_box": []}
    for one in reversed(located):
        name = one.image.parent.name
        folder = root / ("train" if one.split == "train" else "test") / name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(one.image, folder)
        if one.split == "val":
            lists["test_list"].append(f"{name}/{one.image.name};{one.class_id - 1}")
            lists["test_bounding_box"].append(" ".join(map(str, (*one.boxes[0], 48, 48))))
    for name, lines in lists.items():
        write(root / f"{name}.txt", *lines)
    return root


def test_cub_as_bas_arranges_it_is_cub_as_it_was_released(drawn, tmp_path):
    release, folders = read_cub(drawn / "cub"), read_cub(as_bas_has_it(drawn / "cub", tmp_path))
    assert folders[0] == release[0]
    of_image = {one.image_id: one for one in folders[1]}
    assert len(of_image) == len(release[1]) == 10
    for one in release[1]:
        twin = of_image[one.image_id]
        assert (twin.class_id, twin.split) == (one.class_id, one.split)
        assert twin.image.read_bytes() == one.image.read_bytes() and twin.mask is None
        assert (twin.boxes, twin.stated) == ((one.boxes, (48, 48)) if one.split == "val" else ((), None))
    assert [record.image_id for record in build_index(folders[1])] == sorted(of_image)


def test_a_release_beside_an_image_folder_is_read_as_the_release(copy):
    (copy / "cub/test/001.aeroplane").mkdir(parents=True)
    assert len(read_cub(copy / "cub")[1]) == 10


ALBATROSS = "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg"


@pytest.fixture
def albatross(tmp_path) -> Path:
    """The first line of either list of BAS' release, and an image of that size."""
    for split in ("train", "test"):
        (tmp_path / split / ALBATROSS).parent.mkdir(parents=True)
    Image.new("RGB", (500, 335)).save(tmp_path / "test" / ALBATROSS)
    write(tmp_path / "test_list.txt", f"{ALBATROSS};0")
    write(tmp_path / "test_bounding_box.txt", "60.0 27.0 385.0 331.0 335 500")
    return tmp_path


def test_boxes_of_bas_list_are_corners_with_height_before_width(albatross):
    names, (one,) = read_cub(albatross)
    assert names == ["001.Black_footed_Albatross"] and one.image_id == ALBATROSS.replace("/", "__")[: -len(".jpg")]
    assert (one.class_id, one.split, one.boxes, one.stated) == (1, "val", ((60, 27, 385, 331),), (335, 500))
    assert [(record.height, record.width) for record in build_index([one])] == [(335, 500)]


def test_index_and_boxes_read_back_as_they_were_written(drawn, tmp_path):
    _, located = cub(drawn)
    records = build_index(located, threads=2)
    write_index(tmp_path / "index.csv", records)
    assert list(read_index(tmp_path / "index.csv").values()) == records
    write_boxes(tmp_path / "boxes.csv", located)
    boxes = read_boxes(tmp_path / "boxes.csv")
    assert {name: tuple(map(tuple, found)) for name, found in boxes.items()} == {o.image_id: o.boxes for o in located}


def test_manifest_tells_the_published_sizes_from_others(drawn):
    _, located = cub(drawn)
    parts = manifest(located, CUB)
    assert parts["val"]["images"] == 4 and parts["val"]["published"] == "custom: 4 images, published 5,794"
    assert parts["heldout"]["published"] == "custom"


def test_published_sizes_are_those_of_the_spec():
    assert {name: split.images for name, split in CUB.splits.items()} == {"train": 5_994, "val": 5_794}
    assert ILSVRC.splits["val"].images == 50_000


# --- download -------------------------------------------------------------------------------------------------------


@pytest.fixture
def archive(drawn, tmp_path, monkeypatch) -> Path:
    """The URL of an archive with the drawn set in the layout of the release."""
    path = tmp_path / "server/CUB_200_2011.tgz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        tar.add(drawn / "cub", CUB.folder)
    small = replace(CUB.archive, urls=(path.as_uri(),))
    monkeypatch.setattr(download_cub, "CUB", replace(CUB, archive=small))
    return path


def test_a_downloaded_cub_is_the_archives_and_stays_whole_when_it_is_fetched_again(archive, drawn, tmp_path):
    complete, checksum = tmp_path / "cub/CUB_200_2011/.complete", f"md5:{hashlib.md5(archive.read_bytes()).hexdigest()}"
    for _ in range(2):
        complete.parent.mkdir(parents=True, exist_ok=True)  # as Snakemake does
        download_cub.main(str(complete), checksum)
        assert complete.exists()
        archive.unlink(missing_ok=True)
    names, located = read_cub(complete.parent)
    assert (names, len(located)) == (read_cub(drawn / "cub")[0], 10)
    assert sorted(path.name for path in (tmp_path / "cub").iterdir()) == ["CUB_200_2011", "archives"]


@pytest.mark.parametrize("given", [None, f"sha256:{'0' * 64}"])
def test_a_cub_archive_with_a_wrong_checksum_is_one_line_and_unpacked_nowhere(archive, tmp_path, given):
    complete, expected = tmp_path / "cub/CUB_200_2011/.complete", given or "md5:97eceeb196236b17998738112f37df78"
    with pytest.raises(InputError) as error:
        download_cub.main(str(complete), given)
    found = hashlib.new(expected.split(":")[0], archive.read_bytes()).hexdigest()
    message = str(error.value)
    assert "CUB_200_2011.tgz: checksum is" in message and found in message and f"expected {expected};" in message
    assert "\n" not in message
    assert [path.name for path in (tmp_path / "cub").rglob("*")] == ["archives"]


# --- bad inputs -----------------------------------------------------------------------------------------------------


def test_a_box_list_with_a_missing_image_names_it(copy):
    path = copy / "cub/heldout/lists/image_ids.txt"
    gone = copy / "cub/heldout/images" / path.read_text().split()[0]
    gone.unlink()
    with pytest.raises(InputError, match=f"{gone.name}: no such image, but .*localization.txt names it"):
        build_index(cub(copy)[1])


def test_a_list_that_names_an_unknown_image_and_one_that_lacks_one_are_named(copy):
    boxes = copy / "cub/bounding_boxes.txt"
    whole = boxes.read_text()
    boxes.write_text(whole + "99 1 1 5 5\n")
    with pytest.raises(InputError, match=r"bounding_boxes.txt: names image 99, which the images' list lacks"):
        read_cub(copy / "cub")
    replace_line(boxes, 0, None)
    with pytest.raises(InputError, match=r"bounding_boxes.txt: has no line for image 1;"):
        read_cub(copy / "cub")


def test_ilsvrc_boxes_and_images_must_be_the_same(copy):
    xml = sorted((copy / "ilsvrc/boxes").glob("*.xml"))
    shutil.copy(xml[0], xml[0].with_stem("ILSVRC2012_val_00000099"))
    with pytest.raises(InputError, match=r"has boxes of ILSVRC2012_val_00000099, but there is no such image"):
        read_ilsvrc(copy / "ilsvrc", copy / "ilsvrc/boxes")
    xml[0].unlink()
    with pytest.raises(InputError, match=rf"has no box of .*{xml[0].stem}"):
        read_ilsvrc(copy / "ilsvrc", copy / "ilsvrc/boxes")


@pytest.fixture
def wide(copy) -> Path:
    """The first held-out image with 80 x 40 pixels, its box on the right."""
    lists = copy / "cub/heldout/lists"
    name = (lists / "image_ids.txt").read_text().split()[0]
    Image.new("RGB", (80, 40)).save(copy / "cub/heldout/images" / name)
    replace_line(lists / "image_sizes.txt", 0, f"{name},80,40")
    replace_line(lists / "localization.txt", 0, f"{name},50,5,78,35")
    build_index(cub(copy)[1])  # is fine
    return copy


def test_swapped_width_and_height_in_a_list_are_called_so(wide):
    lists = wide / "cub/heldout/lists"
    name = (lists / "image_ids.txt").read_text().split()[0]
    replace_line(lists / "image_sizes.txt", 0, f"{name},40,80")
    expected = (
        r"localization.txt: states 40 x 80 pixels for .*, but the image has 80 x 40 \(width and height are swapped\)"
    )
    with pytest.raises(InputError, match=expected):
        build_index(cub(wide)[1])
    (lists / "image_sizes.txt").unlink()
    replace_line(lists / "localization.txt", 0, f"{name},5,50,35,78")
    with pytest.raises(
        InputError, match=r"5 50 35 78 .* reaches beyond its 80 x 40 pixels, but would fit with width and"
    ):
        build_index(cub(wide)[1])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{},50,5,50,35", "is empty; give x0 y0 x1 y1"),
        ("{},50,5,200,35", "reaches beyond its 80 x 40 pixels; correct"),
        ("{},50,5,x,35", "are not the numbers of a box"),
        ("{},50,5,60", "has 4 fields, not 5"),
    ],
)
def test_a_bad_box_is_one_line_that_names_it(wide, line, message):
    lists = wide / "cub/heldout/lists"
    name = (lists / "image_ids.txt").read_text().split()[0]
    replace_line(lists / "localization.txt", 0, line.format(name))
    with pytest.raises(InputError, match=message) as error:
        build_index(cub(wide)[1])
    assert "localization.txt" in str(error.value) and "\n" not in str(error.value)


def test_swapped_width_and_height_in_bas_list_are_called_so(copy):
    images = sorted((copy / "ilsvrc/val").rglob("*.JPEG"))
    Image.new("RGB", (80, 40)).save(images[0])
    lines = [f"{image.parent.name}\\{image.name} 48 48 ; 1 2 20 30" for image in images]

    def index(size: str):
        lines[0] = f"{images[0].parent.name}\\{images[0].name} {size} ; 50 5 78 35"
        write(copy / "val_gt.txt", *lines)
        return build_index(read_ilsvrc(copy / "ilsvrc", copy / "val_gt.txt")[1])

    index("80 40")  # is fine
    expected = r"val_gt.txt: states 40 x 80 pixels for .*, but the image has 80 x 40 \(width and height are swapped\)"
    with pytest.raises(InputError, match=expected):
        index("40 80")


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("test_bounding_box", ["60 27 385 331 500 335"], r"states 335 x 500 .* \(width and height are swapped\)"),
        ("test_bounding_box", ["60 27 385 331 335.5 500"], "'500' x '335.5' is no size in whole pixels; correct"),
        ("test_bounding_box", ["60 27 385 x 335 500"], "are not the numbers of a box; correct"),
        ("test_bounding_box", ["60 27 385 331"], "has 4 fields, not 6; correct"),
        ("test_bounding_box", [], "has 0 lines, but test_list.txt has 1; restore both lists"),
        ("test_bounding_box", None, "no such list; restore it"),
        ("test_list", [f"{ALBATROSS};0"] * 2, "has 1 lines, but test_list.txt has 2; restore both lists"),
        ("test_list", [ALBATROSS], "has 1 fields, not 2; correct"),
        ("test_list", ["001.Black_footed_Albatross/b.jpg;0"], "test_bounding_box.txt: has no box of .*46_18.jpg; add"),
    ],
)
def test_a_bad_line_of_bas_lists_for_cub_is_one_line_that_names_it(albatross, name, lines, message):
    path = albatross / f"{name}.txt"
    path.unlink() if lines is None else write(path, *lines)
    with pytest.raises(InputError, match=message) as error:
        build_index(read_cub(albatross)[1])
    assert "test_bounding_box.txt: " in str(error.value) or "test_list.txt: " in str(error.value)
    assert "\n" not in str(error.value)


def test_a_listed_image_of_cub_that_is_not_in_its_folder_or_stands_there_twice_is_named(albatross):
    write(albatross / "test_list.txt", f"{ALBATROSS};0", "001.Black_footed_Albatross/b.jpg;0")
    write(albatross / "test_bounding_box.txt", *["60 27 385 331 335 500"] * 2)
    with pytest.raises(InputError, match=r"has boxes of 001.Black_footed_Albatross__b, but there is no such image in"):
        read_cub(albatross)
    write(albatross / "test_list.txt", *[f"{ALBATROSS};0"] * 2)
    with pytest.raises(InputError, match=rf"test_list.txt: names {ALBATROSS} twice; remove one"):
        read_cub(albatross)


@pytest.mark.parametrize("height", ["40.0", "tall", ""])
def test_a_size_that_is_no_whole_number_is_one_line_that_names_it(wide, height):
    sizes = wide / "cub/heldout/lists/image_sizes.txt"
    replace_line(sizes, 0, f"{sizes.read_text().split(',')[0]},80,{height}")
    with pytest.raises(InputError, match=rf"image_sizes.txt: '80' x '{height}' is no size in whole pixels; correct"):
        cub(wide)


def test_an_annotation_with_a_size_that_is_no_whole_number_is_named(copy):
    path = sorted((copy / "ilsvrc/boxes").glob("*.xml"))[0]
    path.write_text(path.read_text().replace("<width>48</width>", "<width>48 px</width>"))
    with pytest.raises(InputError, match=rf"{path.name}: '48 px' x '48' is no size in whole pixels; correct"):
        read_ilsvrc(copy / "ilsvrc", copy / "ilsvrc/boxes")


@pytest.mark.parametrize("flag", ["2", "-1", "train"])
def test_a_flag_that_is_neither_train_nor_test_is_named(copy, flag):
    replace_line(copy / "cub/train_test_split.txt", 0, f"1 {flag}")
    with pytest.raises(InputError, match=rf"train_test_split.txt: flag '{flag}' of image 1 is neither 1 .* nor 0 .*;"):
        read_cub(copy / "cub")


def test_an_annotation_without_a_box_is_named(copy):
    path = sorted((copy / "ilsvrc/boxes").glob("*.xml"))[0]
    path.write_text("<annotation><size><width>48</width><height>48</height></size></annotation>")
    with pytest.raises(InputError, match=rf"has no box of .*{path.stem}; add it"):
        build_index(read_ilsvrc(copy / "ilsvrc", copy / "ilsvrc/boxes")[1])


def test_a_class_out_of_range_is_named(copy):
    replace_line(copy / "cub/image_class_labels.txt", 0, "1 21")
    with pytest.raises(InputError, match=r"class '21' is not one of 1..20"):
        read_cub(copy / "cub")


@pytest.mark.parametrize("line", ["n01\\a.JPEG 48 48 ; 1 2 3", "n01\\a.JPEG 48 ; 1 2 3 4", "; 1 2 3 4"])
def test_a_bad_line_of_bas_list_is_quoted(copy, line):
    write(copy / "val_gt.txt", line)
    with pytest.raises(InputError, match=r"is not `class\\file W H ; x0 y0 x1 y1 ...`"):
        read_ilsvrc(copy / "ilsvrc", copy / "val_gt.txt")


def test_a_missing_root_says_what_to_set(tmp_path):
    with pytest.raises(InputError, match=r"set localization.data.cub.root to the folder CUB_200_2011"):
        read_cub(tmp_path / "none")
    with pytest.raises(InputError, match=r"localization.data.ilsvrc.root is not set; .*register at"):
        read_ilsvrc(None, None)
    with pytest.raises(InputError, match=r"localization.data.ilsvrc.boxes is not set"):
        read_ilsvrc(tmp_path, None)
