"""Downloads of the images in a list of image-text pairs (CC3M, CC12M), with a report of links that gave none.

GroupViT's authors downloaded images in the same size and shape (img2dataset with `image_size 512, keep_ratio,
only_if_bigger`). Expect 15 to 30 % of the links to be dead. Nothing is downloaded unless the user provides a list.
"""

import csv
import hashlib
import http.client
import io
import logging
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from maskmill.data.download import repeats, retry_after
from maskmill.data.images import UNREADABLE, resized, rgb
from maskmill.data.shards import Pair
from maskmill.errors import InputError
from maskmill.progress import progress
from maskmill.storage.atomic import atomic_path

SHORT_SIDE = 512  # pixels; larger images are shrunk to it, smaller ones stay as they are
LARGEST = 50 << 20  # bytes that are read of one file
log = logging.getLogger(__name__)


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


class Failure(NamedTuple):
    """Why a link gave no image.

    Attributes:
        reason: such as "HTTP 404".
        kind: dead: the server would repeat it; no_image: the answer is no image; no_answer: none came, or the server
            has an error; limit: the server limits the requests of its clients.
        wait: seconds that the server asks to wait; None: it does not say.
        asked: false where it was another link of the server that was limited.
    """

    reason: str
    kind: str
    wait: float | None = None
    asked: bool = True


def download_pairs(
    links: Sequence[tuple[str, str]],
    folder: str | Path,
    *,
    threads: int = 16,
    attempts: int = 3,
    timeout: float = 10.0,
    pause: float = 5.0,
) -> tuple[list[Pair], dict]:
    """Download images into a folder, as JPEG whose shorter side has at most 512 pixels.

    All links are asked once, then those without an answer again, in rounds. A server that limits its clients (429, or
    503 with Retry-After) is left alone for the rest of a round, and rounds go on as long as they bring something.
    Images that are already in the folder are not downloaded again: a later call continues where this one stopped.

    Args:
        links: URL and caption.
        threads: number of parallel downloads.
        attempts: number of times that a link is asked while no answer or no image comes; and of rounds that bring
            nothing, after which servers that limit their clients are given up.
        timeout: seconds without a response after which an attempt has failed.
        pause: seconds before the second round, doubled with every round that brings nothing; the longest time that a
            server asks for (Retry-After, up to ten minutes) counts instead.

    Returns:
        The pairs whose image exists, in the order of the links (a URL that occurs twice has its first caption), and a
        report: the counts `asked`, `got` and `failed`; `dead`, reasons by URL that gave no image and would give none
        again; and `unanswered`, reasons by URL that may give one later.

    Raises:
        InputError: the folder cannot be written to.
    """
    captions: dict[str, str] = {}
    for url, caption in links:
        captions.setdefault(url, caption)
    paths = {url: Path(folder, f"{_key(url)}.jpg") for url in captions}
    failures: dict[str, Failure] = {}
    tries: Counter[str] = Counter()
    todo, idle = list(captions), 0
    while todo:
        answers = _ask(todo, paths, threads, timeout)
        for url, failure in zip(todo, answers, strict=True):
            if failure is None:
                failures.pop(url, None)
            else:
                failures[url] = failure
                tries[url] += failure.asked
        again = [url for url in todo if url in failures and _asked_again(failures[url], tries[url], attempts)]
        idle = idle + 1 if len(again) == len(todo) else 0
        if not again or idle == attempts:
            break
        waits = [failure.wait for failure in answers if failure is not None and failure.wait is not None]
        seconds = max(waits, default=pause * 2**idle)
        log.info("%d links without an answer; next round in %.0f s", len(again), seconds)
        time.sleep(seconds)
        # Links that were not asked come first: one that is refused for ever would end every round for its server.
        todo = sorted(again, key=lambda url: failures[url].asked)
    pairs = [Pair(_key(url), paths[url], caption) for url, caption in captions.items() if url not in failures]
    dead = {url: failure.reason for url, failure in failures.items() if failure.kind in ("dead", "no_image")}
    unanswered = {url: failure.reason for url, failure in failures.items() if url not in dead}
    counts = {"asked": len(captions), "got": len(pairs), "failed": len(failures)}
    return pairs, {**counts, "dead": dead, "unanswered": unanswered}


def check_share(report: dict, min_share: float, links: str | Path) -> None:
    """Make sure that enough links gave an image: an outage must not become the data set.

    Args:
        report: as `download_pairs` gives it.
        min_share: of the links, 0..1.
        links: the list, for the message.

    Raises:
        InputError: fewer links gave an image; says how many are dead, how many did not answer, and why.
    """
    if report["got"] >= min_share * report["asked"]:
        return
    reasons = Counter([*report["unanswered"].values(), *report["dead"].values()]).most_common(1)
    why = f" (most often {reasons[0][0]})" if reasons else ""
    raise InputError(
        f"{links}: only {report['got']} of {report['asked']} links gave an image, and min_share is {min_share:g}; "
        f"{len(report['unanswered'])} did not answer, {len(report['dead'])} are dead{why}; run again later, what was "
        "downloaded is kept, or lower min_share in the config"
    )


def _key(url: str) -> str:
    return hashlib.sha1(url.encode()).hexdigest()


def _asked_again(failure: Failure, tries: int, attempts: int) -> bool:
    return failure.kind == "limit" or (failure.kind != "dead" and tries < attempts)


def _ask(urls: Sequence[str], paths: Mapping[str, Path], threads: int, timeout: float) -> list[Failure | None]:
    """One round: download what is not there yet. A server is left alone once it has limited this client."""
    limited: dict[str, Failure] = {}  # by server

    def fetch(url: str) -> Failure | None:
        server = url.split("/")[2]
        if paths[url].exists():
            return None
        if server in limited:
            return limited[server]._replace(asked=False)
        failure = _fetch(url, paths[url], timeout)
        if failure is not None and failure.kind == "limit":
            limited[server] = failure
        return failure

    with ThreadPoolExecutor(threads) as pool:
        return list(progress(pool.map(fetch, urls), "download", total=len(urls)))


def _fetch(url: str, path: Path, timeout: float) -> Failure | None:
    """Download an image to `path`; None where that worked."""
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "maskmill"})
        with urllib.request.urlopen(request, timeout=timeout) as response:
            data = response.read(LARGEST)
    except urllib.error.HTTPError as error:
        wait = retry_after(error)
        limits = error.code == 429 or (error.code == 503 and wait is not None)
        kind = "dead" if repeats(error) else "limit" if limits else "no_answer"
        return Failure(f"HTTP {error.code}", kind, wait)
    except (http.client.InvalidURL, UnicodeError) as error:  # such as a port that is no number
        return Failure(f"not a URL ({error})", "dead")
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError and timeouts are OSErrors
        return Failure(f"{type(error).__name__}: {error}", "no_answer")
    reason = _save(data, path)
    return Failure(reason, "no_image") if reason else None


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
