"""MixReorg's targets at the tiny overlay: tables, what segments by any classes, reruns, and bad inputs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import maskmill
import warm
from maskmill.errors import InputError
from maskmill.networks.group_vit import GroupViT
from maskmill.networks.open_vocabulary import load_classes
from maskmill.storage.checkpoints import load_network, save_network
from maskmill.storage.maps import open_maps
from open_vocabulary import embed_classes, train_mixreorg

ROOT = Path(__file__).resolve().parents[2]
TARGETS = [f"results/mixreorg_{dataset}_miou.csv" for dataset in ("voc", "context", "ade20k")]
TRAINED = ("groupvit", "mixreorg")
CHECKPOINT = "work/sample/pairs/mixreorg/mixreorg/network.safetensors"
SMALL = {
    "encoder": {"image_size": 64, "patch_size": 16, "width": 16, "heads": 2, "depths": (1, 1, 1), "groups": (6, 3)},
    "text": {"width": 16, "heads": 2, "layers": 1, "context_length": 8},
    **{"hidden": 24, "dim": 12, "words": ["a", "cat", "red"]},
}
AS_SEEN = {"side": 64, "window": 64, "stride": 64, "templates": "['a {}']"}


def by_hand(*words: str, **options) -> subprocess.CompletedProcess:
    """Run a script in workflow_scripts/, or `maskmill` with one of its commands."""
    command = [sys.executable, str(ROOT / "workflow_scripts" / words[0]), *words[1:]]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    return warm.run(command)


def error(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 1, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    return line


@pytest.mark.parametrize("target", TARGETS)
def test_table_has_the_baseline_and_both_bars(mixreorg, target):
    table = pd.read_csv(mixreorg.folder / target)
    assert list(table["variant"].unique()) == ["groupvit", "mixreorg", "image_level", "chance"]
    for metric in ("miou", "miou_foreground"):
        assert table[table["metric"] == metric]["value"].between(0, 100).tolist() == [True] * 4
    health = table[table["metric"].isin(["mix_acc", "loss_restored", "segments_used", "segments_entropy"])]
    assert health["variant"].tolist() == [variant for variant in TRAINED for _ in range(4)]
    assert set(table["data"]) <= {"sample scenes val", "sample scenes validation"}


def test_ade20k_has_no_background(mixreorg):
    """Neither among the labels nor in the means; and no threshold that a curve could be drawn over."""
    table = pd.read_csv(mixreorg.folder / "results/mixreorg_ade20k_miou.csv")
    assert "background" not in set(table["class_name"])
    values = table.pivot_table(index="variant", columns="metric", values="value", sort=False)
    assert values["miou"].tolist() == values["miou_foreground"].tolist()
    store = open_maps(mixreorg.folder / "work/sample/ade20k/mixreorg/chance/val/argmax.h5")
    assert not any((store[image_id] == 0).any() for image_id in store)
    confusion = pd.read_csv(
        mixreorg.folder / "work/sample/ade20k/mixreorg/mixreorg/val/argmax_confusion.csv", index_col="truth"
    )
    assert confusion.loc["background"].sum() == 0 and confusion["background"].sum() == 0
    assert not (mixreorg.folder / "results/mixreorg_ade20k_curves.png").exists()


def test_papers_numbers_stand_beside_and_are_not_comparable(mixreorg):
    table = pd.read_csv(mixreorg.folder / TARGETS[0]).dropna(subset="paper_value")
    assert table[["variant", "metric", "paper_value"]].values.tolist() == [
        ["groupvit", "miou", 41.1],
        ["mixreorg", "miou", 47.9],
    ]
    assert table["paper_source"].str.endswith("; not comparable").all()


def test_the_three_stores_of_a_row_differ_as_they_should(mixreorg):
    row = mixreorg.folder / "work/sample/voc/mixreorg/mixreorg"
    labels, foreground, painted = (
        maskmill.open_maps(path / "val/argmax.h5") for path in (row, row / "foreground", row / "image_level")
    )
    for image_id in labels:
        assert labels[image_id].shape == (64, 64)
        kept = labels[image_id] > 0
        assert np.array_equal(labels[image_id][kept], foreground[image_id][kept])
        assert foreground[image_id].min() > 0 and len(np.unique(painted[image_id])) == 1


def test_chance_is_drawn_from_all_classes_and_the_same_for_every_number_of_shards(mixreorg, tmp_path):
    store = maskmill.open_maps(mixreorg.folder / "work/sample/voc/mixreorg/chance/val/argmax.h5")
    first = store["2012_500001"]
    assert set(np.unique(first)) == set(range(21))
    index, ids = mixreorg.folder / "work/sample/voc/index.csv", mixreorg.folder / "work/sample/voc/splits/val.txt"
    classes = list(range(1, 21))
    done = by_hand(
        "open_vocabulary/predict_chance.py",
        **{"index": index, "ids": ids, "maps": tmp_path / "a.h5", "foreground": tmp_path / "b.h5"},
        **{"class-ids": classes, "background": True},
    )
    assert done.returncode == 0, done.stderr
    assert np.array_equal(maskmill.open_maps(tmp_path / "a.h5")["2012_500001"], first)


def test_the_threshold_curve_is_of_training_images(mixreorg):
    curve = pd.read_csv(mixreorg.folder / "work/sample/voc/mixreorg/mixreorg/thresholds.csv")
    assert curve["threshold"].tolist() == pytest.approx(np.arange(0.05, 1, 0.05))
    assert curve["miou"].between(0, 100).all()


def test_stand_ins_are_called_by_what_is_drawn(mixreorg):
    """A scene's objects keep their names where they stand for another data set's classes."""
    row = "mixreorg/mixreorg/foreground/val/argmax.h5"
    context, voc = (maskmill.open_maps(mixreorg.folder / f"work/sample/{name}/{row}") for name in ("context", "voc"))
    for image_id in voc:
        assert np.array_equal(context[image_id], voc[image_id])


def test_any_classes_and_any_folder_from_the_command_line(mixreorg, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    rgb = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(rgb).save(photos / "odd.png")
    Image.fromarray(rgb).convert("L").save(photos / "grey.png")
    (photos / "broken.png").write_bytes((photos / "odd.png").read_bytes()[:100])
    (tmp_path / "classes.txt").write_text("cat\nred car\n\nrails\n")
    options = {"checkpoint": mixreorg.folder / CHECKPOINT, "source": photos, **AS_SEEN}
    done = by_hand(
        "maskmill", "segment-open", **options, output=tmp_path / "a", classes="[cat, red car, rails]", threshold=0.9
    )
    assert done.returncode == 0, done.stderr
    assert "2 images, 1 skipped as unreadable" in done.stderr and "broken.png" in done.stderr
    labels = np.array(Image.open(tmp_path / "a/masks/odd.png"))
    overlay = np.array(Image.open(tmp_path / "a/overlays/odd.png"))
    assert labels.shape == (50, 70) and overlay.shape == (50, 70, 3)
    assert np.array_equal(overlay[labels == 0], rgb[labels == 0])
    segments = pd.read_csv(tmp_path / "a/segments.csv")
    assert list(segments.columns) == ["image", "segment", "pixels", "cat", "red car", "rails"]
    assert segments.groupby("image")["pixels"].sum().to_dict() == pytest.approx({"grey.png": 1, "odd.png": 1}, abs=1e-3)
    curve = pd.read_csv(tmp_path / "a/thresholds.csv")
    assert curve["foreground"].is_monotonic_decreasing and curve["foreground"].iloc[0] == 100
    done = by_hand("maskmill", "segment-open", **options, output=tmp_path / "b", classes=tmp_path / "classes.txt")
    assert done.returncode == 0, done.stderr
    assert np.array(Image.open(tmp_path / "b/masks/odd.png")).min() > 0
    assert pd.read_csv(tmp_path / "b/segments.csv").equals(segments)


def test_images_that_differ_in_their_suffix_keep_it(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "a.jpg", "b.png"):
        Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(tmp_path / "photos" / name)
    save_network(tmp_path / "network.safetensors", GroupViT(**SMALL))
    options = {"checkpoint": tmp_path / "network.safetensors", "source": tmp_path / "photos", **AS_SEEN}
    done = by_hand("maskmill", "segment-open", **options, output=tmp_path / "out", classes="[cat, red]")
    assert done.returncode == 0, done.stderr
    for folder in ("masks", "overlays"):
        assert sorted(path.name for path in (tmp_path / "out" / folder).iterdir()) == [
            "a.jpg.png",
            "a.png.png",
            "b.png",
        ]


def test_what_cannot_be_segmented_is_refused_in_one_line(mixreorg, tmp_path):
    options = {"checkpoint": mixreorg.folder / CHECKPOINT, "source": tmp_path, "output": tmp_path / "out", **AS_SEEN}
    for classes, message in (
        ("[cat, dog, cat]", "--classes: 'cat' comes twice; remove one"),
        ("[]", "--classes: 0 names; give 1 to 254"),
        ("nowhere.txt", "nowhere.txt: no such list of classes"),
        ("[zebra]", "the network never read the word 'zebra'; choose from a, aeroplane, "),
        ("[cat]", "no images in it; give a folder with"),
    ):
        assert message in error(by_hand("maskmill", "segment-open", **options, classes=classes))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_published_weights_are_imported_without_unpickling(tmp_path):
    torch.manual_seed(0)
    text = {"width": 256, "heads": 4, "layers": 12, "context_length": 77}
    network = GroupViT(encoder={}, text=text)
    state = dict(network.state_dict())
    released = {
        name.replace("encoder.", "img_encoder.")
        .replace("img_encoder.proj.", "img_encoder.patch_embed.proj.")
        .replace("img_encoder.norm_patches.", "img_encoder.patch_embed.norm.")
        .replace("img_encoder.position", "img_encoder.pos_embed")
        .replace("text.", "text_encoder.")
        .replace("image_projector.", "img_projector.")
        .replace("projector.hidden.", "projector.linear_hidden.0.")
        .replace("projector.norm.", "projector.linear_hidden.1.")
        .replace("projector.out.", "projector.linear_out.")
        .replace("log_scale", "logit_scale"): tensor
        for name, tensor in state.items()
    }
    torch.save({"model": released}, tmp_path / "released.pth")
    output = tmp_path / "ours.safetensors"
    done = by_hand("maskmill", "import-group-vit", weights=tmp_path / "released.pth", checkpoint=output)
    assert done.returncode == 0, done.stderr
    imported = load_network(output, GroupViT).state_dict()
    assert all(torch.equal(imported[name], tensor) for name, tensor in state.items())
    torch.save({"model": {k: v for k, v in released.items() if "logit" not in k}}, tmp_path / "part.pth")
    message = error(by_hand("maskmill", "import-group-vit", weights=tmp_path / "part.pth", checkpoint=output))
    assert "1 tensors are missing, unknown or of another shape, the first is log_scale" in message
    torch.save({"model": released, "config": Path("x")}, tmp_path / "pickled.pth")
    message = error(by_hand("maskmill", "import-group-vit", weights=tmp_path / "pickled.pth", checkpoint=output))
    assert "pickled.pth: damaged, or holds more than tensors" in message


@pytest.mark.parametrize(
    ("change", "first", "untouched"),
    [
        ("mixreorg={mixing: {weight: 0.5}}", {"train_mixreorg": 1, "measure_mixing": 2}, {"draw_pairs"}),
        ("mixreorg={lr: 0.001}", {"train_mixreorg": 2}, {"draw_pairs", "predict_chance"}),
        ("mixreorg={datasets: {voc: {threshold: 0.5}}}", {"predict_zero_shot": 2}, {"train_mixreorg", "embed_classes"}),
        ("mixreorg={thresholds: [0.1, 1.0, 0.1]}", {"threshold_curve": 4}, {"train_mixreorg", "predict_zero_shot"}),
    ],
)
def test_an_edit_reruns_what_is_built_on_it_and_nothing_else(mixreorg, change, first, untouched):
    planned = mixreorg.planned(*TARGETS, "--config", change)
    assert {rule: planned.get(rule) for rule in first} == first
    assert not untouched & set(planned)


def test_a_mixing_that_cannot_be_is_refused(project):
    message = project.fail(CHECKPOINT, "--config", "mixreorg={batch_size: 6}")
    assert message == "config: mixreorg.batch_size 6 is no multiple of mixing.members 4; change one"
    message = project.fail(CHECKPOINT, "--config", "mixreorg={mixing: {mix_layer: 2}}")
    assert message.startswith("config: mixreorg.mixing.mix_layer 2 leaves no layer") and message.endswith("give 0 to 1")


def test_a_list_of_links_becomes_a_shard_and_a_report(project, image_server, tmp_path):
    captions = {"20x30.jpg": "a red thing", "30x30.jpg": " ", "gone.jpg": "a cat", "40x30.jpg": "a red cat"}
    lines = [f"{image_server.url}/{name}\t{caption}\n" for name, caption in captions.items()]
    (tmp_path / "list.tsv").write_text("".join(lines))
    folder = "work/sample/pairs/cc12m"
    project.run(f"{folder}/1-of-1.tar", "--config", f"pairs={{cc12m: {{list: {tmp_path / 'list.tsv'}}}}}")
    report = json.loads((project.folder / f"{folder}/1-of-1_report.json").read_text())
    assert (report["asked"], report["got"], report["failed"]) == (4, 3, 1)
    assert report["dead"] == {f"{image_server.url}/gone.jpg": "HTTP 404"}
    index = json.loads((project.folder / f"{folder}/1-of-1.json").read_text())
    assert [reason for _, reason in index["skipped"]] == ["no caption"]
    assert [sample[3] for sample in index["samples"]] == ["a red thing", "a red cat"]


def test_groups_divide_the_batch_of_every_device():
    mixing = {"members": 4, "mix_layer": 0}
    train_mixreorg.check_mixing(mixing, 16, 2, 1)
    train_mixreorg.check_mixing(mixing, 12, 1, 1)
    with pytest.raises(InputError, match=r"batch_size 12 is no multiple of mixing\.members 4 times 2 devices; change"):
        train_mixreorg.check_mixing(mixing, 12, 2, 1)


def test_two_classes_of_one_name_in_the_prompts_are_refused(tmp_path):
    save_network(tmp_path / "network.safetensors", GroupViT(**SMALL))
    arguments = (str(tmp_path / "network.safetensors"), str(tmp_path / "classes.safetensors"))
    with pytest.raises(InputError, match="the network reads 'cat' and 'cat' alike"):
        embed_classes.main(*arguments, {1: "cat", 2: "red", 7: "cat"}, ["a {}"])
    assert not (tmp_path / "classes.safetensors").exists()
    embed_classes.main(*arguments, {1: "cat", 7: "red"}, ["a {}"])
    assert load_classes(tmp_path / "classes.safetensors")[2] == ["cat", "red"]
