"""Draw one image with its maps from several stages side by side.

By hand: maskmill show 2012_000001 work/sample/voc --output stages.png
         maskmill show 2012_000001 a.h5 b.h5 --output stages.png
In: `image`, an id; `stores`, map stores that hold the image, or folders. Out: `output`, PNG: the image, its mask, and a
picture per map: labels, activations, confidence, or the principal components of features. Above labels stands the
image's own mIoU against its mask, in percent, over the classes that occur in either; pixels without a class count as
background.
"""

import difflib
import logging
import os
import re
from pathlib import Path

import numpy as np

from maskmill.commands.list import store_files
from maskmill.data.catalog import Dataset
from maskmill.data.images import read_image, read_mask
from maskmill.data.index import Record
from maskmill.data.work_folder import dataset_of, find_index, located_records
from maskmill.errors import InputError
from maskmill.evaluation.segmentation import confusion, scores
from maskmill.refinement.resize import resize_labels
from maskmill.reporting.stages import Panel, draw_stages, panels_of
from maskmill.storage.maps import Maps, check_holds, open_maps

logger = logging.getLogger(__name__)


def main(
    image: str,
    output: str,
    stores: list[str] = (),  # type: ignore[assignment]
    folder: str | None = None,
    index: str | None = None,
    dataset: str | None = None,
) -> None:
    """Draw the maps of one image.

    Args:
        image: id of the image, as in index.csv
        output: PNG file that is written
        stores: map stores (.h5) that hold the image, in the order of the pictures; a folder stands for all stores below
            it that hold the image, in the order of their paths
        folder: the same as a folder among the stores
        index: CSV with one row per image; default: that of the work folder that the first store is in
        dataset: name of the data set whose classes the labels have; default: that of the work folder
    """
    if Path(output).suffix.lower() != ".png":
        raise InputError(f"{output}: pictures are written as PNG; name it .png")
    if bool(stores) == bool(folder):
        raise InputError("give either --stores, the map stores to show, or --folder, where to look for them")
    paths = [folder] if folder else stores
    opened = [store for path in paths for store in open_stores(path, image)]
    index_file = index or find_index(opened[0].path)
    if index_file is None:
        raise InputError(f"{opened[0].path}: there is no index.csv in the folders above it; give one with --index")
    data, records = dataset_of(dataset, index_file), located_records(index_file)
    if image not in records:
        raise InputError(f"{index_file}: no image {image}; correct --image or --index")
    pixels, truth = read_image(records[image].image), truth_of(records[image], data)
    panels = [] if truth is None else [Panel("truth", truth, "labels")]
    for store, name in zip(opened, names_of(opened), strict=True):
        drawn = panels_of(name, store.kind, store[image], store.attributes_of(image), data)
        if not drawn:
            logger.warning("left out: %s: its map of kind %s is no picture", store.path, store.kind)
        panels += [fitted(panel, pixels.shape[:2], truth, data) for panel in drawn]
    draw_stages(pixels, panels, output, title_of(records[image], data), data)
    logger.info("%s: %d stores", output, len(opened))


def open_stores(path: str, image: str) -> list[Maps]:
    """The map store of a path, or all below a folder that hold the image, in the order of their paths.

    Raises:
        InputError: the store cannot be read or does not hold the image; no store below the folder does.
    """
    if not Path(path).is_dir():
        if Path(path).suffix != ".h5" and not Path(path).exists():
            raise InputError(f"{path}: no such folder; give one below work/, e.g. work/sample/voc")
        store = open_maps(path)
        check_holds(store, image)
        return [store]
    opened, others = [], set()
    for file in store_files(path):
        try:
            store = open_maps(file)
        except InputError:  # a table, or features of samples
            continue
        if image in store:
            opened.append(store)
        elif not opened:
            others |= set(store)
    if not opened:
        close = difflib.get_close_matches(image, sorted(others), n=1)
        hint = f"did you mean {close[0]}?" if close else "correct --image or --folder"
        raise InputError(f"{path}: no map store below it holds image {image}; {hint}")
    return opened


def names_of(opened: list[Maps]) -> list[str]:
    """A short name per store: its path without the folders that all share, without suffix and number of the shard."""
    paths = [re.sub(r"(/\d+-of-\d+)?\.h5$", "", str(store.path.absolute())) for store in opened]
    common = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [os.path.relpath(path, common) for path in paths]


def truth_of(record: Record, dataset: Dataset | None) -> np.ndarray | None:
    """The mask of an image, uint8 [H, W]; None where it has none or its classes are not known."""
    return read_mask(record.mask, dataset.num_classes) if record.mask and dataset else None


def fitted(panel: Panel, size: tuple[int, int], truth: np.ndarray | None, dataset: Dataset | None) -> Panel:
    """A panel of labels resized to the image's `size`, with the mIoU against `truth` in its title; others unchanged."""
    if panel.form != "labels":
        return panel
    labels, title = resize_labels(panel.values, size), panel.title
    if truth is not None and dataset is not None:
        matrix = confusion(truth, labels, dataset.num_classes)
        title += f"\nmIoU {scores(matrix, dataset.classes)[0]['value']:.1f}"
    return Panel(title, labels, "labels")


def title_of(record: Record, dataset: Dataset | None) -> str:
    """The image's id and the names of the classes that it shows."""
    tags = ", ".join(dataset.classes[number] for number in record.classes) if dataset else ""
    return f"{record.image_id}: {tags}" if tags else record.image_id
