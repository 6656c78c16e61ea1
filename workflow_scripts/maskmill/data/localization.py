"""Localisation sets: images of one class each, with boxes that only the evaluation reads.

A set is converted to an index (`data.index`) with one class per image, and to a separate table of boxes, so that no
training has boxes among its inputs. The splits are `train`, `val` (the images that are scored) and `heldout`: other
images with boxes, for the choice of a threshold; it may be empty.

Boxes are (x0, y0, x1, y1) in pixels of the file, with the numbers of their source.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from maskmill.data.catalog import Archive, Split
from maskmill.data.index import Record
from maskmill.data.voc import check_split, index_images, list_sha256, refuse_twins
from maskmill.errors import InputError
from maskmill.storage.atomic import write_text

SPLITS = ("train", "heldout", "val")
BOX_COLUMNS = ("image_id", "x0", "y0", "x1", "y1")
SLACK = 2  # pixels that a box may extend beyond its image: sources count from 0 or 1, and some maxima are exclusive
OBJECT = 128  # CUB's masks are grey, brighter where more annotators marked the object; the threshold is our choice

Box = tuple[float, float, float, float]
Boxes = tuple[tuple[Box, ...], tuple[int, int] | None]  # of one image, and its height and width if they are stated


@dataclass(frozen=True)
class BoxSet:
    """A localisation set.

    Attributes:
        name: key in `BOXSETS` and in the configuration.
        folder: usual name of the root.
        origin: what the root is and where to get it; completes the message "set ....root to ...".
        splits: published sizes of the splits.
        archive: file to download; None where the user must provide the set.
    """

    name: str
    folder: str
    origin: str
    splits: dict[str, Split]
    archive: Archive | None = None


CUB = BoxSet(
    name="cub",
    folder="CUB_200_2011",
    origin=(
        "the folder CUB_200_2011 of the release (images.txt, bounding_boxes.txt, images/), to a folder in BAS' layout "
        "(train/<class>/, test/<class>/, test_list.txt, test_bounding_box.txt), or to null to download it"
    ),
    splits={"train": Split(5_994), "val": Split(5_794)},
    # URL: CaltechDATA's record 65de6-vp158. MD5: as several public loaders of the data set state it; `checksum` in the
    # configuration replaces it.
    archive=Archive(
        name="CUB_200_2011.tgz",
        urls=("https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",),
        checksum="md5:97eceeb196236b17998738112f37df78",
        members=("CUB_200_2011",),
    ),
)
ILSVRC = BoxSet(
    name="ilsvrc",
    folder="ILSVRC2012",
    origin=(
        "a folder with train/<class>/*.JPEG and val/<class>/*.JPEG; ILSVRC 2012 is never downloaded: register at "
        "https://image-net.org"
    ),
    splits={"val": Split(50_000)},
)
BOXSETS = {boxset.name: boxset for boxset in (CUB, ILSVRC)}


@dataclass(frozen=True)
class Located:
    """One image of a localisation set.

    Attributes:
        image_id: unique within the set.
        image: file of the image.
        class_id: 1..C.
        split: one of `SPLITS`.
        boxes: of the object; empty for training images.
        source: file that the boxes come from.
        stated: height and width of the image according to that file, if it states them.
        mask: file of the object's mask, if there is one.
    """

    image_id: str
    image: Path
    class_id: int
    split: str
    boxes: tuple[Box, ...] = ()
    source: Path | None = None
    stated: tuple[int, int] | None = None
    mask: Path | None = None


# --- readers --------------------------------------------------------------------------------------------------------


def read_cub(root: str | Path) -> tuple[list[str], list[Located]]:
    """Class names and images of CUB-200-2011; its test images are `val`. Both layouts give the same ids.

    Args:
        root: the folder of the release. Its boxes x, y, width, height are converted to x, y, x + width, y + height; the
            folder `segmentations/`, if it exists, has the masks. Or, with `test/` and without `images.txt`, an
            ImageFolder in BAS' layout: `train/<class>/`, `test/<class>/`, `test_list.txt` (`class/file;label`; the
            label is not read) and, in the same order, `test_bounding_box.txt` (`x0 y0 x1 y1 H W`).

    Raises:
        InputError: a list is missing or broken, or an image lacks its class, split or box.
    """
    root = _folder(root, CUB)
    in_folders = (root / "test").is_dir() and not (root / "images.txt").exists()
    return _read_cub_folders(root) if in_folders else _read_cub_release(root)


def _read_cub_release(root: Path) -> tuple[list[str], list[Located]]:
    names = [row[1] for row in _rows(root / "classes.txt", 2)]
    labels, splits, boxes = (
        {row[0]: row[1:] for row in _rows(root / f"{name}.txt", width)}
        for name, width in (("image_class_labels", 2), ("train_test_split", 2), ("bounding_boxes", 5))
    )
    files = {row[0]: row[1] for row in _rows(root / "images.txt", 2)}
    _same_images(files, root, {"image_class_labels": labels, "train_test_split": splits, "bounding_boxes": boxes})
    located = []
    for number, file in files.items():
        x, y, width, height = _numbers(boxes[number], root / "bounding_boxes.txt")
        mask = root / "segmentations" / Path(file).with_suffix(".png")
        located.append(
            Located(
                image_id=identify(file),
                image=root / "images" / file,
                class_id=_class_id(labels[number][0], len(names), root / "image_class_labels.txt", first=1),
                split=_cub_split(number, splits[number][0], root / "train_test_split.txt"),
                boxes=((x, y, x + width, y + height),),
                source=root / "bounding_boxes.txt",
                mask=mask if mask.exists() else None,
            )
        )
    return names, located


def _read_cub_folders(root: Path) -> tuple[list[str], list[Located]]:
    listed, source = root / "test_list.txt", root / "test_bounding_box.txt"
    files = [row[0] for row in _rows(listed, 2, ";")]
    rows = list(_rows(source, 6))
    if len(files) != len(rows):
        raise InputError(f"{source}: has {len(rows)} lines, but {listed.name} has {len(files)}; restore both lists")
    refuse_twins(files, f"{listed}:")
    known = {
        identify(file): ((_box(corners, source),), _stated(width, height, source))
        for file, (*corners, height, width) in zip(files, rows, strict=True)
    }
    return _read_image_folder(root, "test", known, source, identify)


def _cub_split(number: str, flag: str, path: Path) -> str:
    if flag not in ("0", "1"):
        raise InputError(f"{path}: flag {flag!r} of image {number} is neither 1 (train) nor 0 (test); correct the line")
    return "train" if flag == "1" else "val"


def read_ilsvrc(root: str | Path, boxes: str | Path | None) -> tuple[list[str], list[Located]]:
    """Class names (folders, sorted) and images of ILSVRC 2012 as an ImageFolder, with the boxes of `val`.

    Args:
        root: folder with `train/<class>/` and `val/<class>/`.
        boxes: a folder with XML files `<image>.xml` at any depth; or a text list, of the WSOL benchmark
            (`localization.txt`: path,x0,y0,x1,y1, with `image_sizes.txt` beside it: path,width,height) or of BAS
            (`class\\file W H ; x0 y0 x1 y1 ...`).

    Raises:
        InputError: a folder or list is missing or broken, or an image of `val` has no box.
    """
    root = _folder(root, ILSVRC)
    if boxes is None:
        raise InputError("config: localization.data.ilsvrc.boxes is not set; give the folder of XML files, or the list")
    return _read_image_folder(root, "val", dict(_read_boxes(Path(boxes))), Path(boxes), lambda file: file.stem)


def _read_image_folder(
    root: Path, test: str, known: Mapping[str, Boxes], source: Path, key: Callable[[Path], str]
) -> tuple[list[str], list[Located]]:
    """Class names (folders, sorted) and images of train/<class>/ and <test>/<class>/; the latter are `val`.

    Args:
        root: folder with the images.
        test: name of the folder of images that become `val`.
        known: boxes and stated size (height, width) of every image of <test>, by the `key` of its path <class>/<file>.
        source: file or folder that these come from.
        key: maps <class>/<file> to a key of `known`.
    """
    names = sorted({path.name for split in ("train", test) for path in (root / split).glob("*/")})
    if not names:
        raise InputError(f"{root / 'train'}: has no class folders; images lie in train/<class>/ and {test}/<class>/")
    ids = {name: class_id for class_id, name in enumerate(names, start=1)}
    files = {
        split: [file.relative_to(root / split) for name in names for file in sorted((root / split / name).glob("*"))]
        for split in ("train", test)
    }
    located = [Located(identify(file), root / "train" / file, ids[file.parts[0]], "train") for file in files["train"]]
    for file in files[test]:
        boxes = _known_boxes(known, key(file), root / test / file, source)
        located.append(Located(identify(file), root / test / file, ids[file.parts[0]], "val", **boxes))
    existing = {key(file) for file in files[test]}
    missing = next((name for name in known if name not in existing), None)
    if missing:
        raise InputError(f"{source}: has boxes of {missing}, but there is no such image in {root / test}; restore it")
    return names, located


def read_held_out(images: str | Path, lists: str | Path, num_classes: int) -> list[Located]:
    """Images of a held-out set in the WSOL benchmark's format (CUBV2, ImageNetV2; Choe et al., CVPR 2020).

    Args:
        images: folder that the paths in the lists are relative to.
        lists: folder with image_ids.txt, class_labels.txt (path,class; from 0), localization.txt (path,x0,y0,x1,y1) and
            image_sizes.txt (path,width,height).
        num_classes: of the whole set.

    Raises:
        InputError: a list is missing or broken, or an image lacks its class, size or box.
    """
    lists = Path(lists)
    files = dict.fromkeys(row[0] for row in _rows(lists / "image_ids.txt", 1, ","))
    labels = {row[0]: row[1] for row in _rows(lists / "class_labels.txt", 2, ",")}
    boxes = dict(_read_benchmark_boxes(lists / "localization.txt", whole_path=True))
    _same_images(files, lists, {"class_labels": labels, "localization": boxes})
    return [
        Located(
            image_id="heldout__" + identify(file),
            image=Path(images, file),
            class_id=_class_id(labels[file], num_classes, lists / "class_labels.txt", first=0),
            split="heldout",
            boxes=boxes[file][0],
            source=lists / "localization.txt",
            stated=boxes[file][1],
        )
        for file in files
    ]


def _read_boxes(path: Path) -> Iterator[tuple[str, Boxes]]:
    """Image name (without folder and suffix), and its boxes with the stated size."""
    if path.is_dir():
        files = sorted(path.rglob("*.xml"))
        if not files:
            raise InputError(f"{path}: has no XML files; give ILSVRC's folder of annotations, or a list of boxes")
        return ((file.stem, _read_xml(file)) for file in files)
    if not path.exists():
        raise InputError(f"{path}: no such list of boxes; correct localization.data.ilsvrc.boxes")
    with open(path, encoding="utf-8") as file:
        of_bas = ";" in file.readline()
    return _read_bas_boxes(path) if of_bas else iter(_read_benchmark_boxes(path).items())


def _read_xml(path: Path) -> Boxes:
    try:
        top = ElementTree.parse(path).getroot()
        fields = [[box.findtext(name) for name in ("xmin", "ymin", "xmax", "ymax")] for box in top.iter("bndbox")]
        width, height = (top.findtext(f"size/{name}") for name in ("width", "height"))
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: not readable as XML ({error}); replace the file") from None
    boxes = tuple(_box(row, path) for row in fields)
    return boxes, None if width is None or height is None else _stated(width, height, path)


def _read_benchmark_boxes(path: Path, *, whole_path: bool = False) -> dict[str, Boxes]:
    sizes = path.with_name("image_sizes.txt")
    stated = {row[0]: _stated(row[1], row[2], sizes) for row in _rows(sizes, 3, ",")} if sizes.exists() else {}
    boxes: dict[str, list[Box]] = {}
    for name, *corners in _rows(path, 5, ","):
        boxes.setdefault(name, []).append(_box(corners, path))
    return {name if whole_path else Path(name).stem: (tuple(own), stated.get(name)) for name, own in boxes.items()}


def _read_bas_boxes(path: Path) -> Iterator[tuple[str, Boxes]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        head, _, tail = line.partition(";")
        name, *size = head.split() or [""]
        corners = _numbers(tail.replace(";", " ").split(), path)
        if len(size) != 2 or not corners or len(corners) % 4:
            raise InputError(f"{path}: {line!r} is not `class\\file W H ; x0 y0 x1 y1 ...`; correct the line")
        boxes = tuple((corners[k], corners[k + 1], corners[k + 2], corners[k + 3]) for k in range(0, len(corners), 4))
        width, height = size
        yield Path(name.replace("\\", "/")).stem, (boxes, _stated(width, height, path))


def _known_boxes(known: Mapping[str, Boxes], name: str, image: Path, source: Path) -> dict:
    if name not in known:
        raise InputError(f"{source}: has no box of {image}; add it, or remove the image")
    boxes, stated = known[name]
    return {"boxes": boxes, "stated": stated, "source": source}


def squared(image: np.ndarray, side: int) -> np.ndarray:
    """Resize an image uint8 [H, W, 3] to [side, side, 3] as WSOL networks do before the crop: bilinear; the aspect is
    not kept."""
    return np.array(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))


def identify(path: str | Path) -> str:
    """The id of an image: its path without the suffix, with "__" for "/", since map stores have no folders."""
    return "__".join(Path(path).with_suffix("").parts)


def _folder(root: str | Path | None, boxset: BoxSet) -> Path:
    where = f"set localization.data.{boxset.name}.root to {boxset.origin}"
    if root is None:
        raise InputError(f"config: localization.data.{boxset.name}.root is not set; {where}")
    if not Path(root).is_dir():
        raise InputError(f"{root}: no such folder; {where}")
    return Path(root)


def _rows(path: Path, width: int, separator: str | None = None) -> Iterator[list[str]]:
    if not path.exists():
        raise InputError(f"{path}: no such list; restore it from the data set's release")
    for line in path.read_text(encoding="utf-8").splitlines():
        row = line.split(separator)
        if len(row) != width:
            raise InputError(f"{path}: {line!r} has {len(row)} fields, not {width}; correct the line")
        yield row


def _numbers(fields: Sequence[str | None], path: Path) -> list[float]:
    try:
        return [float(field) for field in fields]  # type: ignore[arg-type]  # None raises TypeError
    except (TypeError, ValueError):
        raise InputError(f"{path}: {list(fields)} are not the numbers of a box; correct the line") from None


def _box(fields: Sequence[str | None], path: Path) -> Box:
    x0, y0, x1, y1 = _numbers(fields, path)
    return x0, y0, x1, y1


def _stated(width: str, height: str, path: Path) -> tuple[int, int]:
    """Height and width."""
    try:
        return int(height), int(width)
    except ValueError:
        raise InputError(f"{path}: {width!r} x {height!r} is no size in whole pixels; correct the line") from None


def _class_id(field: str, num_classes: int, path: Path, *, first: int) -> int:
    """A class as an id 1..C; the list's own numbers start at `first`."""
    if not field.isdecimal() or not first <= int(field) < first + num_classes:
        raise InputError(f"{path}: class {field!r} is not one of {first}..{first + num_classes - 1}; correct the line")
    return int(field) - first + 1


def _same_images(images: Iterable[str], folder: Path, lists: dict[str, dict]) -> None:
    for name, rows in lists.items():
        lacking = next((image for image in images if image not in rows), None)
        if lacking is not None:
            raise InputError(f"{folder / name}.txt: has no line for image {lacking}; restore the list")
        unknown = next((image for image in rows if image not in images), None)
        if unknown is not None:
            raise InputError(f"{folder / name}.txt: names image {unknown}, which the images' list lacks; correct it")


# --- index ----------------------------------------------------------------------------------------------------------


def build_index(located: list[Located], *, threads: int = 1) -> list[Record]:
    """One record per image, sorted by id; of images, only the headers are read.

    Raises:
        InputError: an image is missing or unreadable, two have the same id, or a box does not fit its image.
    """
    of_id = {one.image_id: one for one in located}
    if len(of_id) < len(located):
        twin = next(one for one in located if of_id[one.image_id] is not one)
        raise InputError(f"{twin.image}: another image has the id {twin.image_id} too; rename it")

    def files(image_id: str) -> tuple[Path, Path | None]:
        one = of_id[image_id]
        if not one.image.exists():
            raise InputError(f"{one.image}: no such image, but {one.source or 'a list'} names it; restore it")
        return one.image, one.mask

    ids = {split: [one.image_id for one in located if one.split == split] for split in SPLITS}
    records = index_images(ids, files, lambda image_id, mask: (of_id[image_id].class_id,), threads=threads)
    for record in records:
        check_boxes(of_id[record.image_id], (record.height, record.width))
    return records


def check_boxes(one: Located, size: tuple[int, int]) -> None:
    """Make sure that an image's boxes lie within it and that its source states its size.

    Args:
        size: height and width of the image, pixels.

    Raises:
        InputError: names the source, the image and the mistake, also where width and height are swapped.
    """
    height, width = size
    if one.stated not in (None, size):
        swapped = " (width and height are swapped)" if one.stated == (width, height) else ""
        raise InputError(
            f"{one.source}: states {one.stated[1]} x {one.stated[0]} pixels for {one.image_id}, but the image has "
            f"{width} x {height}{swapped}; correct the list"
        )
    if not one.boxes and one.split != "train":
        raise InputError(f"{one.source}: has no box of {one.image_id}; add it, or remove the image")
    for box in one.boxes:
        numbers = " ".join(f"{corner:g}" for corner in box)
        if not (box[0] < box[2] and box[1] < box[3]):
            raise InputError(f"{one.source}: box {numbers} of {one.image_id} is empty; give x0 y0 x1 y1")
        if not _inside(box, width, height):
            swapped = ", but would fit with width and height swapped" if _inside(box, height, width) else ""
            raise InputError(
                f"{one.source}: box {numbers} of {one.image_id} reaches beyond its {width} x {height} pixels{swapped}; "
                "correct the list"
            )


def _inside(box: Box, width: int, height: int) -> bool:
    return min(box) >= -SLACK and box[2] <= width + SLACK and box[3] <= height + SLACK


def manifest(located: list[Located], boxset: BoxSet) -> dict:
    """The contents of the splits, for a JSON file: per split its name, the number of images, the SHA-256 of its sorted
    ids, and `check_split`, which can only compare sizes."""
    parts = {}
    for split in SPLITS:
        ids = sorted(one.image_id for one in located if one.split == split)
        published = check_split(ids, boxset.splits.get(split))
        parts[split] = {"list": split, "images": len(ids), "sha256": list_sha256(ids), "published": published}
    return parts


def write_boxes(path: str | Path, located: Iterable[Located]) -> None:
    """Write all boxes as CSV with the columns `BOX_COLUMNS`, one box per row."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(BOX_COLUMNS)
    for one in located:
        table.writerows([one.image_id, *(f"{corner:g}" for corner in box)] for box in one.boxes)
    write_text(path, text.getvalue())


def read_boxes(path: str | Path) -> dict[str, np.ndarray]:
    """Read boxes, float64 [n, 4] by image id.

    Raises:
        InputError: the file is missing or has other columns.
    """
    if not Path(path).exists():
        raise InputError(f"{path}: no such table of boxes; run snakemake to make it")
    boxes: dict[str, list[list[float]]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != BOX_COLUMNS:
            raise InputError(f"{path}: columns are {table.fieldnames}, not {list(BOX_COLUMNS)}; delete it, run again")
        for row in table:
            boxes.setdefault(row["image_id"], []).append([float(row[name]) for name in BOX_COLUMNS[1:]])
    return {image_id: np.array(corners) for image_id, corners in boxes.items()}
