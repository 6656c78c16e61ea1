"""Class-incremental steps: counts of the published lists, labels of a step, and wrong inputs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmill.data.catalog import ADE20K, VOC
from maskmill.data.datasets import Masks
from maskmill.data.incremental import (
    CLASSES,
    ORDERS,
    PROTOCOLS,
    StepLabels,
    channel_classes,
    channel_table,
    check_steps,
    manifest,
    protocol_steps,
    read_presence,
    step_images,
    step_records,
    task_steps,
)
from maskmill.data.index import Record
from maskmill.errors import InputError
from published import LISTS, needs_lists

FILES = {"voc": "voc2012/train_aug_classes.txt", "ade20k": "ade20k/train_classes.txt"}

# Training images of each step, overlapped and disjoint, counted with the task lists of BARM's release.
COUNTS = {
    ("voc", "19-1"): ("10410 548", "10034 548"),
    ("voc", "15-5"): ("9568 2145", "8437 2145"),
    ("voc", "15-1"): ("9568 487 299 491 500 548", "8437 378 299 420 500 548"),
    ("voc", "10-1"): (
        "6139 528 1177 444 482 3898 487 299 491 500 548",
        "3706 188 868 227 201 3247 378 299 420 500 548",
    ),
    ("voc", "5-3"): ("2836 2331 1542 2095 4484 1468", "1753 1517 624 1296 3924 1468"),
    ("voc", "5-1"): (
        "2836 385 1086 1000 1081 264 528 1177 444 482 3898 487 299 491 500 548",
        "1753 139 566 812 220 216 188 868 227 201 3247 378 299 420 500 548",
    ),
    ("voc", "2-2"): (
        "1072 1151 1039 2080 1345 1701 925 4236 790 1048",
        "653 936 303 1378 436 1056 428 3625 719 1048",
    ),
    ("voc", "5-5"): ("2836 3604 5542 2145", "1753 1953 4731 2145"),
    ("voc", "2-1"): (
        "1072 698 461 654 385 1086 1000 1081 264 528 1177 444 482 3898 487 299 491 500 548",
        "653 641 295 164 139 566 812 220 216 188 868 227 201 3247 378 299 420 500 548",
    ),
    ("ade20k", "100-50"): ("20192 9390", "10806 9390"),
    ("ade20k", "100-10"): ("20192 1710 2294 2747 4279 2844", "10806 861 1009 1445 3231 2844"),
    ("ade20k", "100-5"): (
        "20192 1142 600 1234 1204 1151 1874 1807 2943 1238 1898",
        "10806 597 264 499 510 493 952 1040 2191 946 1898",
    ),
    ("ade20k", "50-50"): ("20177 13186 9390", "4838 5968 9390"),
    ("ade20k", "50-20"): ("20177 7508 7905 4713 4469 6075", "4838 1940 2588 2301 2454 6075"),
}

PRESENCE = {"a": (1,), "b": (1, 2), "c": (2, 3), "d": (3,), "e": (4,), "f": ()}


@needs_lists
@pytest.mark.parametrize(("dataset", "protocol"), COUNTS)
def test_steps_have_the_published_numbers_of_images(dataset, protocol):
    presence, steps = read_presence(LISTS / FILES[dataset]), protocol_steps(dataset, protocol)
    for scheme, expected in zip(("overlapped", "disjoint"), COUNTS[dataset, protocol], strict=True):
        assert [len(ids) for ids in step_images(presence, steps, scheme)] == list(map(int, expected.split()))


def test_every_protocol_has_counts():
    assert {(dataset, name) for dataset, names in PROTOCOLS.items() for name in names} == set(COUNTS)


@pytest.mark.parametrize(("dataset", "protocol"), COUNTS)
def test_steps_have_all_classes_once(dataset, protocol):
    steps = protocol_steps(dataset, protocol)
    assert channel_classes(steps) == list(range(CLASSES[dataset] + 1))
    assert len(steps) == len(COUNTS[dataset, protocol][0].split())


def test_permuted_orders_are_orders_of_all_classes_and_differ():
    for order in ORDERS.values():
        steps = protocol_steps("voc", "15-1", order)
        assert [len(classes) for classes in steps] == [15, 1, 1, 1, 1, 1]
        assert channel_classes(steps) == [0, *order]
    assert len(set(ORDERS.values())) == len(ORDERS) == 22


def test_disjoint_steps_keep_images_of_all_classes_learned_before_whatever_their_ids():
    steps = [(3,), (1,), (2,)]
    assert step_images(PRESENCE, steps) == [["c", "d"], ["a", "b"], ["b", "c"]]
    assert step_images(PRESENCE, steps, "disjoint") == [["d"], ["a"], ["b", "c"]]


def test_disjoint_steps_take_classes_of_no_step_for_unknown_but_void_for_known():
    presence = {"a": (1, 2), "b": (0, 1, 255)}
    assert step_images(presence, [(1,)], "disjoint") == [["b"]]
    assert step_images(presence, [(1,)], "overlapped") == [["a", "b"]]


def test_a_step_without_images_is_refused():
    with pytest.raises(InputError, match=r"step 1: no image of 6 is left for class 5 \(overlapped\)"):
        step_images(PRESENCE, [(1, 2), (5,)])
    with pytest.raises(InputError, match=r"step 0: no image of 6 is left for class 2 \(disjoint\)"):
        step_images(PRESENCE, [(2,), (1, 3)], "disjoint")
    with pytest.raises(InputError, match=r"scheme 'joint' .* choose overlapped or disjoint"):
        step_images(PRESENCE, [(1,)], "joint")


def test_a_class_listed_twice_is_refused():
    with pytest.raises(InputError, match="class 2 is listed in step 0 and in step 2"):
        check_steps([(1, 2), (3,), (2,)], 3)
    with pytest.raises(InputError, match="class 1 is listed in step 0 and in step 0"):
        check_steps([(1, 1)], 3)
    with pytest.raises(InputError, match="class 7 is listed in step 0 and in step 5"):
        protocol_steps("voc", "15-1", [*range(1, 20), 7])


def test_other_wrong_steps_are_refused():
    with pytest.raises(InputError, match=r"step 1 has class 4; choose from 1\.\.3"):
        check_steps([(1,), (4,)], 3)
    with pytest.raises(InputError, match=r"step 0 has class 0; choose from 1\.\.3"):
        check_steps([(0, 1)], 3)
    with pytest.raises(InputError, match="step 1 has no class"):
        check_steps([(1,), ()], 3)
    with pytest.raises(InputError, match="order of 19-1 has no class 20"):
        protocol_steps("voc", "19-1", range(1, 20))


def test_unknown_protocols_are_refused():
    with pytest.raises(InputError, match=r"voc has no class-incremental protocol '15-2'; choose one of 19-1, 15-5"):
        protocol_steps("voc", "15-2")
    with pytest.raises(InputError, match=r"camvid has no class-incremental protocol '15-1'; it has none"):
        protocol_steps("camvid", "15-1")


def test_a_task_is_a_protocol_an_order_of_it_or_ones_own():
    own = {"animals": [["cat", "cow"], ["horse"]]}
    assert task_steps(VOC, "animals", own) == [(8, 10), (13,)]
    assert task_steps(VOC, "15-5", own) == protocol_steps("voc", "15-5")
    assert task_steps(VOC, "15-1_b", own) == protocol_steps("voc", "15-1", ORDERS["b"])
    assert task_steps(ADE20K, "100-50", own)[1] == tuple(range(101, 151))


def test_a_task_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match=r"config: barm\.protocols\.pets: unknown class 'dgo'; did you mean 'dog'\?"):
        task_steps(VOC, "pets", {"pets": [["cat"], ["dgo"]]})
    with pytest.raises(InputError, match="'15-1_z': there is no order 'z' of voc"):
        task_steps(VOC, "15-1_z", {})
    with pytest.raises(InputError, match="'100-50_b': there is no order 'b' of ade20k"):
        task_steps(ADE20K, "100-50_b", {})


def test_lists_of_present_classes_are_read_as_class_ids(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("2007_000032 0 14\n\n2007_000039 19\nempty\n")
    assert read_presence(path) == {"2007_000032": (1, 15), "2007_000039": (20,), "empty": ()}


def test_broken_lists_of_present_classes_are_refused(tmp_path):
    path = tmp_path / "classes.txt"
    with pytest.raises(InputError, match=r"classes\.txt: no such list"):
        read_presence(path)
    path.write_text("a 1\na 2\n")
    with pytest.raises(InputError, match=r"classes\.txt names a twice"):
        read_presence(path)
    path.write_text("a 1\nb 2 cat\n")
    with pytest.raises(InputError, match=r"classes\.txt: 'cat' of image b is no class id minus 1"):
        read_presence(path)


def test_tables_map_a_steps_classes_to_channels_and_the_others_to_background():
    steps = [(3, 1), (5,)]
    mask = np.array([0, 1, 2, 3, 4, 5, 255], np.uint8)
    assert channel_table(steps, 0)[mask].tolist() == [0, 2, 0, 1, 0, 0, 255]
    assert channel_table(steps, 1)[mask].tolist() == [0, 0, 0, 0, 0, 3, 255]
    assert channel_table(steps)[mask].tolist() == [0, 2, 0, 1, 0, 3, 255]
    assert channel_table(steps)[mask].dtype == np.uint8


def test_a_steps_reader_knows_its_own_classes_alone(tmp_path):
    Image.fromarray(np.array([[0, 1], [2, 255]], np.uint8)).save(tmp_path / "a.png")
    record = Record("a", Path("a.jpg"), tmp_path / "a.png", 2, 2, (1, 2), ("train",))
    assert step_records({"a": record}, ["a"], (2,))[0].classes == (2,)
    assert StepLabels(Masks([record], 3), [(1,), (2,)], 1)["a"].tolist() == [[0, 0], [2, 255]]
    with pytest.raises(InputError, match="image b is not in the index"):
        step_records({"a": record}, ["b"], (2,))


def test_manifest_counts_and_hashes_each_steps_list():
    steps = [(1, 2), (3,)]
    about = manifest(steps, step_images(PRESENCE, steps), "overlapped")
    assert about["scheme"] == "overlapped"
    assert [(s["step"], s["classes"], s["images"]) for s in about["steps"]] == [(0, [1, 2], 3), (1, [3], 2)]
    # printf 'c\nd\n' | sha256sum
    assert about["steps"][1]["sha256"] == "a5567b11c329e9609dac4da00f406c208706b081a2df5244e2e03e1f272d33ff"
