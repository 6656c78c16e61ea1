"""Choose the images on which CRF settings are compared: evenly spread over a list.

In: id list. Out: id list.
"""

from pathlib import Path

import numpy as np

from maskmill.data.index import read_ids
from maskmill.storage.atomic import write_text
from maskmill.workflow import stage


def main(ids: str, selected: str, images: int) -> None:
    every = read_ids(ids)
    positions = np.linspace(0, len(every) - 1, min(images, len(every))).round().astype(int)
    write_text(Path(selected), "".join(f"{every[p]}\n" for p in positions))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
