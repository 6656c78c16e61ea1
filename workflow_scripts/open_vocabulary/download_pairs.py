"""Download one part of the images of a published list of image-text pairs. Images that are there already are kept.

In: the list of links.
Out: a CSV of the images that could be downloaded, and a report.
"""

import json
import logging

from maskmill.data.index import shard
from maskmill.data.pairs import check_share, download_pairs, read_links
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
    min_share: float = 0.6,
    scatteritem: str = "1-of-1",
    threads: int = 16,
) -> None:
    """Download the images of one part.

    Args:
        report: JSON to write: numbers of images asked for, got and failed; dead links and those that did not answer,
            with their reasons.
        source: name of the list in config.yaml's `pairs`, for error messages.
        links: tab-separated file of links, as published.
        columns: columns of the list in their order, url and caption among them.
        folder: folder for the images, JPEG with a short side of at most 512 pixels.
        min_share: share of the links that must give an image; with fewer the part stays unfinished, and the next call
            asks for the others again.
        threads: downloads at a time.
    """
    if links is None:
        raise InputError(f"config: pairs.{source}.list is null; set it to the data set's tsv file of links")
    downloaded_pairs, counts = download_pairs(shard(read_links(links, columns), scatteritem), folder, threads=threads)
    logging.info(
        "%s: asked %d, got %d, dead %d, unanswered %d",
        *(links, counts["asked"], counts["got"], len(counts["dead"]), len(counts["unanswered"])),
    )
    check_share(counts, min_share, links)
    if not downloaded_pairs:
        raise InputError(f"{links}: none of {counts['asked']} links gives an image; check the network and run again")
    if counts["unanswered"]:
        logging.warning(
            "%d links did not answer, see %s; `snakemake --forcerun download_pairs` with the same target asks for them "
            "again, and keeps what is there",
            *(len(counts["unanswered"]), report),
        )
    write_text(report, json.dumps(counts, indent=1))
    write_pairs(pairs, downloaded_pairs)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
