"""Download one part of the images of a published list of image-text pairs; what is there already is kept.

In: the list. Out: CSV with the columns key, image and caption of what could be had, and `report`, JSON with the numbers
asked, got and failed, and the dead links with their reasons. Params: the list's columns, the folder for the images.
"""

import json
import logging

from maskmill.data.index import shard
from maskmill.data.pairs import download_pairs, read_links
from maskmill.data.shards import write_pairs
from maskmill.errors import InputError
from maskmill.storage.atomic import write_text
from maskmill.workflow import stage


def main(
    pairs: str,
    report: str,
    source: str,
    links: str | None,
    columns: list[str],
    folder: str,
    scatteritem: str = "1-of-1",
    threads: int = 16,
) -> None:
    if links is None:
        raise InputError(f"config: pairs.{source}.list is null; set it to the data set's tsv file of links")
    got, counts = download_pairs(shard(read_links(links, columns), scatteritem), folder, threads=threads)
    logging.info("%s: asked %d, got %d, failed %d", links, counts["asked"], counts["got"], counts["failed"])
    if not got:
        raise InputError(f"{links}: none of {counts['asked']} links answers; check the network and run again")
    write_text(report, json.dumps(counts, indent=1))
    write_pairs(pairs, got)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
