"""Write a store of label maps as PNG files in VOC's palette, one `<image id>.png` an image.

By hand: python workflow_scripts/export_labels.py --maps work/sample/voc/mars/irn/pseudo_labels.h5 --folder masks
In: `maps`, a store of kind label. Out: `folder`, made where it is missing; PNG files of class ids, 255 = ignore.
`biased`: what pixels that MARS removed (254) become: 0 (background), 255 (ignore), or 254 (left as they are).
"""

from pathlib import Path

import numpy as np

from maskmill.data.images import BIASED, IGNORE
from maskmill.data.voc import write_mask
from maskmill.errors import InputError
from maskmill.progress import progress
from maskmill.storage.maps import open_labels
from maskmill.workflow import stage


def main(maps: str, folder: str, biased: int = BIASED) -> None:
    if biased not in (0, BIASED, IGNORE):
        raise InputError(f"--biased is {biased}; choose 0 (background), {IGNORE} (ignore) or {BIASED} (as they are)")
    store = open_labels(maps)
    for image_id in progress(store, "export"):
        labels = store[image_id]
        write_mask(Path(folder, f"{image_id}.png"), np.where(labels == BIASED, np.uint8(biased), labels))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
