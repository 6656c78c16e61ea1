"""Divide training images of your own into those with masks and those without.

In: id lists of the training images and of those that have masks.
Out: both id lists, and a manifest.
"""

import json

from maskmill.data.index import read_ids
from maskmill.data.partitions import Partition, manifest, others
from maskmill.data.voc import list_text
from maskmill.errors import InputError
from maskmill.storage.atomic import write_text
from maskmill.workflow import stage


def main(ids: str, with_masks: str, labelled: str, unlabelled: str, manifest_file: str) -> None:
    """Divide the images.

    Args:
        ids: text file with the ids of all training images, one per line.
        with_masks: text file with the ids of the training images that have masks, one per line.
        labelled: text file to write, with the ids of the images that have masks, one per line.
        unlabelled: text file to write, with the ids of the images without masks, one per line.
        manifest_file: JSON to write: counts of both lists.
    """
    pool, masked = read_ids(ids), read_ids(with_masks)
    halves = Partition(masked, others(pool, masked), "own")
    if not halves.labelled:
        raise InputError("config: no training image has a mask in data.mine.masks; add masks of some")
    if not halves.unlabelled:
        raise InputError(
            f"config: all {len(pool)} training images have a mask in data.mine.masks, so there is nothing that "
            "unlabelled images could add; add images without masks to data.mine.images"
        )
    write_text(labelled, list_text(halves.labelled))
    write_text(unlabelled, list_text(halves.unlabelled))
    write_text(manifest_file, json.dumps(manifest("own", "all", halves), indent=2) + "\n")


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
