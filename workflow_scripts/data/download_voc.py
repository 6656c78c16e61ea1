"""Download one of VOC's archives; an interrupted download is resumed.

Out: `path`, the archive, its checksum verified.
Wildcard: `archive`, its file name in the catalogue.
"""

from maskmill.data.catalog import VOC
from maskmill.data.download import download
from maskmill.workflow import stage


def main(archive: str, path: str) -> None:
    found = next(a for a in VOC.archives.values() if a.name == archive)
    download(found.urls, path, found.checksum)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
