"""Downloads of the images in a list of image-text pairs (CC3M, CC12M), with a report of dead links.

GroupViT's authors downloaded images in the same size and shape (img2dataset with `image_size 512, keep_ratio,
only_if_bigger`). Expect 15 to 30 % of the links to be dead. Nothing is downloaded unless the user provides a list.
"""

import csv
import hashlib
import http.client
import io
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from maskmill.data.images import UNREADABLE, resized, rgb
from maskmill.data.shards import Pair
from maskmill.errors import InputError
from maskmill.progress import progress
from maskmill.storage.atomic import atomic_path

SHORT_SIDE = 512  # pixels; larger images are shrunk to it, smaller ones stay as they are
LARGEST = 50 << 20  # bytes that are read of one file


def read_links(path: str | Path, columns: Sequence[str]) -> list[tuple[str, str]]:
    """URL and caption of every line of a published list, which is tab-separated and has no header.

    Args:
        columns: names of the columns, in order; `url` and `caption` are among them (CC3M: caption, url; CC12M: url,
            caption).

    Raises:
        InputError: the file is missing, a line has other columns, or the column `url` holds no URL.
    """
    if not Path(path).exists():
        raise InputError(f"{path}: no such list of links; download the data set's tsv file and name it in the config")
    url, caption = columns.index("url"), columns.index("caption")
    links = []
    with open(path, newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), start=1):
            if len(row) != len(columns) or not row[url].startswith(("http://", "https://")):
                raise InputError(
                    f"{path}: line {number} is not {', '.join(columns)} separated by tabs; correct the line, or the "
                    "columns in the config"
                )
            links.append((row[url], row[caption]))
    return links


def download_pairs(
    links: Sequence[tuple[str, str]], folder: str | Path, *, threads: int = 16, attempts: int = 2, timeout: float = 10.0
) -> tuple[list[Pair], dict]:
    """Download images into a folder, as JPEG whose shorter side has at most 512 pixels.

    Images that are already in the folder are not downloaded again, so that a killed run continues where it stopped.

    Args:
        links: URL and caption.
        threads: number of parallel downloads.
        attempts: number of attempts per image; an error that the server will repeat (404 and other codes below 500)
            ends them.
        timeout: seconds without a response after which an attempt has failed.

    Returns:
        The pairs whose image exists, in the order of the links (a URL that occurs twice has its first caption), and a
        report: the counts `asked`, `got` and `failed`, and `dead`, reasons by URL.
    """
    captions: dict[str, str] = {}
    for url, caption in links:
        captions.setdefault(url, caption)
    folder = Path(folder)
    pairs: list[Pair] = []
    dead: dict[str, str] = {}

    def fetch(url: str) -> str | None:
        path = folder / f"{_key(url)}.jpg"
        return None if path.exists() else _fetch(url, path, attempts, timeout)

    with ThreadPoolExecutor(threads) as pool:
        reasons = progress(pool.map(fetch, captions), "download", total=len(captions))
        for (url, caption), reason in zip(captions.items(), reasons, strict=True):
            if reason is None:
                pairs.append(Pair(_key(url), folder / f"{_key(url)}.jpg", caption))
            else:
                dead[url] = reason
    return pairs, {"asked": len(captions), "got": len(pairs), "failed": len(dead), "dead": dead}


def _key(url: str) -> str:
    return hashlib.sha1(url.encode()).hexdigest()


def _fetch(url: str, path: Path, attempts: int, timeout: float) -> str | None:
    """Download an image to `path`; returns the reason where that failed, else None."""
    reason = None
    for _ in range(attempts):
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "maskmill"})
            with urllib.request.urlopen(request, timeout=timeout) as response:
                reason = _save(response.read(LARGEST), path)
            if reason is None:
                return None
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code}"
            if error.code < 500:
                break
        except (OSError, http.client.HTTPException, ValueError) as error:  # URLError and timeouts are OSErrors
            reason = f"{type(error).__name__}: {error}"
    return reason


def _save(data: bytes, path: Path) -> str | None:
    try:
        image = rgb(Image.open(io.BytesIO(data)))
    except UNREADABLE as error:
        return f"not an image ({error})"
    size = resized(image.height, image.width, SHORT_SIDE)
    if size != (image.height, image.width):
        image = image.resize(size[::-1], Image.Resampling.BOX)
    with atomic_path(path) as temporary:
        image.save(temporary, "jpeg", quality=95)
    return None
