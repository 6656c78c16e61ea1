"""Write a store of label maps as PNG files in VOC's palette, one `<image id>.png` an image.

In: map store of kind `label`. Out: a folder. Biased pixels (254) are written as `biased`: 0 (background), or 255
(ignore), or left at 254.
"""

from pathlib import Path

import numpy as np

import stage
from maskmill.data.voc import write_mask
from maskmill.errors import InputError
from maskmill.progress import progress
from maskmill.storage.maps import open_maps


def main(maps: str, folder: str, biased: int = 254) -> None:
    store = open_maps(maps)
    if store.kind != "label":
        raise InputError(f"{maps}: holds {store.kind} maps; only label maps can be exported as masks")
    for image_id in progress(store, "export"):
        labels = store[image_id]
        write_mask(Path(folder, f"{image_id}.png"), np.where(labels == 254, np.uint8(biased), labels))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
