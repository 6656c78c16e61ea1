"""Index a data set's folder: which images and masks there are, their sizes and tags, and the splits.

In: a folder in the layout that `maskmill.data.catalog` describes for the data set.
Out: the index, one id list per split, the manifest of the splits.
"""

import json
from pathlib import Path

from maskmill.data import cityscapes, voc
from maskmill.data.catalog import DATASETS
from maskmill.data.index import write_index
from maskmill.errors import InputError
from maskmill.storage.atomic import write_text
from maskmill.workflow import stage


def main(
    dataset: str,
    root: str | None,
    lists: dict,
    index: str,
    splits: list[str],
    manifest: str,
    subset: bool = False,
    threads: int = 1,
) -> None:
    """Index the folder.

    Args:
        root: folder of the data set.
        lists: split (train, labelled_train, val) to the name of the folder's own list (Cityscapes: subfolder) that
            plays it.
        index: CSV to write, with one row per image: id, files of image and mask, height and width in pixels, tags,
            splits.
        splits: text files to write, one per split and named after it, with one id per line.
        manifest: JSON to write: per split the counts, the SHA-256 of the list, and how it relates to the published
            list.
        subset: whether cities may be missing (Cityscapes).
    """
    about = DATASETS[dataset]
    if root is None:
        raise InputError(f"config: data.{dataset}.root is not set; set it to {about.origin}")
    if about.layout is None:
        ids = {role: cityscapes.read_split(root, name, subset=subset) for role, name in lists.items()}
        records = cityscapes.build_index(root, ids, lists, threads=threads)
    else:
        ids = {role: voc.read_list(root, name, about) for role, name in lists.items()}
        records = voc.build_index(root, ids, about, threads=threads)
    write_index(index, records)
    for path in splits:
        write_text(path, voc.list_text(ids[Path(path).stem]))
    entries, label_set = voc.manifest(records, ids, lists, about), Path(root, voc.LABEL_SET)
    if label_set.exists():
        entries = {split: {**entry, "labels": label_set.read_text().strip()} for split, entry in entries.items()}
    write_text(manifest, json.dumps(entries, indent=2) + "\n")


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
