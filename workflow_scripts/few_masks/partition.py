"""Divide the training images into those with masks and those without, by a published protocol.

In: id lists of the training images and of VOC's own train; lists of your own, where the protocol has no rule.
Out: both id lists, and a manifest that says whether the partition is the published one.
Source: the protocols and their origins are in `maskmill.data.partitions`.
"""

import json
from pathlib import Path

from maskmill.data.index import read_ids
from maskmill.data.partitions import PROTOCOLS, fetch_list, find_part, manifest, partition, read_listed
from maskmill.errors import InputError
from maskmill.storage.atomic import write_text
from maskmill.workflow import stage


def main(
    dataset: str,
    protocol: str,
    part: str,
    ids: str,
    high_quality: str,
    labelled: str,
    unlabelled: str,
    manifest_file: str,
    sources: dict,
    sha256: dict,
) -> None:
    """Divide the images.

    Args:
        protocol: name of the protocol, such as voc_blended.
        part: part of the protocol, such as 1_8.
        ids: text file with the ids of all training images, one per line.
        high_quality: text file with the ids of VOC's own train, one per line.
        labelled: text file to write, with the ids of the images that have masks, one per line.
        unlabelled: text file to write, with the ids of the images without masks, one per line.
        manifest_file: JSON to write: protocol, counts, whether the partition is the published one.
        sources: order, labelled and unlabelled to a file or URL with such a list, or null.
        sha256: order, labelled and unlabelled to the SHA-256 of the list; a URL needs one.
    """
    find_part(dataset, protocol, part)
    folder = Path(manifest_file).parent
    lists = {
        role: read_listed(fetch_list(source, folder / f"{role}.given.txt", sha256.get(role)))
        for role, source in sources.items()
        if source
    }
    pool = read_ids(ids)
    if PROTOCOLS[protocol].rule == "ordered" and "order" in lists:
        pool = _reordered(pool, lists["order"], sources["order"])
    halves = partition(
        dataset,
        protocol,
        part,
        pool,
        labelled=lists.get("labelled"),
        unlabelled=lists.get("unlabelled"),
        high_quality=read_ids(high_quality),
    )
    write_text(Path(labelled), "".join(f"{i}\n" for i in halves.labelled))
    write_text(Path(unlabelled), "".join(f"{i}\n" for i in halves.unlabelled))
    write_text(Path(manifest_file), json.dumps(manifest(protocol, part, halves), indent=2) + "\n")


def _reordered(pool: list[str], order: list[str], source: str) -> list[str]:
    unknown, missing = sorted(set(order) - set(pool)), sorted(set(pool) - set(order))
    if unknown:
        raise InputError(f"{source}: image {unknown[0]} is no training image ({len(unknown):,} such); remove its line")
    if missing:
        raise InputError(f"{source}: training image {missing[0]} is missing ({len(missing):,} such); add its line")
    return order


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
