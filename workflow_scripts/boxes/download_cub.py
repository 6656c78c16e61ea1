"""Download CUB-200-2011 and unpack it. An interrupted download is resumed.

In: the archive's addresses and checksum in `maskmill.data.localization`.
Out: the release's folder; the archive stays beside it, in `archives/`.
"""

import shutil
from pathlib import Path

from maskmill.data.download import download, move_folder, unpack
from maskmill.data.localization import CUB
from maskmill.workflow import stage


def main(complete: str, checksum: str | None = None) -> None:
    """Download and unpack the release.

    Args:
        checksum: "md5:<hex>" or "sha256:<hex>" of the archive; null: the published one.
    """
    root, archive = Path(complete).parent, CUB.archive
    path = root.parent / "archives" / archive.name
    work = root.parent / f".{root.name}.work"
    download(archive.urls, path, checksum or archive.checksum)
    shutil.rmtree(work, ignore_errors=True)
    try:
        unpack(path, work, archive.members)
        shutil.rmtree(root, ignore_errors=True)
        move_folder(work / CUB.folder, root)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    Path(complete).touch()


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
