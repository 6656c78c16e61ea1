"""Captions of tagged images: what stands in for image-text pairs where there are tags alone.

In: index, id list. Out: CSV with the columns key, image and caption, of one part of the list. Params: `names`, mask id
to what a caption calls the class; `left_out`, classes that no caption may name: images with any of them are left out.
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
    classes = list(find_dataset(dataset, index).classes)
    unknown = next((name for name in left_out if name not in classes), None)
    if unknown is not None:
        raise InputError(f"config: pairs.tags.left_out names {unknown!r}, which is no class of {dataset}; correct it")
    unnamed, records = {classes.index(name) for name in left_out}, read_index(index)
    tagged = [records[image_id] for image_id in read_ids(ids)]
    kept = [record for record in tagged if record.classes and not unnamed & set(record.classes)]
    if not kept:
        raise InputError(f"{ids}: no image has a tag of a class that is not left out; shorten pairs.tags.left_out")
    logging.info("%d of %d images have a caption", len(kept), len(tagged))
    captions = (caption_of([names[i] for i in sorted(record.classes)]) for record in kept)
    all_pairs = [Pair(r.image_id, r.image, text) for r, text in zip(kept, captions, strict=True)]
    write_pairs(pairs, shard(all_pairs, scatteritem))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
