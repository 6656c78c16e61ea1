"""Index images of your own: which there are, their masks, sizes and tags.

In: what `data.mine` of the configuration names.
Out: index, class list, id lists of the training images, manifest. `validation_own.py` writes the list to score on.
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
    """Index the images.

    Args:
        index: CSV to write, with one row per image: id, files of image and mask, height and width in pixels, tags,
            splits.
        class_list: text file to write, with one class name per line in the order of the mask ids, background first.
        train: id list to write: all images except those to score on.
        labelled_train: id list to write: the training images that have a mask.
        manifest_file: JSON to write: number of images and SHA-256 of each list.
        images: folder of images, or of folders of images.
        classes: names of the classes in the order of the mask ids 1, 2, ...; 0 is the background.
        tags: CSV with the columns image and tags (class names, separated by semicolons); null: tags are read from the
            masks.
        masks: folder with <image>.png for the images that have a mask: class ids, 255 = ignore; null: none has.
        val: text file that lists the images to score on, one per line; they need masks; null: none.
    """
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
