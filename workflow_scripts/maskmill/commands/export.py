"""Write a store of label maps as PNG files in VOC's palette, one per image.

By hand: maskmill export work/sample/voc/mars/irn/pseudo_labels.h5 masks
In: `maps`, a store of kind label. Out: `folder`, made where it is missing, with `<image id>.png` for each image: class
ids, 255 = ignore.
"""

import logging
from pathlib import Path

import numpy as np

from maskmill.data.images import BIASED, IGNORE
from maskmill.data.voc import write_mask
from maskmill.errors import InputError
from maskmill.progress import progress
from maskmill.storage.maps import open_labels

logger = logging.getLogger(__name__)


def main(maps: str, folder: str, biased: int = BIASED) -> None:
    """Write the maps of a store as masks.

    Args:
        maps: .h5 file with label maps, such as pseudo_labels.h5
        folder: where the masks are written
        biased: value of the pixels that MARS removed as biased (254): 0 (background), 255 (ignore) or 254 (unchanged)
    """
    if biased not in (0, BIASED, IGNORE):
        raise InputError(f"--biased is {biased}; choose 0 (background), {IGNORE} (ignore) or {BIASED} (unchanged)")
    store = open_labels(maps)
    for image_id in progress(store, "export"):
        labels = store[image_id]
        write_mask(Path(folder, f"{image_id}.png"), np.where(labels == BIASED, np.uint8(biased), labels))
    logger.info("%s: %d masks", folder, len(store))
