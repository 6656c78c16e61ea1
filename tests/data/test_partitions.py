"""Partitions: the published ones from their rules, and wrong lists."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from few_masks import partition as stage_script
from maskmill.data.catalog import DATASETS
from maskmill.data.index import Record, read_ids
from maskmill.data.partitions import (
    PROTOCOLS,
    Partition,
    checksum,
    fetch_list,
    manifest,
    partition,
    read_listed,
    unlabelled_records,
)
from maskmill.errors import InputError
from published import LISTS, needs_lists

RATIOS = {"1_16": 16, "1_8": 8, "1_4": 4, "1_2": 2}
POOL = [f"2008_{number:06d}" for number in range(20)]


def published_pools():
    return read_ids(LISTS / "voc2012/train_aug.txt"), read_listed(LISTS / "cityscapes/train.txt")


# The rules


@needs_lists
@pytest.mark.parametrize("part", RATIOS)
def test_g13_rules_give_the_published_partitions(part):
    voc, city = published_pools()
    for dataset, protocol, pool in (("voc", "voc_blended", voc), ("cityscapes", "city", city)):
        halves, about = partition(dataset, protocol, part, pool), PROTOCOLS[protocol].parts[part]
        assert halves.published == "published"
        assert (checksum(halves.labelled), checksum(halves.unlabelled)) == about.checksums
        assert len(halves.labelled) == about.labelled
        assert len(halves.labelled) + len(halves.unlabelled) == len(pool)


@needs_lists
def test_smaller_partitions_lie_in_larger_ones():
    voc, city = published_pools()
    for dataset, protocol, pool in (("voc", "voc_blended", voc), ("cityscapes", "city", city)):
        sizes = [set(partition(dataset, protocol, part, pool).labelled) for part in RATIOS]
        assert sizes[0] < sizes[1] < sizes[2] < sizes[3]


@needs_lists
def test_blended_partitions_have_the_published_numbers_of_vocs_own_images():
    voc, train = published_pools()[0], set(read_ids(LISTS / "voc2012/train.txt"))
    counts = [len(train & set(partition("voc", "voc_blended", part, voc).labelled)) for part in RATIOS]
    assert counts == [93, 193, 388, 742]


@needs_lists
def test_cityscapes_list_in_another_order_is_refused():
    with pytest.raises(InputError, match=r"partition city/1_8: .* another order; give the list config_new/train.txt"):
        partition("cityscapes", "city", "1_8", sorted(published_pools()[1]))


@needs_lists
def test_high_quality_lists_of_the_published_pool():
    voc, train = published_pools()[0], read_ids(LISTS / "voc2012/train.txt")
    whole = partition("voc", "voc_hq", "1464", voc, high_quality=train)
    assert whole.labelled == train and len(whole.unlabelled) == 10_582 - 1_464
    some = partition("voc", "voc_hq", "92", voc, labelled=train[5:97], high_quality=train)
    assert some.published.startswith("unverified: 92")
    filled = [*train, *sorted(set(voc) - set(train))[: 2646 - 1464]]
    assert len(partition("voc", "voc_u2pl", "1_4", voc, labelled=filled, high_quality=train).labelled) == 2646
    with pytest.raises(InputError, match="91 labelled images instead of 92"):
        partition("voc", "voc_hq", "92", voc, labelled=train[:91], high_quality=train)
    with pytest.raises(InputError, match=r"only 193 of its 1,323 images are of VOC's train"):
        blended = partition("voc", "voc_blended", "1_8", voc).labelled
        partition("voc", "voc_u2pl", "1_8", voc, labelled=blended, high_quality=train)


@pytest.mark.parametrize(("size", "protocol"), [(10_582, "voc_blended"), (2_975, "city")])
def test_every_rth_image_of_a_pool_of_the_published_size_gives_the_published_counts(size, protocol):
    """The images differ from the published ones, so this test needs no data."""
    dataset = PROTOCOLS[protocol].dataset
    pool = [hashlib.md5(str(number).encode()).hexdigest() for number in range(size)]
    assert size == DATASETS[dataset].splits[PROTOCOLS[protocol].pool].images
    for part, ratio in RATIOS.items():
        halves = partition(dataset, protocol, part, pool)
        order = sorted(pool) if protocol == "voc_blended" else pool
        assert halves.labelled == [image_id for rank, image_id in enumerate(order) if rank % ratio == 0]
        assert len(halves.labelled) == PROTOCOLS[protocol].parts[part].labelled
        assert halves.published == "custom"


@given(
    st.lists(st.text("abc0", min_size=1, max_size=4), min_size=17, max_size=60, unique=True), st.sampled_from([*RATIOS])
)
def test_halves_are_disjoint_cover_the_pool_and_do_not_depend_on_its_order(pool, part):
    halves = partition("voc", "voc_blended", part, pool)
    assert sorted([*halves.labelled, *halves.unlabelled]) == sorted(pool)
    assert partition("voc", "voc_blended", part, pool[::-1]).labelled == halves.labelled


def test_checksum_is_that_of_the_sorted_ids_joined_by_line_feeds():
    assert checksum(["b", "a"]) == hashlib.sha256(b"a\nb").hexdigest()[:16]


# Lists


@pytest.mark.parametrize(
    ("dataset", "protocol", "part", "message"),
    [
        (
            "voc",
            "blended",
            "1_8",
            "voc has no partition protocol 'blended'; choose one of voc_blended, voc_u2pl, voc_hq",
        ),
        ("voc", "city", "1_8", "voc has no partition protocol 'city'; choose one of voc_blended"),
        ("cityscapes", "city", "1_30", "city has no partition '1_30'; choose one of 1_16, 1_8, 1_4, 1_2"),
        ("context", "city", "1_8", "context has no partition protocol 'city'; it has none"),
    ],
)
def test_a_wrong_name_is_answered_with_the_known_ones(dataset, protocol, part, message):
    with pytest.raises(InputError, match=message):
        partition(dataset, protocol, part, POOL)


@pytest.mark.parametrize(
    ("dataset", "protocol", "part"), [("voc", "voc_hq", "92"), ("cityscapes", "city_1_30", "1_30")]
)
def test_a_protocol_without_a_rule_asks_for_its_list(dataset, protocol, part):
    with pytest.raises(InputError, match=rf"{protocol}/{part}: has no rule; give the list .*labeled\.txt of github"):
        partition(dataset, protocol, part, POOL)


@pytest.mark.parametrize(
    ("labelled", "unlabelled", "message"),
    [
        ([0, 1, 2], [2, 3, 4], r"image 2008_000002 is in both lists \(1 in all\); remove it"),
        ([0, 1, 1], None, "labelled list names 2008_000001 twice"),
        ([0, 1], [3, 3], "unlabelled list names 2008_000003 twice"),
        ([0, 99], None, "labelled image 2008_000099 is not among the training images"),
        ([0], [98], "unlabelled image 2008_000098 is not among the training images"),
        (range(20), None, "no unlabelled image is left of 20"),
    ],
)
def test_lists_that_are_wrong(labelled, unlabelled, message):
    labelled, unlabelled = (
        [f"2008_{n:06d}" for n in ids] if ids is not None else None for ids in (labelled, unlabelled)
    )
    with pytest.raises(InputError, match=message):
        partition("voc", "voc_hq", "92", POOL, labelled=labelled, unlabelled=unlabelled)


def test_given_lists_are_kept_as_they_are():
    halves = partition("voc", "voc_hq", "92", POOL, labelled=POOL[3:1:-1], unlabelled=POOL[7:9])
    assert halves == Partition(POOL[3:1:-1], POOL[7:9], "custom")


def test_lists_that_leave_images_out_are_not_called_published(monkeypatch):
    monkeypatch.setattr("maskmill.data.partitions.check_split", lambda pool, split: "published")
    pool = [f"2008_{number:06d}" for number in range(2000)]
    some, every = (
        partition("voc", "voc_hq", "92", pool, labelled=pool[:92], unlabelled=pool[92:end]) for end in (1500, 2000)
    )
    assert some.published == "custom: 500 of 2,000 images in neither list"
    assert every.published == "unverified: 92 labelled images, as published"


def test_manifest_counts_and_hashes_both_lists():
    about = manifest("voc_blended", "1_8", partition("voc", "voc_blended", "1_8", POOL))
    assert about["labelled"] == {
        "images": 3,
        "sha256": hashlib.sha256(b"2008_000000\n2008_000008\n2008_000016\n").hexdigest(),
    }
    assert about["unlabelled"]["images"] == 17 and about["published"] == "custom"


@pytest.mark.parametrize(
    "line",
    [
        "jena_000078_000019",
        "/images/train/jena_000078_000019.png\t/segmentation/train/jena_000078_000019_gtFine.png",
        "leftImg8bit/train/jena/jena_000078_000019_leftImg8bit.png gtFine/train/jena/jena_000078_000019_gtFine.png",
        "JPEGImages/jena_000078_000019.jpg SegmentationClass/jena_000078_000019.png",
    ],
)
def test_lists_are_read_in_all_forms_of_the_field(tmp_path, line):
    path = tmp_path / "labeled.txt"
    path.write_text(f"{line}\r\n\na_1_2")  # no line feed at the end
    assert read_listed(path) == ["jena_000078_000019", "a_1_2"]


def test_broken_lists_are_refused(tmp_path):
    path = tmp_path / "labeled.txt"
    with pytest.raises(InputError, match=r"labeled\.txt: no such list"):
        read_listed(path)
    path.write_text("\n")
    with pytest.raises(InputError, match=r"labeled\.txt: is empty"):
        read_listed(path)
    path.write_text("JPEGImages/a.jpg SegmentationClass/a.png\na\n")
    with pytest.raises(InputError, match=r"labeled\.txt names a twice"):
        read_listed(path)


def test_a_list_is_checked_against_its_checksum(tmp_path):
    path = tmp_path / "labeled.txt"
    path.write_text("a\n")
    assert fetch_list(str(path), tmp_path / "copy.txt", hashlib.sha256(b"a\n").hexdigest()) == path
    with pytest.raises(InputError, match=r"labeled\.txt: checksum is sha256:.*, expected sha256:0000"):
        fetch_list(str(path), tmp_path / "copy.txt", 64 * "0")
    with pytest.raises(InputError, match=r"https://example\.org/l\.txt: a list from the web needs its SHA-256"):
        fetch_list("https://example.org/l.txt", tmp_path / "copy.txt")


@pytest.fixture
def divide(tmp_path):
    """Run the stage on a pool of Cityscapes at 1/8, with a list in the published order; returns the output folder."""

    def run(pool: list[str], order: list[str]) -> Path:
        (tmp_path / "train.txt").write_text("".join(f"{image_id}\n" for image_id in pool))
        (tmp_path / "order.txt").write_text("".join(f"/images/train/{i}.png\t/masks/{i}_gtFine.png\n" for i in order))
        stage_script.main(
            dataset="cityscapes",
            protocol="city",
            part="1_8",
            ids=str(tmp_path / "train.txt"),
            high_quality=str(tmp_path / "train.txt"),
            labelled=str(tmp_path / "labelled.txt"),
            unlabelled=str(tmp_path / "unlabelled.txt"),
            manifest_file=str(tmp_path / "manifest.json"),
            sources={"order": str(tmp_path / "order.txt"), "labelled": None, "unlabelled": None},
            sha256={},
        )
        return tmp_path

    return run


CITIES = [f"jena_{number:06d}_000019" for number in range(20)]


def test_a_given_order_decides_which_images_are_labelled(divide):
    shuffled = CITIES[13:] + CITIES[:13]
    folder = divide(CITIES, shuffled)
    assert read_ids(folder / "labelled.txt") == [CITIES[13], CITIES[1], CITIES[9]]
    assert read_ids(folder / "unlabelled.txt") == [image_id for n, image_id in enumerate(shuffled) if n % 8]
    assert json.loads((folder / "manifest.json").read_text())["published"] == "custom"


@needs_lists
def test_the_order_of_cityscapes_that_is_published_gives_the_published_partition(divide):
    order = published_pools()[1]
    folder = divide(sorted(order), order)
    assert json.loads((folder / "manifest.json").read_text())["published"] == "published"


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (CITIES[1:], rf"order\.txt: training image {CITIES[0]} is missing \(1 such\); add its line"),
        ([*CITIES, "ulm_1_2"], r"order\.txt: image ulm_1_2 is no training image \(1 such\); remove its line"),
        ([*CITIES[1:], "ulm_1_2"], r"order\.txt: image ulm_1_2 is no training image"),
        ([*CITIES, CITIES[0]], rf"order\.txt names {CITIES[0]} twice"),
    ],
)
def test_an_order_of_other_images_is_refused(divide, order, message):
    with pytest.raises(InputError, match=message):
        divide(CITIES, order)


def test_records_of_unlabelled_images_know_neither_mask_nor_tags():
    records = {"a": Record("a", Path("a.jpg"), Path("a.png"), 3, 4, (1, 2), ("train",))}
    assert unlabelled_records(records, ["a"]) == [Record("a", Path("a.jpg"), None, 3, 4, (), ("train",))]
    with pytest.raises(InputError, match="image b is not in the index"):
        unlabelled_records(records, ["b"])
