"""Download one archive of VOC 2012 or SBD. An interrupted download is resumed.

In: the archive's addresses and checksum in `maskmill.data.catalog`.
Out: the archive, its checksum verified.
"""

from maskmill.data.catalog import VOC
from maskmill.data.download import download
from maskmill.workflow import stage


def main(archive: str, path: str) -> None:
    """Download the archive.

    Args:
        archive: file name of the archive in the catalog.
        path: file to write.
    """
    entry = next(a for a in VOC.archives.values() if a.name == archive)
    download(entry.urls, path, entry.checksum)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
