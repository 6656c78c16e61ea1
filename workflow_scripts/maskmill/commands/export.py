"""Write label maps as PNG files in VOC's palette, one per image, or any store as one file to copy.

By hand: maskmill export work/sample/voc/mars/irn/pseudo_labels.h5 masks
         maskmill export work/sample/voc/mars/irn/pseudo_labels.h5 --store labels.h5
In: `maps`, a map store; for PNG files of kind label. Out: `folder`, made where it is missing, with `<image id>.png` for
each image: class ids, 255 = ignore. Or `store`, an HDF5 file with the same maps and attributes, which needs no other
file; the workflow's own stores may refer to shards beside them.
"""

import logging
from pathlib import Path

import numpy as np

from maskmill.data.images import BIASED, IGNORE
from maskmill.data.voc import write_mask
from maskmill.errors import InputError
from maskmill.progress import progress
from maskmill.storage.maps import copy_maps, open_labels, open_maps

logger = logging.getLogger(__name__)


def main(maps: str, folder: str | None = None, store: str | None = None, biased: int = BIASED) -> None:
    """Write the maps of a store as masks, or as one store.

    Args:
        maps: .h5 file with label maps, such as pseudo_labels.h5
        folder: where the masks are written
        store: .h5 file to write instead, which holds all maps itself; maps of any kind
        biased: value of the pixels that MARS removed as biased (254): 0 (background), 255 (ignore) or 254 (unchanged)
    """
    if biased not in (0, BIASED, IGNORE):
        raise InputError(f"--biased is {biased}; choose 0 (background), {IGNORE} (ignore) or {BIASED} (unchanged)")
    if (folder is None) == (store is None):
        raise InputError("give either a folder for PNG files, or --store and the name of one .h5 file")
    if folder is not None and folder.endswith((".h5", ".hdf5")):
        raise InputError(f"{folder}: PNG files go into a folder; for one file give --store {folder}")

    def replaced(labels: np.ndarray) -> np.ndarray:
        return np.where(labels == BIASED, np.uint8(biased), labels)

    if store is not None:
        source = open_maps(maps) if biased == BIASED else open_labels(maps)
        if Path(store).exists() and Path(store).resolve() in [path.resolve() for path in (source.path, *source.files)]:
            raise InputError(f"--store {store} is a file of the store to export; give another name")
        copy_maps(source, store, None if biased == BIASED else replaced)
        logger.info("%s: %d maps", store, len(source))
        return
    source = open_labels(maps)
    for image_id in progress(source, "export"):
        write_mask(Path(str(folder), f"{image_id}.png"), replaced(source[image_id]))
    logger.info("%s: %d masks", folder, len(source))
