"""Partitions of a training set into labelled and unlabelled images, by the protocols of semi-supervised segmentation.

"1/8 of VOC" means different images in different papers, and results on them differ by several mIoU. Every protocol has
therefore a name here, and a partition counts as published only if it has exactly the images of its protocol.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from maskmill.data.catalog import DATASETS
from maskmill.data.download import check, download
from maskmill.data.index import Record
from maskmill.data.voc import check_split, list_sha256, refuse_twins
from maskmill.errors import InputError


@dataclass(frozen=True)
class Part:
    """One partition of a protocol.

    Attributes:
        labelled: number of labelled images.
        checksums: `checksum` of the labelled and of the unlabelled ids; None where no published lists were available.
    """

    labelled: int
    checksums: tuple[str, str] | None = None


@dataclass(frozen=True)
class Protocol:
    """A way of choosing the labelled images.

    Attributes:
        dataset: name of the data set.
        pool: its split that labelled and unlabelled images come from.
        rule: `sorted` labels every r-th id of the sorted pool, starting with the first; `ordered` does so in the pool's
            published order, which is shuffled; `listed` labels the ids of a list that the user has to provide.
        source: where that list, or the pool in its published order, can be found; for messages.
        parts: by name: `1_r` is a share, a plain number is a number of images.
        high_quality_first: whether images of VOC's own `train` are labelled before any others.
    """

    dataset: str
    pool: str
    rule: str
    source: str
    parts: dict[str, Part]
    high_quality_first: bool = False


# Counts and checksums: the split files of MGD's release. We compared them: TorchSemiSeg (CPS) has the same images, and
# so has UniMatch where it has the partition. High-quality lists: the folders of UniMatch's splits.
PROTOCOLS = {
    "voc_blended": Protocol(
        dataset="voc",
        pool="train_aug",
        rule="sorted",
        source="the rule",
        parts={
            "1_16": Part(662, ("baa85754594fcd33", "c38f02fc6adc3443")),
            "1_8": Part(1323, ("c9ca45b4e688d408", "0ff7a0ae65046a6d")),
            "1_4": Part(2646, ("fd0e8dca3dac524c", "dc5e8c0473850634")),
            "1_2": Part(5291, ("5338f277730143e0", "42ae9d1941af6820")),
        },
    ),
    "voc_u2pl": Protocol(
        dataset="voc",
        pool="train_aug",
        rule="listed",
        source="splits/pascal/u2pl_1_*/labeled.txt of github.com/LiheYoung/UniMatch",
        parts={"1_16": Part(662), "1_8": Part(1323), "1_4": Part(2646), "1_2": Part(5291)},
        high_quality_first=True,
    ),
    "voc_hq": Protocol(
        dataset="voc",
        pool="train_aug",
        rule="listed",
        source="splits/pascal/*/labeled.txt of github.com/LiheYoung/UniMatch",
        parts={"92": Part(92), "183": Part(183), "366": Part(366), "732": Part(732), "1464": Part(1464)},
        high_quality_first=True,
    ),
    "city": Protocol(
        dataset="cityscapes",
        pool="train",
        rule="ordered",
        source="the list config_new/train.txt that github.com/charlesCXK/TorchSemiSeg has for Cityscapes",
        parts={
            "1_16": Part(186, ("1e5363dd012cdc46", "61bcee728accc752")),
            "1_8": Part(372, ("6b3b52bab110157a", "f46ba729eeb2f706")),
            "1_4": Part(744, ("6856046a4415296a", "e4e4be16eefac6fc")),
            "1_2": Part(1488, ("2b3183629a3a9f1a", "6f7c0b1fb101525b")),
        },
    ),
    "city_1_30": Protocol(
        dataset="cityscapes",
        pool="train",
        rule="listed",
        source="dataset/splits/cityscapes/1_30/split_*/labeled.txt of github.com/LiheYoung/ST-PlusPlus",
        parts={"1_30": Part(100)},
    ),
}


@dataclass(frozen=True)
class Partition:
    """Two disjoint lists of ids.

    Attributes:
        labelled, unlabelled: image ids.
        published: "published": both lists are those of the protocol; "unverified: ...": only their sizes could be
            compared; "custom": the pool is not the published one; "custom: ...": some images are in neither list.
    """

    labelled: list[str]
    unlabelled: list[str]
    published: str


def find_part(dataset: str, protocol: str, part: str) -> Part:
    """A part of a protocol.

    Raises:
        InputError: the data set has no such protocol, or the protocol no such part; the message names those it has.
    """
    known = [name for name, about in PROTOCOLS.items() if about.dataset == dataset]
    if protocol not in known:
        there = f"choose one of {', '.join(known)}" if known else "it has none"
        raise InputError(f"config: {dataset} has no partition protocol {protocol!r}; {there}")
    parts = PROTOCOLS[protocol].parts
    if part not in parts:
        raise InputError(f"config: protocol {protocol} has no partition {part!r}; choose one of {', '.join(parts)}")
    return parts[part]


def partition(
    dataset: str,
    protocol: str,
    part: str,
    pool: Sequence[str],
    *,
    labelled: Sequence[str] | None = None,
    unlabelled: Sequence[str] | None = None,
    high_quality: Sequence[str] = (),
) -> Partition:
    """Divide the ids of a training set.

    The rules work on any pool; a published pool must give the published partition.

    Args:
        dataset, protocol, part: names, see `find_part`.
        pool: all training ids; in their published order for protocols of rule `ordered`.
        labelled: the labelled ids, for protocols of rule `listed`; not needed where they are all of `high_quality`.
        unlabelled: the unlabelled ids, for protocols of rule `listed`; default: all others of the pool.
        high_quality: ids of VOC's `train`, for protocols with `high_quality_first`.

    Returns:
        Both lists, in the order of the lists that they come from.

    Raises:
        InputError: the protocol or part is unknown; a list is missing, names an id twice, or has an id that is outside
            the pool or in the other list; or a published pool does not give the published partition.
    """
    expected = find_part(dataset, protocol, part)
    about, name = PROTOCOLS[protocol], f"partition {protocol}/{part}"
    if about.rule == "listed":
        if labelled is None and len(high_quality) == expected.labelled:
            labelled = high_quality
        if labelled is None:
            raise InputError(f"{name}: has no rule; give the list of its labelled images ({about.source})")
    else:
        labelled, unlabelled = every_nth(pool if about.rule == "ordered" else sorted(pool), _ratio(part)), None
    unlabelled = others(pool, labelled) if unlabelled is None else unlabelled
    _check_lists(pool, labelled, unlabelled, name)
    published = check_split(pool, DATASETS[dataset].splits[about.pool])
    if published == "published":
        published = _check_published(about, expected, pool, labelled, unlabelled, high_quality, name)
    else:
        published = "custom"
    return Partition(list(labelled), list(unlabelled), published)


def every_nth(ids: Sequence[str], step: int) -> Sequence[str]:
    """Every `step`-th id, starting with the first."""
    return ids[::step]


def others(pool: Sequence[str], labelled: Iterable[str]) -> list[str]:
    """The ids of the pool that are not labelled, in the pool's order."""
    chosen = set(labelled)
    return [image_id for image_id in pool if image_id not in chosen]


def checksum(ids: Iterable[str]) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the sorted ids, joined by line feeds; identifies a partition."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:16]


def unlabelled_records(records: Mapping[str, Record], ids: Iterable[str]) -> list[Record]:
    """Records without mask and tags, so that no training can use the labels of unlabelled images.

    Raises:
        InputError: an id is not in the index.
    """
    ids = list(ids)
    missing = next((image_id for image_id in ids if image_id not in records), None)
    if missing is not None:
        raise InputError(f"image {missing} is not in the index; remove its id from the list of unlabelled images")
    return [replace(records[image_id], mask=None, classes=()) for image_id in ids]


def manifest(protocol: str, part: str, halves: Partition) -> dict:
    """The contents of a partition, for a JSON file: sizes and SHA-256 of its lists, see `Partition`."""
    lists = {"labelled": halves.labelled, "unlabelled": halves.unlabelled}
    return {
        "protocol": protocol,
        "part": part,
        "published": halves.published,
        **{role: {"images": len(ids), "sha256": list_sha256(ids)} for role, ids in lists.items()},
    }


def read_listed(path: str | Path) -> list[str]:
    """Image ids of a list in the usual formats of semi-supervised segmentation, in the file's order.

    A line is an id, or the path of an image and, after a space or tab, the path of its mask. Folders, `.jpg`, `.png`
    and Cityscapes' `_leftImg8bit` are removed.

    Raises:
        InputError: the file is missing, empty, or names an id twice.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such list; put one image per line there")
    lines = path.read_text(encoding="utf-8").splitlines()
    ids = [_image_id(line.split()[0]) for line in lines if line.strip()]
    if not ids:
        raise InputError(f"{path}: is empty; put one image per line there")
    refuse_twins(ids, str(path))
    return ids


def fetch_list(source: str, path: str | Path, sha256: str | None = None) -> Path:
    """Provide a list that the user names: a file, or a URL that is downloaded.

    Args:
        source: path or URL.
        path: where a download is stored.
        sha256: of the file's bytes, 64 hexadecimal digits; required for a URL, checked for a file if given.

    Returns:
        Path of the list.

    Raises:
        InputError: a URL has no checksum, the checksum differs, or the download fails.
    """
    if source.startswith(("https://", "http://")):
        if not sha256:
            raise InputError(f"{source}: a list from the web needs its SHA-256; give it beside the URL")
        download([source], path, f"sha256:{sha256}")
        return Path(path)
    if sha256 and Path(source).is_file():
        check(source, f"sha256:{sha256}")
    return Path(source)


def _ratio(part: str) -> int:
    return int(part.removeprefix("1_"))


def _image_id(path: str) -> str:
    name = PurePosixPath(path).name
    for ending in (".jpg", ".png", "_leftImg8bit"):
        name = name.removesuffix(ending)
    return name


def _check_lists(pool: Sequence[str], labelled: Sequence[str], unlabelled: Sequence[str], name: str) -> None:
    for role, ids in (("labelled", labelled), ("unlabelled", unlabelled)):
        refuse_twins(ids, f"{name}: {role} list")
        unknown = next(iter(sorted(set(ids) - set(pool))), None)
        if unknown is not None:
            raise InputError(f"{name}: {role} image {unknown} is not among the training images; remove its id")
        if not ids:
            raise InputError(f"{name}: no {role} image is left of {len(pool)}; choose another share")
    both = sorted(set(labelled) & set(unlabelled))
    if both:
        raise InputError(f"{name}: image {both[0]} is in both lists ({len(both)} in all); remove it from one of them")


def _check_published(
    about: Protocol,
    expected: Part,
    pool: Sequence[str],
    labelled: Sequence[str],
    unlabelled: Sequence[str],
    high_quality: Sequence[str],
    name: str,
) -> str:
    if len(labelled) != expected.labelled:
        raise InputError(
            f"{name}: {len(labelled):,} labelled images instead of {expected.labelled:,}; take the list from "
            f"{about.source}"
        )
    if about.high_quality_first and high_quality:
        inside = len(set(labelled) & set(high_quality))
        if inside < min(len(labelled), len(high_quality)):
            raise InputError(
                f"{name}: only {inside:,} of its {len(labelled):,} images are of VOC's train, which this protocol "
                f"labels first; take the list from {about.source}"
            )
    left_out = len(pool) - len(labelled) - len(unlabelled)
    if left_out:
        return f"custom: {left_out:,} of {len(pool):,} images in neither list"
    if expected.checksums is None:
        return f"unverified: {len(labelled):,} labelled images, as published"
    if (checksum(labelled), checksum(unlabelled)) != expected.checksums:
        raise InputError(
            f"{name}: the rule does not give its published images, because the training list has another order; give "
            f"{about.source}"
        )
    return "published"
