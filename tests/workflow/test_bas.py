"""BAS as a target at a tiny overlay: seeds, the IRN chain on them, the student; and MARS on its labels."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from torch.nn import functional as F

import maskmill
from bas import bas_maps, train_bas
from boxes import train_bas_localizer
from maskmill.data.index import Record, read_index, write_index
from maskmill.data.sample_localization import lone_objects
from maskmill.data.sample_scenes import CLASSES, draw_scenes
from maskmill.data.transforms import network_input
from maskmill.errors import InputError
from maskmill.methods.bas import fused
from maskmill.methods.cam import merge_scales
from maskmill.networks.bas import BASLocalizer, BASSeeds
from maskmill.networks.classifier import Classifier
from maskmill.storage.checkpoints import load_network, load_tensors, save_network
from maskmill.storage.maps import create_maps
from maskmill.training.run import TrainingRun
from tags import cams

TARGET = "results/bas_voc_miou.csv"
WORK = "work/sample/voc"
ON_SEEDS = {"bas_affinity_labels", "train_bas_irn", "bas_random_walk", "train_student", "predict", "crf_predictions"}
AFTER_SEEDS = {*ON_SEEDS, "merge_maps", "evaluate", "bas_training", "bas_curves", "bas_table"}


def test_table_has_the_seeds_labels_and_student_beside_their_baselines(bas):
    table = pd.read_csv(bas.folder / TARGET)
    assert list(table["variant"].unique()) == ["seed/cam", "seed/bas", "label/irn", "label/bas", "student/bas"]
    assert {"miou", "iou"} <= set(table["metric"]) and table["value"].between(0, 100).all()
    images = table.groupby("variant")["images"].first()
    assert images["seed/bas"] == images["label/bas"] == 12 and images["student/bas"] == 6
    paper = table.dropna(subset="paper_value")
    assert set(paper["metric"]) == {"miou"} and paper["paper_source"].str.endswith("not comparable").all()


@pytest.mark.parametrize("folder", [".", "bas"])
def test_the_seeds_score_is_the_largest_of_the_curve(bas, folder):
    curve = pd.read_csv(bas.folder / WORK / folder / "seed_miou.csv")
    scores = pd.read_csv(bas.folder / WORK / folder / "seed_scores.csv")
    assert scores.query("metric == 'miou'")["value"].item() == pytest.approx(curve["miou"].max())


def test_seeds_are_a_store_as_the_classifiers_is(bas):
    work = bas.folder / WORK
    cams, seeds = (maskmill.open_maps(work / name) for name in ("cams.h5", "bas/cams.h5"))
    assert seeds.kind == "cam" and sorted(seeds) == sorted(cams)
    for image_id in cams:
        assert seeds[image_id].shape == cams[image_id].shape and seeds[image_id].dtype == np.float16
        assert seeds[image_id].min() >= 0 and seeds[image_id].max() == pytest.approx(1, abs=1e-3)
        assert list(seeds.attributes_of(image_id)["classes"]) == list(cams.attributes_of(image_id)["classes"])
    assert any(not np.array_equal(seeds[image_id], cams[image_id]) for image_id in cams)


def test_labels_hold_the_images_classes_and_nothing_partial_is_left(bas):
    records = read_index(bas.folder / WORK / "index.csv")
    labels = maskmill.open_maps(bas.folder / WORK / "bas/pseudo_labels.h5")
    for image_id in labels:
        assert set(np.unique(labels[image_id])) <= {0, *records[image_id].classes}
    assert not bas.partial_files()


def test_editing_bas_reruns_its_seeds_and_what_is_made_of_them(bas):
    path = bas.folder / "workflow_scripts/maskmill/methods/bas.py"
    text = path.read_text()
    path.write_text(text + "\nEDITED = 1\n")
    try:
        assert set(bas.planned(TARGET)) == {"train_bas", "bas_maps", "evaluate_bas_seeds", *AFTER_SEEDS}
    finally:
        path.write_text(text)


@pytest.mark.parametrize(
    ("change", "first", "untouched"),
    [
        ("bas={beta: 0.7}", {"train_bas", "bas_maps"}, {"train_classifier", "cams", "train_irn", "random_walk"}),
        ("bas={add_cams: false}", {"bas_maps", "evaluate_bas_seeds"}, {"train_bas", "affinity_labels"}),
        ("bas={irn: {background: 0.2}}", {"bas_affinity_labels", "train_bas_irn"}, {"bas_maps", "affinity_labels"}),
        ("bas={irn: {walk_background: 0.4}}", {"bas_random_walk", "train_student"}, {"train_bas_irn", "random_walk"}),
        ("irn={walk_background: 0.3}", {"random_walk", "bas_table"}, {"bas_random_walk", "train_student"}),
        ("irn={datasets: {voc: {crop_size: 80}}}", {"random_walk", "bas_random_walk"}, {"train_irn", "train_bas_irn"}),
        ("irn={datasets: {coco: {crop_size: 80}}}", set(), {"random_walk", "bas_random_walk"}),
    ],
)
def test_editing_a_value_reruns_the_stages_that_read_it(bas, change, first, untouched):
    planned = set(bas.planned(TARGET, "--config", change))
    assert first <= planned and not untouched & planned


def test_mars_runs_on_the_labels_by_one_value_and_its_table_says_so(bas):
    table = "results/mars_voc_miou.csv"
    change = ("--config", "mars={provider: bas}")
    planned = bas.planned(table, *change)
    assert "debias_labels" in planned and not {"train_bas", "bas_random_walk", "random_walk"} & set(planned)
    bas.run(table, *change)
    rows = pd.read_csv(bas.folder / table)
    assert rows["data"].str.endswith("; labels of bas").all()
    assert rows["paper_value"].isna().all(), "the papers' numbers are of another provider"


@pytest.mark.slow
@pytest.mark.parametrize("add_cams", [False, True])
def test_seeds_are_the_maps_of_bas_alone_or_with_the_classifiers_added(tmp_path, add_cams):
    torch.manual_seed(0)
    network, cams = BASSeeds("sample_cnn", 20, output_stride=8).eval(), torch.rand(2, 13, 18).half()
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    files = {"index": "index.csv", "ids": "ids.txt", "cams": "cams.h5", "checkpoint": "bas.safetensors"}
    paths = {name: str(tmp_path / file) for name, file in {**files, "maps": "maps.h5"}.items()}
    Image.fromarray(image).save(tmp_path / "a.png")
    write_index(paths["index"], [Record("a", tmp_path / "a.png", None, 50, 70, (2, 9), ("train",))])
    Path(paths["ids"]).write_text("a\n")
    save_network(paths["checkpoint"], network)
    with create_maps(paths["cams"], "cam", producer="test") as store:
        store.write("a", cams.numpy(), classes=(2, 9))
    bas_maps.main(**paths, scales=[1.0, 0.5], add_cams=add_cams)
    seeds = maskmill.open_maps(paths["maps"])

    with torch.inference_mode():
        inputs = [network_input(image, network.mean, network.std, size) for size in ((50, 70), (25, 35))]
        alone = merge_scales([network.cam(pixels) for pixels in inputs], (50, 70), (2, 9))
    both = fused(cams.float(), alone)
    assert (both - alone).abs().max() > 0.1
    stored = torch.from_numpy(seeds["a"]).float()
    torch.testing.assert_close(stored, both if add_cams else alone, rtol=0, atol=5e-4)  # float16 below 1
    assert list(seeds.attributes_of("a")["classes"]) == [2, 9]


def test_the_full_set_of_maps_is_summed_and_fused_as_in_the_releases(tmp_path):
    torch.manual_seed(0)
    networks = {"classifier": Classifier("sample_cnn", 20).eval(), "bas": BASSeeds("sample_cnn", 20).eval()}
    image, scales, classes = np.random.default_rng(0).integers(0, 256, (50, 71, 3), np.uint8), [1.0, 0.5], (2, 9)
    Image.fromarray(image).save(tmp_path / "a.png")
    write_index(tmp_path / "index.csv", [Record("a", tmp_path / "a.png", None, 50, 71, classes, ("train",))])
    (tmp_path / "ids.txt").write_text("a\n")
    for name, network in networks.items():
        save_network(tmp_path / f"{name}.safetensors", network)
    shared = {"index": str(tmp_path / "index.csv"), "ids": str(tmp_path / "ids.txt"), "scales": scales}
    of_cams = {"maps": str(tmp_path / "cams.h5"), "full_maps": str(tmp_path / "full_cams.h5")}
    cams.main(**shared, **of_cams, checkpoint=str(tmp_path / "classifier.safetensors"))
    of_bas = {"maps": str(tmp_path / "bas.h5"), "full_maps": str(tmp_path / "full_bas.h5")}
    of_bas |= {"cams": of_cams["maps"], "full_cams": of_cams["full_maps"]}
    bas_maps.main(**shared, **of_bas, checkpoint=str(tmp_path / "bas.safetensors"), add_cams=True)

    with torch.inference_mode():
        sets = {}
        for name, network in networks.items():
            about = network.backbone if name == "classifier" else network
            inputs = [network_input(image, about.mean, about.std, size) for size in ((50, 71), (25, 36))]
            enlarged = [F.interpolate(network.cam(pixels)[:, None], (64, 80), mode="bilinear") for pixels in inputs]
            total = sum(enlarged)[[1, 8], 0, :50, :71]
            sets[name] = total / (total.amax((1, 2), keepdim=True) + 1e-5)
    total = sets["classifier"] + sets["bas"]
    both = total / (total.amax((1, 2), keepdim=True) + 1e-5)
    for path, expected in ((of_cams["full_maps"], sets["classifier"]), (of_bas["full_maps"], both)):
        store = maskmill.open_maps(path)
        torch.testing.assert_close(torch.from_numpy(store["a"]).float(), expected, rtol=0, atol=5e-4)
        assert list(store.attributes_of("a")["classes"]) == [2, 9]
    assert maskmill.open_maps(of_bas["maps"])["a"].shape == (2, 13, 18)


def test_the_official_seed_maps_reach_seeds_and_affinity_labels_but_not_the_walk(project):
    plan = project.run(TARGET, "--dry-run", "--config", "cams={seed_maps: official}")
    jobs = [job.split("output:")[0] for job in plan.split("\nrule ")]
    for rule, store in (("evaluate_seeds", "voc"), ("affinity_labels", "voc"), ("bas_affinity_labels", "voc/bas")):
        inputs = next(job for job in jobs if job.startswith(f"{rule}:"))
        assert f"{store}/full_cams.h5" in inputs and f"{store}/cams.h5" not in inputs
    for rule in ("random_walk", "bas_random_walk"):
        assert "full_cams" not in next(job for job in jobs if job.startswith(f"{rule}:"))


def test_an_image_without_tags_is_left_out_and_counted(project):
    root = project.folder / "VOC2012"
    draw_scenes(root, train_aug=12, train=6, val=3, size=64)
    annotation = sorted((root / "Annotations").iterdir())[3]
    tree = annotation.read_text()
    annotation.write_text(tree.split("<object>")[0] + "</annotation>")
    overlay = yaml.safe_load(Path(__file__).parents[1].joinpath("overlays/tiny.yaml").read_text())
    overlay["data"]["voc"] = {"root": str(root)}
    overlay["bas"]["init"] = "random"
    configfile = project.folder / "mine.yaml"
    configfile.write_text(yaml.safe_dump(overlay))
    checkpoint = f"{WORK}/bas/bas.safetensors"
    assert "BAS learns from 11 of 12 images; the others show no class" in project.run(checkpoint, configfile=configfile)


# --- localisation ---------------------------------------------------------------------------------------------------


@pytest.fixture
def localiser(tmp_path):
    """Train the localiser by hand, in three iterations, on six drawn images of one class each."""
    records = []
    for number, (_, scene) in enumerate(islice(lone_objects(1, 64, 0), 6)):
        path = tmp_path / f"{number}.png"
        Image.fromarray(scene.image).save(path)
        records.append(Record(str(number), path, None, 64, 64, (scene.boxes[0][0],), ("train",)))
    (tmp_path / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    (tmp_path / "ids.txt").write_text("".join(f"{record.image_id}\n" for record in records))

    def train(records=records, **changes):
        write_index(tmp_path / "index.csv", records)
        arguments = {
            "network": {"backbone": "sample_cnn", "head_width": 8},
            "variant": "bas",
            "augmentation": {"square": 68, "crop": 64},
            **{"alpha": 0.5, "beta": 1.5, "lr": 1e-3, "new_factor": 10, "bias_factor": 2, "weight_decay": 5e-4},
            "optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True},
            **{"epochs": 2, "decay_epochs": 1, "batch_size": 4},
            **changes,
        }
        paths = {name: str(tmp_path / f"{name}.txt") for name in ("ids", "classes")}
        checkpoint = tmp_path / "bas.safetensors"
        run = {name: arguments.pop(name) for name in ("optimizer", "epochs", "batch_size")}
        train_bas_localizer.main(
            index=str(tmp_path / "index.csv"),
            run=TrainingRun(checkpoint=str(checkpoint), accelerator="cpu", **run),
            **paths,
            **arguments,
        )
        return load_network(checkpoint, BASLocalizer)

    return train, records


def test_the_classifier_alone_leaves_the_generator_as_it_started(localiser):
    train, _ = localiser
    start = train(epochs=1, lr=0.0)
    cam, bas = train(variant="cam"), train(variant="bas")
    assert cam.arguments["num_classes"] == 20
    assert torch.equal(cam.generator.weight, start.generator.weight)
    assert not torch.equal(bas.generator.weight, start.generator.weight)
    assert not torch.equal(cam.f2[1][0].weight, start.f2[1][0].weight)


def test_a_localiser_learns_from_images_of_one_class(localiser):
    train, records = localiser
    with pytest.raises(InputError, match=r"2\.png: the image has 2 tags, not one"):
        train(records=[*records[:2], replace(records[2], classes=(1, 2)), *records[3:]])


# --- the released code's accidents --------------------------------------------------------------------------------


@pytest.fixture
def trained(bas, tmp_path):
    """Train BAS by hand, in two iterations, with some arguments changed."""
    config = yaml.safe_load((bas.folder / "config.yaml").read_text())
    scale = yaml.safe_load((bas.folder / "scales/sample.yaml").read_text())
    section = {**config["bas"], **scale["bas"], "augmentation": {"square": 68, "crop": 64}}
    settings = {key: value for key, value in section.items() if key not in ("init", "scales", "add_cams", "irn")}

    def train(**changes):
        checkpoint = tmp_path / "bas.safetensors"
        arguments = {**settings, "batch_size": 4, "max_iterations": 2, **changes}
        run = {name: arguments.pop(name) for name in ("optimizer", "epochs", "batch_size", "max_iterations")}
        train_bas.main(
            dataset="voc",
            index=str(bas.folder / WORK / "index.csv"),
            ids=str(bas.folder / WORK / "splits/train.txt"),
            run=TrainingRun(checkpoint=str(checkpoint), accelerator="cpu", **run),
            classifier=[str(bas.folder / WORK / "classifier/classifier.safetensors")],
            **arguments,
        )
        return load_tensors(checkpoint)[0]

    return train


@pytest.fixture
def in_the_project(bas, monkeypatch):
    """The index names images relative to where the workflow runs."""
    monkeypatch.chdir(bas.folder)


@pytest.mark.parametrize(("biases", "moves"), [("official", False), ("intended", True)])
def test_biases_learn_only_as_intended(bas, trained, in_the_project, biases, moves):
    before = load_tensors(bas.folder / WORK / "classifier/classifier.safetensors")[0]
    after = trained(biases=biases)
    for stage in range(2):  # those before F
        old, new = before[f"backbone.stages.{stage}.1.bias"], after[f"f1.{stage}.1.bias"]
        assert torch.equal(old, new) != moves
        assert not torch.equal(before[f"backbone.stages.{stage}.1.weight"], after[f"f1.{stage}.1.weight"])


@pytest.mark.parametrize(("schedule", "last"), [("official", 0.75**0.9), ("intended", 0.0)])
def test_the_official_schedule_is_four_times_as_long_as_the_training(
    monkeypatch, trained, in_the_project, schedule, last
):
    factors = []

    def watched(network, step, optimizer, schedule, *images, iterations, **options):
        factors.append(schedule(iterations))

    monkeypatch.setattr("maskmill.training.run.train", watched)
    with pytest.raises(Exception, match="no such checkpoint"):
        trained(schedule=schedule, epochs=200, max_iterations=None)
    assert factors == pytest.approx([last], abs=0.01)
