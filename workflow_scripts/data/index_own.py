"""Index images of the user's own: which there are, their masks, sizes (pixels) and tags (mask ids).

Out: `index` (CSV, one row per image); `class_list` (class names in the order of the mask ids, one a line); `train` and
`labelled_train` (id lists: all images but those to score on, those of them that have a mask); `manifest` (JSON: counts
per list). Params: what stands under `data.mine` in the configuration.
"""

import json

from maskmill.data.catalog import own_dataset
from maskmill.data.index import write_index
from maskmill.data.own import read_own
from maskmill.data.voc import list_text, manifest
from maskmill.errors import InputError
from maskmill.storage.atomic import write_text
from maskmill.workflow import stage

LISTS = {"train": "train", "labelled_train": "train, images with masks", "val": "val"}


def main(
    index: str,
    class_list: str,
    train: str,
    labelled_train: str,
    manifest_file: str,
    images: str | None = None,
    classes: list[str] | None = None,
    tags: str | None = None,
    masks: str | None = None,
    val: str | None = None,
    threads: int = 1,
) -> None:
    for key, value, what in (("images", images, "a folder of images"), ("classes", classes, "the names of classes")):
        if not value:
            raise InputError(f"config: data.mine.{key} is not set; set it to {what}")
    about = own_dataset(["background", *classes])
    records, splits = read_own(images, about.classes, tags=tags, masks=masks, val=val, threads=threads)
    write_text(class_list, list_text(about.classes))
    write_text(train, list_text(splits["train"]))
    write_text(labelled_train, list_text(splits["labelled_train"]))
    entries = manifest(records, splits, LISTS, about)
    entries = {split: {**entry, "published": "own"} for split, entry in entries.items()}
    write_text(manifest_file, json.dumps(entries, indent=2) + "\n")
    write_index(index, records)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
