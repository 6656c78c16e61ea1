"""CW-BASS's and MGD's targets at the tiny overlay: tables, caches, what an edit reruns, and bad inputs."""

import importlib
import inspect
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from snakemake.api import SnakemakeApi
from snakemake.iocontainers import Wildcards
from snakemake.settings.types import ConfigSettings, OutputSettings, Quietness, ResourceSettings

import faults
import maskmill
import warm
from few_masks import cache_batches, train_cwbass, train_mgd_student
from maskmill.data.catalog import VOC
from maskmill.data.images import read_image
from maskmill.data.index import read_ids, read_index
from maskmill.data.transforms import network_input
from maskmill.errors import InputError
from maskmill.evaluation.cost import device_name
from maskmill.methods import cwbass
from maskmill.networks.segmentation import load_segmentation
from maskmill.storage.checkpoints import load_tensors
from maskmill.storage.maps import merge_maps
from maskmill.storage.onnx_models import OnnxModel
from maskmill.training.ema import EMA
from maskmill.training.loop import resume_path
from maskmill.workflow import stage

TARGETS = ["results/cwbass_voc_miou.csv", "results/mgd_voc_miou.csv"]
PARTITION = "work/sample/voc/partitions/voc_blended/1_4"
ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests/overlays/tiny.yaml"
STORES = ("wide_labels", "relation", "deep_labels", "pooled")
# The files of their teachers that the students' rules read, where the teachers do not run in the same job.
CACHED = {
    "train_cwbass": {
        "teacher": [f"{PARTITION}/cwbass/supervised/network.safetensors"],
        "labels": [f"{PARTITION}/cwbass/cache/labels.h5"],
        "confidence": [f"{PARTITION}/cwbass/cache/confidence.h5"],
    },
    "train_mgd_student": {
        "stores": [f"{PARTITION}/mgd/cache/{name}.h5" for name in STORES],
    },
}
STAGES = {
    "train_supervised": {},
    "cache_labels": {},
    "train_cwbass": {"ablation": "cwbass"},
    "train_cps_teacher": {"teacher": "wide"},
    "cache_batches": {},
    "train_supervised_student": {"student": "light"},
    "train_mgd_student": {"student": "light", "mode": "cached"},
}


@pytest.fixture
def parameters(tmp_path):
    """Parameters of every stage in `STAGES` for a data set, as a configuration gives them to its jobs."""

    def read(dataset: str, *, part: str = "1_8", **config) -> dict[str, dict]:
        settings = {"resource_settings": ResourceSettings(cores=1), "config_settings": ConfigSettings(config=config)}
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
            workflow = api.workflow(snakefile=ROOT / "Snakefile", workdir=tmp_path, **settings)._workflow
            rules = {rule.name: rule for rule in workflow.rules}
        read = {}
        for name, chosen in STAGES.items():
            wildcards = Wildcards(fromdict={"dataset": dataset, "part": part, **chosen})
            read[name] = {k: v(wildcards) if callable(v) else v for k, v in rules[name].params.items()}
        return read

    return read


def run(script, options: dict) -> None:
    """Call `main` of a script with the values of its options, those of its `TrainingRun` among them."""
    assert set(options) <= set(stage._options(script.main))
    script.main(**stage._grouped(script.main, options))


@pytest.fixture
def by_hand(semi, parameters, tmp_path, monkeypatch):
    """Options of a training, run in the folder of `semi` but for its checkpoint; `name` is the run's."""
    monkeypatch.chdir(semi.folder)
    tiny = yaml.safe_load(TINY.read_text())
    files = {name: f"{PARTITION}/{name}.txt" for name in ("labelled", "unlabelled")}
    teachers = {name: f"{PARTITION}/mgd/teacher_{name}/network.safetensors" for name in ("wide", "deep")}

    def arguments(rule: str, name: str, *, cached: bool = True, **changes) -> dict:
        method = "cwbass" if rule == "train_cwbass" else "mgd"
        chosen = parameters("voc", **tiny | {method: tiny[method] | changes})[rule]
        checkpoint = tmp_path / name / "network.safetensors"
        checkpoint.parent.mkdir(exist_ok=True)
        return {
            **{key: value for key, value in chosen.items() if key != "code"},
            **{"dataset": "voc", "index": "work/sample/voc/index.csv", "checkpoint": str(checkpoint), **files},
            **(teachers if rule == "train_mgd_student" else {}),
            **(CACHED[rule] if cached else {}),
            **{"accelerator": "cpu", "save_minutes": 0},
        }

    return arguments


def test_partition_labels_every_fourth_image_and_says_that_it_is_not_the_published_one(semi):
    folder = semi.folder / PARTITION
    labelled, unlabelled = read_ids(folder / "labelled.txt"), read_ids(folder / "unlabelled.txt")
    training = sorted(read_ids(semi.folder / "work/sample/voc/splits/train.txt"))
    assert labelled == training[::4] and sorted(labelled + unlabelled) == training
    assert json.loads((folder / "manifest.json").read_text())["published"] == "custom"


def test_cwbass_table_has_the_baseline_the_method_and_its_ablations(semi):
    table = pd.read_csv(semi.folder / TARGETS[0])
    assert list(table["variant"].unique()) == [
        *("supervised", "cwbass", "no_weight", "no_threshold", "no_boundary", "decay"),
    ]
    assert table["data"].str.endswith("; masks: voc_blended 1/4, custom, 6 of 24").all()
    for metric in ("miou", "boundary_iou"):
        assert table[table["metric"] == metric]["value"].between(0, 100).all()


def test_mgd_table_has_teachers_and_every_student_alone_and_taught(semi):
    table = pd.read_csv(semi.folder / TARGETS[1])
    assert list(table["variant"].unique()) == [
        *("teacher_deep", "teacher_wide", "light_supervised", "light_cached", "mobile_supervised", "mobile_cached"),
    ]


@pytest.mark.parametrize("target", TARGETS)
def test_every_row_has_its_costs(semi, target):
    table = pd.read_csv(semi.folder / target)
    table = table.pivot_table(index="variant", columns="metric", values="value")
    assert (table[["parameters_m", "gmacs_64", "gmacs_with_norms_64", "latency_ms_64"]] > 0).all(axis=None)
    assert len(table) == 6


def test_costs_are_counted_in_both_conventions(semi):
    costs = pd.read_csv(semi.folder / PARTITION / "mgd/light_cached/cost.csv", index_col="metric")["value"]
    assert 0 < costs["gmacs_64"] < costs["gmacs_with_norms_64"] < 1.1 * costs["gmacs_64"]


def test_costs_say_what_latency_was_measured_on(semi):
    costs = pd.read_csv(semi.folder / PARTITION / "mgd/light_cached/cost.csv")
    assert set(costs["device"]) == {device_name(torch.cuda.is_available())}
    assert set(costs["threads"]) == {1}, "the rule's"


def test_caches_of_cwbass_hold_labels_and_confidence_of_every_unlabelled_image(semi):
    unlabelled = set(read_ids(semi.folder / PARTITION / "unlabelled.txt"))
    cache = semi.folder / PARTITION / "cwbass/cache"
    labels, confidence = (maskmill.open_maps(cache / f"{kind}.h5") for kind in ("labels", "confidence"))
    assert set(labels) == set(confidence) == unlabelled
    for image_id in labels:
        assert labels[image_id].dtype == confidence[image_id].dtype == np.uint8
        assert labels[image_id].shape == confidence[image_id].shape == (64, 64)
        assert confidence[image_id].min() >= round(255 / 21), "the highest of 21 probabilities"


def test_caches_of_cwbass_hold_the_outputs_of_the_teacher(semi):
    index = read_index(semi.folder / "work/sample/voc/index.csv")
    image_id = read_ids(semi.folder / PARTITION / "unlabelled.txt")[3]
    network = load_segmentation(semi.folder / PARTITION / "cwbass/supervised/network.safetensors")
    image = read_image(semi.folder / index[image_id].image)
    with torch.inference_mode():
        logits = network(network_input(image, network.backbone.mean, network.backbone.std))
    highest, classes = logits[0].softmax(dim=0).max(dim=0)
    labels, confidence = (
        torch.from_numpy(maskmill.open_maps(semi.folder / PARTITION / f"cwbass/cache/{kind}.h5")[image_id])
        for kind in ("labels", "confidence")
    )
    assert torch.equal(labels, classes.byte())
    torch.testing.assert_close(confidence.float(), 255 * highest, atol=0.51, rtol=0)


def test_caches_of_mgd_hold_the_outputs_of_both_teachers_for_every_batch(semi):
    unlabelled = set(read_ids(semi.folder / PARTITION / "unlabelled.txt"))
    shapes = {"wide_labels": (4, 2, 64, 64), "relation": (4, 49, 49), "deep_labels": (4, 2, 64, 64), "pooled": (4, 21)}
    for name, shape in shapes.items():
        store = maskmill.open_maps(semi.folder / PARTITION / f"mgd/cache/{name}.h5")
        assert list(store) == ["batch_000000", "batch_000001", "batch_000002"]
        for batch in store:
            assert store[batch].shape == shape
            assert store[batch].dtype == (np.uint8 if "labels" in name else np.float32)
            named = store.attributes_of(batch)
            assert not unlabelled & set(named["labelled"]) and set(named["unlabelled"]) <= unlabelled


OTHERS = {"teacher_batchnorm": "eval", "padding_counts": False, "min_confidence": 0.05, "pairing": "independent"}


@pytest.mark.parametrize("changes", [{}, OTHERS], ids=["released", "others"])
def test_students_that_read_their_teachers_end_in_the_bits_of_those_that_run_them(by_hand, tmp_path, changes):
    changes = changes | {"workers": 1}
    online, cached = (
        by_hand("train_mgd_student", name, cached=name == "cached") | changes for name in ("online", "cached")
    )
    names = inspect.signature(cache_batches.main).parameters
    options = {key: value for key, value in online.items() if key in names} | {"epochs": 1}
    stores = {name: tmp_path / f"{name}.h5" for name in STORES}
    items = ("1-of-2", "2-of-2")
    for item in items:
        shards = {name: str(path.with_suffix(f".{item}.h5")) for name, path in stores.items()}
        cache_batches.main(**options | shards | {"scatteritem": item})
    for path in stores.values():
        merge_maps([path.with_suffix(f".{item}.h5") for item in items], path)
    labels = np.stack([maskmill.open_maps(stores[name])["batch_000001"] for name in ("wide_labels", "deep_labels")])
    assert 0 < (labels == 255).mean() < 1 if "min_confidence" in changes else labels.max() < 21
    cached["stores"] = [str(path) for path in stores.values()]
    for arguments in (online, cached):
        run(train_mgd_student, arguments)
    assert Path(cached["checkpoint"]).read_bytes() == Path(online["checkpoint"]).read_bytes()


def test_with_fewer_cached_epochs_students_see_those_batches_again(by_hand, monkeypatch):
    iterations, read_batches = [], train_mgd_student.read_batches

    def watched(*arguments):
        stored = read_batches(*arguments)
        return lambda iteration: iterations.append(iteration) or stored(iteration)

    monkeypatch.setattr(train_mgd_student, "read_batches", watched)
    run(train_mgd_student, by_hand("train_mgd_student", "again") | {"cached_epochs": 0.5, "max_iterations": 7})
    assert iterations == [0, 1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("change", "first", "untouched"),
    [
        ("cwbass={loss: {gamma: 2.0}}", {"train_cwbass": 5}, {"train_supervised", "cache_labels"}),
        ("cwbass={ablations: {no_weight: {gamma: 2.0}}}", {"train_cwbass": 1}, {"train_supervised"}),
        ("cwbass={variant: online}", {"train_cwbass": 5}, {"cache_labels"}),
        (
            "mgd={students: {light: {lambda_1: 0.5}}}",
            {"train_mgd_student": 1},
            {"train_cps_teacher", "cache_batches"},
        ),
        (
            "mgd={teachers: {wide: {lr: 0.5}}}",
            {"train_cps_teacher": 1, "cache_batches": 1},
            {"train_supervised_student"},
        ),
        (
            "mgd={padding_counts: false}",
            {"cache_batches": 1, "train_mgd_student": 2},
            {"train_cps_teacher", "train_supervised_student"},
        ),
        ("mgd={mode: online}", {"train_mgd_student": 2}, {"train_cps_teacher", "cache_batches"}),
    ],
)
def test_editing_a_value_reruns_the_stages_that_read_it(semi, change, first, untouched):
    planned = semi.planned(*TARGETS, "--config", change)
    assert {rule: planned.get(rule) for rule in first} == first
    assert not untouched & set(planned)


@pytest.fixture
def copied(semi, tmp_path):
    """The project of `semi` in a folder of its own, so that a test may change files."""
    shutil.copytree(semi.folder / "work", tmp_path / "work")
    return type(semi)(tmp_path)


@pytest.mark.parametrize(
    ("row", "change"),
    [
        ("cwbass/cwbass", "cwbass={variant: online}"),
        ("cwbass/cwbass", "cwbass={variant: v2}"),
        (
            "mgd/light_online",
            "mgd={mode: online, padding_counts: false, teacher_batchnorm: eval, pairing: independent}",
        ),
        ("mgd/teacher_deep", "mgd={statistics: all}"),
        ("mgd/light_cached", "mgd={min_confidence: 0.2}"),
    ],
)
def test_other_ways_to_train_run_too_and_give_other_networks(semi, copied, row, change):
    path = Path(PARTITION, row, "network.safetensors")
    (copied.folder / path).unlink(missing_ok=True)
    shutil.rmtree(copied.folder / PARTITION / "mgd/cache")  # the copy has no record of the values it was made with
    copied.run(str(path), "--config", change)
    tensors, header = load_tensors(copied.folder / path)
    assert header["network"] == ("DeepLabV3Plus" if "cwbass" in row else "DeepLabV3PlusMGD")
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    default = load_tensors(semi.folder / str(path).replace("online", "cached"))[0]
    assert any(not tensor.equal(tensors[name]) for name, tensor in default.items())


def test_no_mask_of_an_unlabelled_image_is_opened(semi, copied):
    """With the masks of all unlabelled images damaged, every training gives the same bits."""
    index = read_index(copied.folder / "work/sample/voc/index.csv")
    with_mask = [i for i in read_ids(copied.folder / PARTITION / "unlabelled.txt") if index[i].mask is not None]
    assert with_mask
    for image_id in with_mask:
        (copied.folder / index[image_id].mask).write_bytes(b"damaged")
    for row in ("cwbass/no_weight", "mgd/light_cached", "mgd/teacher_deep"):
        checkpoint = f"{PARTITION}/{row}/network.safetensors"
        (copied.folder / checkpoint).unlink()
        copied.run(checkpoint, "--rerun-triggers", "input")
        assert (copied.folder / checkpoint).read_bytes() == (semi.folder / checkpoint).read_bytes()


@pytest.mark.parametrize(
    ("rule", "cached", "changes"),
    [
        ("train_cwbass", True, {}),
        # Thresholds near a 21st, which some labels of a hardly trained teacher pass: else nothing depends on it.
        ("train_cwbass", False, {"variant": "online", "threshold": {"t0": 0.112, "tau_min": 0}}),
        ("train_cwbass", False, {"variant": "v2", "adaptive_threshold": {"t0": 0.052, "tau_min": 0}}),
        ("train_mgd_student", True, {}),
        ("train_mgd_student", False, {"mode": "online"}),
    ],
    ids=["cwbass", "cwbass online", "cwbass v2", "mgd cached", "mgd online"],
)
def test_a_killed_training_of_a_student_ends_in_the_same_bits(by_hand, rule, cached, changes):
    killed, whole = (by_hand(rule, name, cached=cached, **changes) for name in ("killed", "whole"))
    checkpoint = Path(killed["checkpoint"])
    texts = {k: v if isinstance(v, str) else yaml.safe_dump(v, default_flow_style=True) for k, v in killed.items()}
    options = [f"--{name.replace('_', '-')}={text}" for name, text in texts.items()]
    environment = faults.variables(f"{rule}.py torch:Tensor.backward 3 kill")
    environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    command = [sys.executable, str(ROOT / f"workflow_scripts/few_masks/{rule}.py"), *options]
    done = warm.run(command, env=os.environ | environment)
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    assert resume_path(checkpoint).exists() and not checkpoint.exists()
    script = importlib.import_module(f"few_masks.{rule}")
    run(script, killed)
    run(script, whole)
    assert checkpoint.read_bytes() == Path(whole["checkpoint"]).read_bytes()


@pytest.mark.parametrize("row", ["cwbass/cwbass", "mgd/light_cached", "mgd/teacher_wide"])
def test_a_paused_training_ends_in_the_same_bits(semi, copied, row):
    checkpoint = f"{PARTITION}/{row}/network.safetensors"
    (copied.folder / checkpoint).unlink()
    assert "paused at iteration 1 of 3" in copied.fail(checkpoint, "--config", "training={max_minutes: 1.0e-6}")
    assert resume_path(copied.folder / checkpoint).exists()
    copied.run(checkpoint)
    assert (copied.folder / checkpoint).read_bytes() == (semi.folder / checkpoint).read_bytes()


@pytest.mark.parametrize(
    ("variant", "changes", "expected"),
    [
        ("online", {}, {"decay": 0.999, "buffers": "copied"}),
        ("v2", {}, {"decay": 0.996, "warm_up": True, "buffers": "averaged"}),
        ("v2", {"decay": 0.9}, {"decay": 0.9, "warm_up": True, "buffers": "averaged"}),
    ],
)
def test_a_variant_brings_the_moving_average_of_its_release_and_what_is_given_wins(
    by_hand, monkeypatch, variant, changes, expected
):
    """And its ramp and its result: the first release scores the student, the second one the moving average."""
    averages, made, strengths, losses = [], [], [], cwbass.losses

    def watched(network, **settings):
        averages.append(settings)
        made.append((network, EMA(network, **settings)))
        return made[-1][1]

    def watched_losses(*arguments, strength, **options):
        strengths.append(strength)
        return losses(*arguments, strength=strength, **options)

    monkeypatch.setattr(train_cwbass, "EMA", watched)
    monkeypatch.setattr(cwbass, "losses", watched_losses)
    options = by_hand("train_cwbass", variant, cached=False, variant=variant) | {"ema": changes, "ramp_epochs": 4}
    run(train_cwbass, options)
    assert averages == [expected]
    ((student, average),) = made
    saved = load_tensors(options["checkpoint"])[0]
    results = {"online": student, "v2": average.module}
    for name, network in results.items():
        assert all(saved[key].equal(value) for key, value in network.state_dict().items()) == (name == variant)
    assert strengths[0] == (0 if variant == "online" else 1) and (min(strengths[1:]) > 0)
    assert (max(strengths) < 1) == (variant == "online")


def test_released_settings_of_mgd_train_together(by_hand, parameters):
    """Those of scale=paper on small networks and crops; what follows from each of them shows."""
    small = {"network": {"backbone": "sample_cnn_slim", "rates": [1, 2, 4], "width": 24, "low_level_width": 12}}
    sizes = {"teachers": {"deep": small, "wide": small}, "students": {"light": small}, "augmentation": {"crop": 64}}
    chosen = parameters("voc", scale="paper", max_iterations=2, mgd={"mode": "online", **sizes})
    released = {"pairing": "same", "teacher_batchnorm": "train", "extra_passes": True}
    released |= {"images_per_device": 2, "padding_counts": True}
    assert released.items() <= chosen["train_mgd_student"].items()
    assert chosen["train_cps_teacher"]["pairing"] == "same" and chosen["train_cps_teacher"]["statistics"] == "all"

    def trained(rule, name, **changes):
        arguments = by_hand(rule, name, cached=False)
        arguments |= {key: value for key, value in chosen[rule].items() if key != "code"}
        run(importlib.import_module(f"few_masks.{rule}"), arguments | changes)
        return arguments["checkpoint"]

    teachers = {name: trained("train_cps_teacher", name, seed=seed) for seed, name in enumerate(("deep", "wide"))}
    student = trained("train_mgd_student", "student", **teachers)
    for path in (student, *teachers.values()):
        tensors = load_tensors(path)[0]
        assert all(tensor.isfinite().all() for tensor in tensors.values())
        passes = {int(tensor) for name, tensor in tensors.items() if name.endswith("num_batches_tracked")}
        assert passes == {8}, "x_0, x_1, x_m and x_l in each of two iterations"
    others = {"pairing": "independent", "teacher_batchnorm": "eval", "images_per_device": 1, "padding_counts": False}
    for key, value in others.items():
        other = trained("train_mgd_student", key, **teachers, **{key: value})
        assert Path(other).read_bytes() != Path(student).read_bytes(), key


@pytest.mark.parametrize("scale", ["sample", "small"])
def test_at_the_smaller_scales_cityscapes_has_the_settings_of_voc(parameters, scale):
    voc, cityscapes = (parameters(dataset, scale=scale) for dataset in ("voc", "cityscapes"))
    for name in STAGES:
        assert cityscapes[name] | {"short_side": 0} == voc[name] | {"short_side": 0}
    assert voc["train_cwbass"]["augmentation"]["pad"] == voc["train_supervised"]["augmentation"]["pad"] == "end"


def test_at_paper_scale_cityscapes_has_its_own_settings(parameters):
    voc, cityscapes = (parameters(dataset, scale="paper") for dataset in ("voc", "cityscapes"))
    student, own = voc["train_cwbass"], cityscapes["train_cwbass"]
    assert (student["augmentation"]["crop"], student["epochs"], student["lr"]) == (321, 80, 0.001)
    assert (own["augmentation"]["crop"], own["epochs"], own["lr"]) == (721, 240, 0.004)
    student, own = voc["train_mgd_student"], cityscapes["train_mgd_student"]
    assert (student["augmentation"]["crop"], student["epochs"], student["lambda_1"]) == (512, 34, 0.002)
    assert (own["augmentation"]["crop"], own["epochs"], own["lambda_1"]) == (800, 137, 0.001)
    assert cityscapes["train_cps_teacher"]["cps_weight"] == 5
    assert voc["train_cwbass"]["ema"] == {}, "that of the variant"


MGD_TRAININGS = ("train_cps_teacher", "train_supervised_student", "train_mgd_student")


@pytest.mark.parametrize(
    ("dataset", "part", "epochs"),
    [
        *(("voc", part, epochs) for part, epochs in (("1_16", 32), ("1_8", 34), ("1_4", 40), ("1_2", 60))),
        *(("cityscapes", part, epochs) for part, epochs in (("1_16", 128), ("1_8", 137), ("1_4", 160), ("1_2", 240))),
        ("mine", "all", 34),
    ],
)
def test_at_paper_scale_the_epochs_of_mgd_follow_the_partition(parameters, dataset, part, epochs):
    chosen = parameters(dataset, scale="paper", part=part)
    assert {chosen[stage]["epochs"] for stage in MGD_TRAININGS} == {epochs}


def test_teachers_label_the_batches_of_all_epochs_where_no_number_of_them_is_set(parameters):
    chosen = parameters("voc", scale="paper", part="1_16")
    assert chosen["cache_batches"]["epochs"] == chosen["train_mgd_student"]["cached_epochs"] == 32


def test_epochs_of_mgd_may_be_one_number_or_those_of_some_partitions(parameters):
    number = parameters("voc", scale="paper", part="1_16", mgd={"epochs": 3, "teacher_epochs": 2})
    assert [number[stage]["epochs"] for stage in MGD_TRAININGS] == [2, 3, 3]
    some = parameters("voc", scale="small", part="92", mgd={"epochs": {92: 5}})
    assert {some[stage]["epochs"] for stage in MGD_TRAININGS} == {5}


def test_a_partition_without_epochs_of_mgd_is_named_and_cwbass_does_not_mind(project):
    change = ("--config", "scale=paper", "partitions={voc: {protocol: voc_hq, part: 92}}")
    refused = project.snakemake(TARGETS[1], "--dry-run", *change, configfile=None)
    line = "config: mgd.epochs has no number for partition voc_hq/92 of voc, only for 1/16, 1/8, 1/4, 1/2, all;"
    assert refused.returncode != 0 and line in refused.stdout
    assert project.planned(TARGETS[0], *change, configfile=None)["train_cwbass"] == 5


def test_what_differs_for_a_data_set_reaches_its_jobs(parameters):
    cwbass = {"labelling": {"flip": True}, "loss": {"gamma": 2.0}, "ablations": {"cwbass": {"d": 0.5}}}
    changes = {"cwbass": {"datasets": {"voc": cwbass}}, "mgd": {"datasets": {"voc": {"cached_epochs": 4}}}}
    voc, cityscapes = (parameters(dataset, **changes) for dataset in ("voc", "cityscapes"))
    assert (voc["cache_labels"]["flip"], cityscapes["cache_labels"]["flip"]) == (True, False)
    assert (voc["train_cwbass"]["loss"]["gamma"], cityscapes["train_cwbass"]["loss"]["gamma"]) == (2.0, 1.0)
    assert (voc["train_cwbass"]["loss"]["d"], cityscapes["train_cwbass"]["loss"]["d"]) == (0.5, 0.9)
    for name, key in (("cache_batches", "epochs"), ("train_mgd_student", "cached_epochs")):
        assert (voc[name][key], cityscapes[name][key]) == (4, 7)


def test_what_differs_for_a_data_set_decides_what_is_made_for_it(project):
    """Weights, who labels, where students read their teachers, and the rows."""
    cwbass = "variant: online, pretrained: true, network: {backbone: resnet50}, ablations: {decay: null}"
    teachers = "deep: {network: {backbone: mobilenet_v2}}, wide: {network: {backbone: mobilenet_v2}}"
    students = "light: {network: {backbone: mobilenet_v2}}, mobile: null"
    mgd = f"mode: online, pretrained: true, teachers: {{{teachers}}}, students: {{{students}}}"
    cwbass, mgd = (f"{name}={{datasets: {{voc: {{{own}}}}}}}" for name, own in (("cwbass", cwbass), ("mgd", mgd)))
    planned = project.planned(*TARGETS, "--config", cwbass, mgd)
    assert "cache_labels" not in planned and "cache_batches" not in planned
    assert planned["train_cwbass"] == 4 and planned["train_mgd_student"] == planned["train_supervised_student"] == 1
    assert planned["prepare_weights"] == 2, "ResNet-50 and MobileNetV2"
    cityscapes = project.planned(*(target.replace("voc", "cityscapes") for target in TARGETS), "--config", cwbass, mgd)
    assert cityscapes["cache_labels"] == cityscapes["cache_batches"] == 1 and cityscapes["train_cwbass"] == 5
    assert cityscapes["train_mgd_student"] == 2 and "prepare_weights" not in cityscapes


def test_a_row_that_is_left_out_stays_out_where_a_data_set_has_other_values_for_it(project):
    change = "mgd={students: {mobile: null}, datasets: {voc: {students: {mobile: {lr: 0.1}}}}}"
    assert project.planned(TARGETS[1], "--config", change)["train_mgd_student"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("mgd={datasets: {voc: {epohcs: 3}}}", "unknown key 'mgd.datasets.voc.epohcs'; did you mean 'epochs'?"),
        (
            "mgd={datasets: {voc: {students: {light: {lamda_1: 3}}}}}",
            "unknown key 'mgd.datasets.voc.students.light.lamda_1'; did you mean 'lambda_1'?",
        ),
        (
            "mgd={datasets: {voc: {students: {lihgt: {lr: 3}}}}}",
            "unknown key 'mgd.datasets.voc.students.lihgt'; mgd.students has no 'lihgt', name it there",
        ),
        ("cwbass={datasets: {voc: {epohcs: 3}}}", "unknown key 'cwbass.datasets.voc.epohcs'; did you mean 'epochs'?"),
        (
            "cwbass={datasets: {voc: {ablations: {no_wieght: {gamma: 2}}}}}",
            "unknown key 'cwbass.datasets.voc.ablations.no_wieght'; cwbass.ablations has no 'no_wieght', name it there",
        ),
    ],
)
def test_a_misspelt_key_of_a_data_set_is_named(project, change, message):
    assert project.fail(TARGETS[0], "--dry-run", "--config", change) == f"config: {message}"


def test_a_partition_that_the_data_set_does_not_have_is_named(project):
    line = project.fail(TARGETS[0], "--dry-run", "--config", "partitions={voc: {part: 1/3}}")
    assert "'1_3'" in line and "1_8" in line
    line = project.fail(TARGETS[0], "--dry-run", "--config", "partitions={voc: {protocol: city}}")
    assert "voc has no partition protocol 'city'" in line and "voc_blended" in line


def test_an_id_in_both_lists_is_named(project, tmp_path):
    lists = f"labelled: {tmp_path / 'labelled.txt'}, unlabelled: {tmp_path / 'unlabelled.txt'}"
    project.run("work/sample/voc/splits/manifest.json")
    first, second = read_ids(project.folder / "work/sample/voc/splits/train.txt")[:2]
    (tmp_path / "labelled.txt").write_text(f"{first}\n")
    (tmp_path / "unlabelled.txt").write_text(f"{first}\n{second}\n")
    change = f"partitions={{voc: {{protocol: voc_hq, part: 92, {lists}}}}}"
    line = project.fail("work/sample/voc/partitions/voc_hq/92/labelled.txt", "--config", change)
    assert f"image {first} is in both lists" in line


@pytest.mark.parametrize(
    ("rule", "row", "teacher", "other", "cache"),
    [
        ("train_cwbass", "cwbass/cwbass", "cwbass/supervised", "cwbass/no_weight", "cwbass/cache/"),
        ("train_mgd_student", "mgd/light_cached", "mgd/teacher_deep", "mgd/teacher_wide", "mgd/cache/deep_"),
        ("train_mgd_student", "mgd/light_cached", "mgd/teacher_wide", "mgd/teacher_deep", "mgd/cache/wide_"),
    ],
)
def test_a_cache_of_another_teacher_is_refused(copied, rule, row, teacher, other, cache):
    path, put = (copied.folder / PARTITION / name / "network.safetensors" for name in (teacher, other))
    shutil.copy(put, path)
    checkpoint = f"{PARTITION}/{row}/network.safetensors"
    (copied.folder / checkpoint).unlink()
    line = copied.fail(checkpoint, "--rerun-triggers", "params", "--allowed-rules", rule)
    assert f"{cache}labels.h5: was not made with" in line and f"{teacher}/network.safetensors" in line


def test_a_cache_of_other_images_or_of_another_working_size_is_refused(by_hand, tmp_path):
    arguments = by_hand("train_cwbass", "refused")
    with pytest.raises(InputError, match=r"labels\.h5: was made at short_side null, not 48; delete it"):
        run(train_cwbass, arguments | {"short_side": 48})
    stranger = read_ids("work/sample/voc/splits/val.txt")[0]
    longer = tmp_path / "unlabelled.txt"
    longer.write_text(Path(arguments["unlabelled"]).read_text() + f"{stranger}\n")
    with pytest.raises(InputError, match=rf"labels\.h5: has no map of image {stranger} \(1 such\); delete it"):
        run(train_cwbass, arguments | {"unlabelled": str(longer)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 5}, "was made with seed 0, not 5; delete it"),
        ({"batch_size": 2}, "was made with batch_size 4, not 2; delete it"),
        ({"short_side": 48}, "was made with short_side null, not 48; delete it"),
        ({"max_iterations": 4, "cached_epochs": 1}, r"has no batch of iteration 3 \(1 of 4 lack\); delete it"),
    ],
)
def test_a_cache_of_other_batches_is_refused(by_hand, changes, message):
    with pytest.raises(InputError, match=rf"cache/wide_labels\.h5: {message}"):
        run(train_mgd_student, by_hand("train_mgd_student", "refused") | changes)


def test_students_are_exported_by_the_rule_of_p2at(semi):
    model = OnnxModel(semi.folder / "models/mgd_light.onnx", threads=1)
    assert tuple(model.classes) == VOC.classes
    assert model.logits(np.zeros((1, 3, 75, 101), np.float32)).shape == (1, 21, 75, 101)
    for method, network in (("cwbass", "no_weight"), ("cwbass", "supervised"), ("mgd", "mobile")):
        assert semi.planned(f"models/{method}_{network}.onnx") == {f"export_{method}": 1}
