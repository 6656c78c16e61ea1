"""Select the images that the search for the CRF's parameters uses, evenly spaced in a list.

In: id list.
Out: id list.
"""

from pathlib import Path

import numpy as np

from maskmill.data.index import read_ids
from maskmill.storage.atomic import write_text
from maskmill.workflow import stage


def main(ids: str, selected: str, images: int) -> None:
    """Select the images.

    Args:
        selected: text file to write, with one id per line.
        images: number of images to select.
    """
    all_ids = read_ids(ids)
    positions = np.linspace(0, len(all_ids) - 1, min(images, len(all_ids))).round().astype(int)
    write_text(Path(selected), "".join(f"{all_ids[p]}\n" for p in positions))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
