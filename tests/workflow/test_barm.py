"""BARM's target at the tiny overlay: tables, what an edit or a deleted step reruns, resuming, and bad inputs."""

import json
import shutil
from itertools import chain

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode, functional

import faults
from barm.evaluate_step import centre_crop
from maskmill.data.catalog import DATASETS, VOC
from maskmill.data.images import read_mask
from maskmill.data.index import read_ids, read_index
from maskmill.data.voc import write_mask
from maskmill.storage.checkpoints import load_tensors, read_header
from maskmill.training.loop import resume_path

TARGET = "results/barm_voc_miou.csv"
TASK = "work/sample/voc/barm/four/overlapped"
CLASSES = [list(range(1, 11)), [17, 11, 12, 13], [14, 15, 16], [18, 19, 20]]
DRAWN = [list(range(1, 11)), list(range(11, 16)), list(range(16, 21))]  # sample scale's ids of ADE20K


def checkpoint_of(variant: str, step: int) -> str:
    return f"{TASK}/{variant}/step{step}/network.safetensors"


@pytest.fixture
def copied(barm, tmp_path):
    """The finished project in a folder of its own, so that a test may change files."""
    shutil.copytree(barm.folder / "work", tmp_path / "work")
    return type(barm)(tmp_path)


def test_table_has_every_step_then_the_baselines_and_the_method(barm):
    table = pd.read_csv(barm.folder / TARGET)
    variants = list(table["variant"].unique())
    assert variants[-4:] == ["four/finetune", "four/frozen", "four/barm", "four/joint"]
    assert variants[:-4] == [
        "four/step0",
        *(f"four/{variant}/step{t}" for variant in ("finetune", "frozen", "barm") for t in (1, 2)),
    ]
    assert (table["data"] == "sample scenes val; overlapped, full").all()
    means = table[table["class_name"].isna()].pivot(index="variant", columns="metric", values="value")
    assert list(means.columns) == ["miou", "miou_new", "miou_old"] and np.isnan(means["miou_new"]["four/step0"])
    assert means[["miou", "miou_old"]].apply(lambda column: column.between(0, 100)).all(axis=None)


def test_a_step_has_the_images_whose_masks_show_its_classes(barm):
    records = read_index(barm.folder / "work/sample/voc/index.csv")
    ids = read_ids(barm.folder / "work/sample/voc/splits/train.txt")
    classes_in = {i: set(np.unique(read_mask(barm.folder / records[i].mask, VOC.num_classes))) for i in ids}
    manifest = json.loads((barm.folder / TASK / "steps/manifest.json").read_text())
    assert [step["classes"] for step in manifest["steps"]] == CLASSES
    for step in manifest["steps"]:
        images = read_ids(barm.folder / TASK / f"steps/step{step['step']}.txt")
        assert images == [i for i in ids if classes_in[i] & set(step["classes"])]
        assert step["images"] == len(images)


def test_forgetting_has_the_learned_classes_after_every_step_and_a_picture(barm):
    table = pd.read_csv(barm.folder / "results/barm_voc_four_overlapped_forgetting.csv")
    assert list(table["variant"].unique()) == ["finetune", "frozen", "barm"]
    for _, rows in table.groupby("variant"):
        assert rows["step"].unique().tolist() == [0, 1, 2, 3]
    step_of = {VOC.classes[class_id]: step for step, classes in enumerate(CLASSES) for class_id in classes}
    assert (table["learned_in"] == table["class_name"].map({"background": 0, **step_of})).all()
    assert (table["learned_in"] <= table["step"]).all()
    with Image.open(barm.folder / "results/barm_voc_four_overlapped_forgetting.png") as picture:
        assert picture.format == "PNG" and picture.width > 400


def test_steps_table_tells_growth_and_quality_of_pseudo_labels(barm):
    table = pd.read_csv(barm.folder / "results/barm_voc_four_overlapped_steps.csv")
    grown = table["parameters_m"].diff().dropna() * 1e6
    width = 64
    expected = [9 * width**2 + 2 * width + (width + 1) * (1 + len(classes)) for classes in CLASSES[1:]]
    assert grown.tolist() == pytest.approx(expected, abs=2000)  # written in millions with three digits
    assert (table["gmacs_64"].diff().dropna() > 0).all()
    assert table["pseudo_recall"].iloc[1:].between(0, 100).all() and pd.isna(table["pseudo_recall"].iloc[0])


def test_a_deleted_step_reruns_itself_and_later_ones_only(copied):
    (copied.folder / checkpoint_of("barm", 2)).unlink()
    shutil.copytree(copied.folder / TASK, copied.folder / "before")
    both = checkpoint_of("barm", 2), checkpoint_of("barm", 3)
    assert copied.planned(*both) == {"train_step": 2}
    planned = copied.planned(both[0], TARGET)
    assert planned["train_step"] == planned["evaluate_step"] == 2 and "train_joint" not in planned
    copied.run(*both)
    for variant, step in (("joint", 0), ("barm", 1), ("finetune", 2), ("frozen", 3)):
        name = checkpoint_of(variant, step).removeprefix(TASK)
        assert (copied.folder / f"{TASK}{name}").stat().st_mtime == (copied.folder / f"before{name}").stat().st_mtime


def test_a_single_step_can_be_rebuilt(copied):
    (copied.folder / checkpoint_of("barm", 2)).unlink()
    assert copied.planned(checkpoint_of("barm", 2)) == {"train_step": 1}


@pytest.mark.parametrize(("variant", "step"), [("joint", 0), ("barm", 2), ("frozen", 1)])
def test_a_paused_training_ends_in_the_same_bits(barm, copied, variant, step):
    checkpoint = checkpoint_of(variant, step)
    (copied.folder / checkpoint).unlink()
    assert "paused at iteration 1 of 3" in copied.fail(checkpoint, "--config", "training={max_minutes: 1.0e-6}")
    assert resume_path(copied.folder / checkpoint).exists()
    copied.run(checkpoint)
    assert (copied.folder / checkpoint).read_bytes() == (barm.folder / checkpoint).read_bytes()


def test_a_killed_step_is_finished_by_the_next_call(barm, copied, monkeypatch):
    checkpoint = checkpoint_of("barm", 2)
    (copied.folder / checkpoint).unlink()
    with monkeypatch.context() as killing:
        for name, value in faults.variables("train_step.py torch:Tensor.backward 3 kill").items():
            killing.setenv(name, value)
        assert copied.snakemake(checkpoint, "--config", "training={save_minutes: 0}").returncode != 0
    assert resume_path(copied.folder / checkpoint).exists()
    copied.run(checkpoint, "--rerun-incomplete")
    assert (copied.folder / checkpoint).read_bytes() == (barm.folder / checkpoint).read_bytes()


@pytest.mark.parametrize(("variants", "step"), [(["joint"], 0), (["finetune", "barm"], 2)])
def test_no_label_of_another_step_reaches_a_steps_training(barm, copied, variants, step):
    """With other classes wiped from a step's masks, and all other masks damaged, its training gives the same bits."""
    records = read_index(copied.folder / "work/sample/voc/index.csv")
    ids = read_ids(copied.folder / TASK / f"steps/step{step}.txt")
    wiped = 0
    for image_id, record in records.items():
        mask = copied.folder / record.mask
        if image_id in ids:
            labels = read_mask(mask, VOC.num_classes)
            other = (labels > 0) & ~np.isin(labels, CLASSES[step])
            wiped += other.sum()
            labels[other] = 0
            write_mask(mask, labels)
        else:
            mask.write_bytes(b"damaged")
    assert wiped > 0
    for variant in variants:
        checkpoint = checkpoint_of(variant, step)
        (copied.folder / checkpoint).unlink()
        copied.run(checkpoint, "--rerun-triggers", "input")
        assert (copied.folder / checkpoint).read_bytes() == (barm.folder / checkpoint).read_bytes()


@pytest.mark.parametrize(("dataset", "task", "steps"), [("voc", "four", CLASSES), ("ade20k", "drawn", DRAWN)])
def test_a_disjoint_step_has_no_image_of_later_classes(project, dataset, task, steps):
    folder = project.folder / f"work/sample/{dataset}"
    project.run(f"work/sample/{dataset}/barm/{task}/disjoint/steps/manifest.json")
    records, num_classes = read_index(folder / "index.csv"), DATASETS[dataset].num_classes
    classes_in = {
        i: set(np.unique(read_mask(project.folder / records[i].mask, num_classes)))
        for i in read_ids(folder / "splits/train.txt")
    }
    for number, classes in enumerate(steps):
        later = set(chain(*steps[number + 1 :]))
        expected = [i for i, classes_of in classes_in.items() if classes_of & set(classes) and not classes_of & later]
        assert read_ids(folder / f"barm/{task}/disjoint/steps/step{number}.txt") == expected != []


def test_nothing_but_the_new_group_learns_when_frozen(barm):
    before, after = (load_tensors(barm.folder / checkpoint_of("frozen", step))[0] for step in (1, 2))
    assert set(before) < set(after)
    for name, tensor in before.items():
        assert tensor.equal(after[name]), name
    moved = load_tensors(barm.folder / checkpoint_of("barm", 2))[0]
    assert not moved["backbone.stages.0.0.weight"].equal(after["backbone.stages.0.0.weight"])


@pytest.mark.parametrize(
    ("change", "first", "untouched"),
    [
        ("barm={threshold: 0.5}", {"train_step": 9}, {"train_joint"}),
        ("barm={later: {lr_new: 0.5}}", {"train_step": 9}, {"train_joint"}),
        ("barm={later: {epochs: 1}}", {"train_step": 9, "train_joint": 1}, set()),
        ("barm={eval_policy: crop513}", {"evaluate_step": 11}, {"train_step", "train_joint"}),
        ("evaluation={counted: all}", {"evaluate_step": 11}, {"train_step", "train_joint"}),
    ],
)
def test_an_edit_reruns_what_reads_it_and_nothing_else(barm, change, first, untouched):
    planned = barm.planned(TARGET, "--config", change)
    assert {rule: planned.get(rule) for rule in first} == first
    assert not untouched & set(planned)


def test_the_released_codes_ways_run_too(copied):
    checkpoint = checkpoint_of("barm", 1)
    (copied.folder / checkpoint).unlink()
    scores = f"{TASK}/barm/step1/crop513_scores.csv"
    copied.run(scores, "--config", "barm={parity_mode: official, copy_statistics: false}")
    table = pd.read_csv(copied.folder / scores, keep_default_na=False)
    assert table["value"].between(0, 100).all()
    assert set(table["class_name"]) - {"", "background"} <= {VOC.classes[i] for i in chain(*CLASSES[:2])}
    tensors = load_tensors(copied.folder / checkpoint)[0]
    assert (tensors["ears.1.1.running_mean"] == 0).all() and (tensors["ears.1.1.running_var"] == 1).all()


@pytest.mark.parametrize("size", [(375, 500), (500, 334), (97, 65), (333, 500), (281, 500), (640, 513), (500, 375)])
def test_centre_crops_are_torchvisions(size):
    """BARM's `val_transform`: `Resize(513)` and `CenterCrop(513)` of a Pillow image, of labels by nearest neighbour."""
    y, x = np.mgrid[: size[0], : size[1]]
    image = np.stack([(5 * x + 3 * y) % 256, (x * y) % 256, (7 * y + x) % 256], axis=2).astype(np.uint8)
    label = ((x // 7 + y // 5) % 21).astype(np.uint8)
    for array, mode in ((image, InterpolationMode.BILINEAR), (label, InterpolationMode.NEAREST)):
        resized = functional.resize(Image.fromarray(array), 513, mode)
        expected = np.array(functional.center_crop(resized, 513))
        np.testing.assert_array_equal(centre_crop(array, Image.Resampling[mode.name]), expected)


def test_joint_learns_all_classes_in_one_group(barm):
    assert read_header(barm.folder / checkpoint_of("joint", 3))["arguments"]["steps"] == [list(chain(*CLASSES))]


@pytest.mark.parametrize(
    ("dataset", "task", "later"), [("voc", "10-1", 10), ("voc", "15-1_b", 5), ("ade20k", "100-10", 5)]
)
def test_paper_scale_can_be_planned(project, dataset, task, later):
    change = f"barm={{tasks: {{{dataset}: [{task}]}}}}"
    root = [] if dataset == "voc" else [f"data={{{dataset}: {{root: /nowhere}}}}"]
    planned = project.planned(
        f"results/barm_{dataset}_miou.csv", "--config", "scale=paper", change, *root, configfile=None
    )
    assert planned["train_step"] == 3 * later and planned["train_joint"] == 2
    assert planned["evaluate_step"] == 3 * later + 2


# Bad inputs


def test_a_class_in_two_steps_is_named(project):
    change = "barm={protocols: {four: [[cat, dog], [horse, cat]]}}"
    message = project.fail(TARGET, "--dry-run", "--config", change)
    assert message == "config: class 8 is listed in step 0 and in step 1; remove it from one of them"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            "barm={protocols: {four: [[cat], [hors]]}}",
            "barm.protocols.four: unknown class 'hors'; did you mean 'horse'?",
        ),
        ("barm={tasks: {voc: [15-2]}}", "voc has no class-incremental protocol '15-2'"),
        ("barm={tasks: {voc: [15-1_a]}}", "'15-1_a': there is no order 'a' of voc"),
    ],
)
def test_a_task_that_does_not_exist_is_refused_before_anything_runs(project, change, expected):
    assert expected in project.fail(TARGET, "--dry-run", "--config", change)


def test_a_step_without_an_image_is_refused(project):
    message = project.fail(f"{TASK}/steps/manifest.json", "--config", "data={sample: {train_aug: 3, train: 3}}")
    assert "no image of 3 is left for class" in message and "merge it with another step" in message


def test_a_previous_checkpoint_of_other_classes_is_refused(copied):
    shutil.copy(copied.folder / checkpoint_of("joint", 3), copied.folder / checkpoint_of("barm", 1))
    (copied.folder / checkpoint_of("barm", 2)).unlink()
    message = copied.fail(checkpoint_of("barm", 2), "--rerun-triggers", "params", "--allowed-rules", "train_step")
    assert "barm/step1/network.safetensors: learned the classes" in message and "delete it and run again" in message
