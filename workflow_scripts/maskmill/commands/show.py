"""Draw what every stage says of one image, side by side: image, truth, labels, activations, confidence, features.

By hand: python workflow_scripts/show_stages.py --image 2012_000001 --folder work/sample/voc --output stages.png
         python workflow_scripts/show_stages.py --image 2012_000001 --stores a.h5 b.h5 --output stages.png
In: `stores`, map stores that hold the image; or `folder`, below which all of them are found, in the order of their
paths. Out: `output`, PNG. Above labels stands the image's own mIoU against its mask, in percent, over the classes
that occur in either; pixels without a class count as background. `index`, `dataset`: default, those of the work folder
that the stores lie in.
"""

import logging
import os
import re
from pathlib import Path

import numpy as np

from maskmill.data.catalog import Dataset
from maskmill.data.images import read_image, read_mask
from maskmill.data.index import Record
from maskmill.data.work_folder import dataset_of, find_index, located_records
from maskmill.errors import InputError
from maskmill.evaluation.segmentation import confusion, scores
from maskmill.refinement.resize import resize_labels
from maskmill.reporting.stages import Panel, draw_stages, panels_of
from maskmill.storage.maps import Maps, check_holds, open_maps
from maskmill.workflow import stage

logger = logging.getLogger(__name__)


def main(
    image: str,
    output: str,
    stores: list[str] = (),
    folder: str | None = None,
    index: str | None = None,
    dataset: str | None = None,
) -> None:
    if bool(stores) == bool(folder):
        raise InputError("give either --stores, the map stores to show, or --folder, where to look for them")
    opened = stores_below(folder, image) if folder else [open_maps(path) for path in stores]
    for store in opened:
        check_holds(store, image)
    index = index or find_index(opened[0].path)
    if index is None:
        raise InputError(f"{opened[0].path}: there is no index.csv in the folders above it; give one with --index")
    found, records = dataset_of(dataset, index), located_records(index)
    if image not in records:
        raise InputError(f"{index}: no image {image}; correct --image or --index")
    pixels, truth = read_image(records[image].image), truth_of(records[image], found)
    panels = [] if truth is None else [Panel("truth", truth, "labels")]
    for store, name in zip(opened, names_of(opened), strict=True):
        drawn = panels_of(name, store.kind, store[image], store.attributes_of(image), found)
        if not drawn:
            logger.warning("left out: %s: its map of kind %s is no picture", store.path, store.kind)
        panels += [fitted(panel, pixels.shape[:2], truth, found) for panel in drawn]
    draw_stages(pixels, panels, output, title_of(records[image], found), found)
    logger.info("%s: %d stores", output, len(opened))


def stores_below(folder: str, image: str) -> list[Maps]:
    """The map stores below a folder that hold an image, in the order of their paths; of a merged store and its shards,
    the merged one."""
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder; give one below work/, e.g. work/sample/voc")
    found = []
    for path in sorted(Path(folder).rglob("*.h5")):
        if re.fullmatch(r"\d+-of-\d+", path.stem) and path.parent.with_suffix(".h5").exists():
            continue
        try:
            store = open_maps(path)
        except InputError:  # a table, or features of samples
            continue
        if image in store:
            found.append(store)
    if not found:
        raise InputError(f"{folder}: no map store below it holds image {image}; correct --image or --folder")
    return found


def names_of(opened: list[Maps]) -> list[str]:
    """Paths without what all have in common, without their ends and numbers of shards."""
    paths = [re.sub(r"(/\d+-of-\d+)?\.h5$", "", str(store.path.absolute())) for store in opened]
    common = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [os.path.relpath(path, common) for path in paths]


def truth_of(record: Record, dataset: Dataset | None) -> np.ndarray | None:
    return read_mask(record.mask, dataset.num_classes) if record.mask and dataset else None


def fitted(panel: Panel, size: tuple[int, int], truth: np.ndarray | None, dataset: Dataset | None) -> Panel:
    """Labels at the image's size, with their mIoU in the title."""
    if panel.form != "labels":
        return panel
    labels, title = resize_labels(panel.values, size), panel.title
    if truth is not None:
        matrix = confusion(truth, labels, dataset.num_classes)
        title += f"\nmIoU {scores(matrix, dataset.classes)[0]['value']:.1f}"
    return Panel(title, labels, "labels")


def title_of(record: Record, dataset: Dataset | None) -> str:
    tags = ", ".join(dataset.classes[number] for number in record.classes) if dataset else ""
    return f"{record.image_id}: {tags}" if tags else record.image_id


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
