"""Write captions for tagged images, as a substitute for image-text pairs where there are only tags.

In: index, id list.
Out: a CSV of images and captions, of one part of the list.
"""

import logging

from maskmill.data.captions import caption_of
from maskmill.data.catalog import find_dataset
from maskmill.data.index import read_ids, read_index, shard
from maskmill.data.shards import Pair, write_pairs
from maskmill.errors import InputError
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    ids: str,
    pairs: str,
    names: dict[int, str],
    left_out: list[str] = (),
    scatteritem: str = "1-of-1",
) -> None:
    """Write the captions of one part of the images.

    Args:
        names: mask id to what a caption calls the class.
        left_out: classes that no caption may name; images that show one have no caption.
    """
    classes = list(find_dataset(dataset, index).classes)
    unknown = next((name for name in left_out if name not in classes), None)
    if unknown is not None:
        raise InputError(f"config: pairs.tags.left_out names {unknown!r}, which is no class of {dataset}; correct it")
    left_out_ids, records = {classes.index(name) for name in left_out}, read_index(index)
    listed = [records[image_id] for image_id in read_ids(ids)]
    captioned = [record for record in listed if record.classes and not left_out_ids & set(record.classes)]
    if not captioned:
        raise InputError(f"{ids}: no image has a tag of a class that is not left out; shorten pairs.tags.left_out")
    logging.info("%d of %d images have a caption", len(captioned), len(listed))
    captions = (caption_of([names[i] for i in sorted(record.classes)]) for record in captioned)
    all_pairs = [Pair(r.image_id, r.image, text) for r, text in zip(captioned, captions, strict=True)]
    write_pairs(pairs, shard(all_pairs, scatteritem))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
