"""Image-text pairs in webdataset shards: tar files in which a sample is `<key>.<image suffix>` and `<key>.txt`.

Beside a shard lies an index, `<shard>.json`, with the place of each image's bytes. The training loop can therefore read
samples in any order, also from shards that img2dataset or webdataset wrote.
"""

import bisect
import csv
import io
import json
import logging
import tarfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
from PIL import Image

from maskmill.data.images import UNREADABLE, rgb
from maskmill.errors import InputError
from maskmill.storage.access import barred, check_readable
from maskmill.storage.atomic import atomic_path, write_text
from maskmill.storage.maps import sha256

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
COLUMNS = ("key", "image", "caption")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """An image file with its caption.

    Attributes:
        key: name of the sample, without dots.
        image: file of the image.
        caption: empty for images without text.
    """

    key: str
    image: Path
    caption: str = ""


def read_pairs(path: str | Path) -> list[Pair]:
    """Read a CSV with the columns key, image and caption."""
    with open(path, newline="", encoding="utf-8") as file:
        return [Pair(row["key"], Path(row["image"]), row["caption"]) for row in csv.DictReader(file)]


def write_pairs(path: str | Path, pairs: Iterable[Pair]) -> None:
    """Write pairs as CSV for `read_pairs`."""
    text = io.StringIO()
    rows = [(pair.key, pair.image, pair.caption) for pair in pairs]
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    write_text(path, text.getvalue())


def list_image_folder(root: str | Path) -> list[Pair]:
    """The images of a root in ImageNet's layout, <class>/<name>.<suffix>, without captions; keys are <class>_<name>.

    Raises:
        InputError: there are no images.
    """
    paths = sorted(path for path in Path(root).glob("*/*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise InputError(
            f"{root}: has no images as <class>/<name>.jpg; name the folder that holds the classes' folders"
        )
    keys = (f"{path.parent.name}_{path.stem}".replace(".", "_") for path in paths)
    return [Pair(key, path) for key, path in zip(keys, paths, strict=True)]


def write_shard(path: str | Path, pairs: Iterable[Pair]) -> None:
    """Write a shard; the same pairs give the same bytes."""
    with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for pair in pairs:
            _add(tar, f"{pair.key}{pair.image.suffix.lower()}", pair.image.read_bytes())
            if pair.caption:
                _add(tar, f"{pair.key}.txt", pair.caption.encode())


def index_shard(path: str | Path, *, captioned: bool) -> dict:
    """Compute the index of a shard.

    Every image is decoded once, so that no training stops at a damaged one. A truncated shard gives the samples before
    the truncation.

    Args:
        captioned: skip images whose caption is missing or empty.

    Returns:
        `sha256` of the shard; `samples` as [key, offset, size, caption, checksum] (offset and size of the image in
        bytes; CRC-32 of image, key and caption); and `skipped`, unusable members and samples as [name, reason].

    Raises:
        InputError: the file is missing, not a tar file, or has no usable sample.
    """
    images: dict[str, tuple[int, int, int]] = {}
    captions: dict[str, str] = {}
    skipped: list[list[str]] = []
    for member, data in _members(path, skipped):
        key, suffix = member.name.rsplit(".", 1)
        if suffix == "txt":
            captions[key] = data.decode("utf-8", errors="replace")
        elif f".{suffix.lower()}" in SUFFIXES:
            reason = _damage(data)
            if reason:
                skipped.append([member.name, reason])
            else:
                images[key] = (member.offset_data, member.size, zlib.crc32(data))
    samples = []
    for key, (offset, size, image_checksum) in images.items():
        caption = captions.get(key, "").strip()
        if captioned and not caption:
            skipped.append([key, "no caption"])
        else:
            samples.append([key, offset, size, caption, _checksum(key, caption, image_checksum)])
    if not samples:
        raise InputError(f"{path}: has no usable image{' with a caption' if captioned else ''}; make it again")
    return {"sha256": sha256(path), "samples": samples, "skipped": skipped}


def write_indexed_shard(path: str | Path, pairs: Iterable[Pair], *, captioned: bool) -> None:
    """Write a shard and its index; log every member and sample that `index_shard` skips."""
    write_shard(path, pairs)
    index = index_shard(path, captioned=captioned)
    for name, reason in index["skipped"]:
        logger.warning("%s: skipped %s: %s", path, name, reason)
    logger.info("%s: %d samples, %d skipped", path, len(index["samples"]), len(index["skipped"]))
    write_text(index_path(path), json.dumps(index))


class Shards(Sequence):
    """The samples of several shards as one sequence, read through their indices.

    Every sample is compared with its checksum when it is read, which requires only its own bytes. The SHA-256 of the
    shard is not checked, because every process of a training would have to read every shard completely.

    Args:
        paths: the tar files; the index of each lies beside it, `<shard>.json`.

    Raises:
        InputError: an index is missing or damaged.
    """

    def __init__(self, paths: Iterable[str | Path]):
        self.paths = [Path(path) for path in paths]
        self.samples = [_read_index(path)["samples"] for path in self.paths]
        self._ends = list(accumulate(map(len, self.samples)))

    def __len__(self) -> int:
        return self._ends[-1]

    def locate(self, index: int) -> tuple[int, int]:
        """Number of the shard that contains sample `index`, and the sample's position in it.

        Raises:
            IndexError: there is no such sample.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect.bisect_right(self._ends, index)
        return number, index - (self._ends[number - 1] if number else 0)

    def __getitem__(self, index: int) -> tuple[str, np.ndarray, str]:  # type: ignore[override]  # no slices
        """Key, image uint8 [H, W, 3] RGB, and caption.

        Raises:
            InputError: the sample differs from the indexed one.
        """
        number, position = self.locate(index)
        key, offset, size, caption, checksum = self.samples[number][position]
        shard = self.paths[number]
        try:
            with open(shard, "rb") as file:
                file.seek(offset)
                data = file.read(size)
        except FileNotFoundError:
            raise InputError(
                f"{shard}: no such shard, only its index; copy both, or delete {index_path(shard)} and run again"
            ) from None
        except OSError as error:
            raise barred(shard, error) or error from None
        if _checksum(key, caption, zlib.crc32(data)) != checksum:
            raise InputError(
                f"{shard}: sample {key} is damaged; the shard or its index has changed since, "
                f"delete it and {index_path(shard)} and run again"
            )
        return key, np.array(rgb(Image.open(io.BytesIO(data)))), caption


def index_path(shard: str | Path) -> Path:
    """Path of the index of a shard."""
    return Path(shard).with_suffix(".json")


def _checksum(key: str, caption: str, image_checksum: int) -> int:
    return zlib.crc32(f"{key}\n{caption}".encode(), image_checksum)


def _read_index(shard: Path) -> dict:
    path = index_path(shard)
    check_readable(path, "no such index of a shard; run snakemake to make it")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not a whole index ({error}); delete it and {shard} and run again") from None


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _members(path: str | Path, skipped: list[list[str]]) -> Iterable[tuple[tarfile.TarInfo, bytes]]:
    """Files of a tar with their bytes. A truncated tar adds an entry to `skipped` and ends the files."""
    name = None
    check_readable(path, "no such shard; run snakemake to make it")
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                name = member.name
                content = tar.extractfile(member) if member.isfile() and "." in name else None
                if content is not None:
                    yield member, content.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        if line := barred(path, error):  # the disk, not the file, breaks off
            raise line from None
        if name is None:
            raise InputError(f"{path}: not a tar file ({error}); make it again") from None
        skipped.append([name, f"the shard breaks off here or behind ({error})"])


def _damage(data: bytes) -> str | None:
    """The reason why an image cannot be decoded; None if it can."""
    try:
        rgb(Image.open(io.BytesIO(data)))
    except UNREADABLE as error:
        return f"damaged image ({error})"
    return None
