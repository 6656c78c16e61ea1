"""ZeroSeg's target at the tiny overlay: table, cache, teachers, reruns, sources of images, and bad inputs."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import warm
from maskmill.commands import segment_open
from maskmill.data.captions import find_nouns
from maskmill.data.catalog import VOC
from maskmill.data.index import read_ids, read_index
from maskmill.data.shards import Pair, Shards, write_indexed_shard
from maskmill.data.transforms import network_input
from maskmill.errors import InputError
from maskmill.networks.clip import TinyCLIP
from maskmill.networks.zeroseg import ZeroSeg
from maskmill.storage.checkpoints import load_network, save_network
from maskmill.storage.features import Features
from maskmill.storage.maps import create_maps, sha256
from open_vocabulary import train_tiny_clip, train_zeroseg
from results import evaluate

ROOT = Path(__file__).resolve().parents[2]
TARGET = "results/zeroseg_voc_miou.csv"
PAIRS = "work/sample/pairs"
HEALTH = ["view_entropy", "segment_cosine", "loss_matching", "segments_used", "segments_entropy"]
ROWS = ["base", "multi_scale", "match", "zeroseg"]
NETWORK = f"{PAIRS}/zeroseg/zeroseg/network.safetensors"
CLASSES = "work/sample/voc/zeroseg/classes.safetensors"


def test_table_has_the_ablations_and_both_bars(zeroseg):
    table = pd.read_csv(zeroseg.folder / TARGET)
    assert list(table["variant"].unique()) == [*ROWS, "image_level", "chance"]
    for metric in ("miou", "miou_foreground"):
        assert table[table["metric"] == metric]["value"].between(0, 100).tolist() == [True] * 6
    health = table[table["metric"].isin(HEALTH)]
    assert health[["variant", "metric"]].to_numpy().tolist() == [[row, name] for row in ROWS for name in HEALTH]
    assert (table["data"] == "sample scenes val").all()
    papers = table.dropna(subset="paper_value")
    assert papers["paper_value"].tolist() == [21.1, 28.5, 38.6, 40.8]
    assert papers["paper_source"].str.endswith("; not comparable").all()


def test_the_cache_holds_30_views_of_every_image_of_its_shard(zeroseg):
    teacher = zeroseg.folder / PAIRS / "tiny_clip/network.safetensors"
    dim = load_network(teacher, TinyCLIP).dim
    (samples,) = Shards([zeroseg.folder / PAIRS / "scenes/1-of-1.tar"]).samples
    store = Features(zeroseg.folder / PAIRS / "scenes/views/tiny/1-of-1.h5")
    assert store.shape == (30, dim) and len(store) == 24
    store.check([sample[0] for sample in samples], teacher, sha256(teacher), dim)
    assert all(np.isfinite(vectors).all() for vectors in store)


def test_the_teacher_sees_images_of_a_single_thing(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    captions = ["a red cat", "a cat and a dog", "two dogs", "red"]
    write_indexed_shard(tmp_path / "1.tar", [Pair(f"k{n}", path, c) for n, c in enumerate(captions)], captioned=True)
    chosen = train_tiny_clip.of_single_nouns(Shards([tmp_path / "1.tar"]))
    assert [chosen[number][2] for number in range(len(chosen))] == ["a red cat", "two dogs"]
    write_indexed_shard(tmp_path / "2.tar", [Pair("k", path, "red")], captioned=True)
    with pytest.raises(InputError, match=r"tiny_clip\.single_nouns: none of 1 captions"):
        train_tiny_clip.of_single_nouns(Shards([tmp_path / "2.tar"]))


@torch.no_grad()
def test_a_view_is_the_vector_that_the_teacher_gives_its_cell(zeroseg):
    teacher = load_network(zeroseg.folder / PAIRS / "tiny_clip/network.safetensors", TinyCLIP)
    image = Shards([zeroseg.folder / PAIRS / "scenes/1-of-1.tar"])[3][1]
    stored = Features(zeroseg.folder / PAIRS / "scenes/views/tiny/1-of-1.h5")[3]
    for number, cell in ((0, image), (4, image[32:, 32:]), (29, image[48:, 48:])):
        expected = teacher.encode_image(network_input(cell, teacher.mean, teacher.std, (64, 64)))[0]
        np.testing.assert_allclose(stored[number], expected.numpy(), atol=0.01)


def test_a_frozen_stem_stays_the_teachers_backbone(zeroseg):
    backbone = load_network(zeroseg.folder / PAIRS / "tiny_clip/network.safetensors", TinyCLIP).backbone.state_dict()
    network = load_network(zeroseg.folder / NETWORK, ZeroSeg)
    assert backbone and all(torch.equal(tensor, backbone[name]) for name, tensor in network.stem.state_dict().items())
    without = ZeroSeg(**{**network.arguments, "stem": None})
    with pytest.raises(InputError, match=r"zeroseg\.stem_frozen is true, but there is no zeroseg\.network\.stem"):
        train_zeroseg.freeze_stem(without)


def test_the_ablations_differ_in_what_they_learn_from_alone(zeroseg):
    networks = [load_network(zeroseg.folder / PAIRS / f"zeroseg/{row}/network.safetensors", ZeroSeg) for row in ROWS]
    heads = [network.segmentation.of_segments.fc2.weight for network in networks]
    assert heads[0].equal(heads[1]) and not heads[2].equal(heads[0]), "without L_match nothing reaches g_i"
    assert len({json.dumps(network.arguments) for network in networks}) == 1


@pytest.mark.parametrize(
    ("change", "first", "untouched"),
    [
        ("zeroseg={lr: 0.001}", {"train_zeroseg": 4}, {"cache_views", "train_tiny_clip"}),
        ("zeroseg={variants: {match: {multi_scale: true}}}", {"train_zeroseg": 1}, {"cache_views"}),
        ("zeroseg={grids: [1, 2]}", {"cache_views": 1, "train_zeroseg": 4}, {"train_tiny_clip", "draw_pairs"}),
        ("tiny_clip={lr: 0.001}", {"train_tiny_clip": 1, "cache_views": 1}, {"draw_pairs"}),
        ("zeroseg={templates: ['a {}']}", {"embed_classes_zeroseg": 1}, {"train_zeroseg", "cache_views"}),
    ],
)
def test_an_edit_reruns_what_is_built_on_it_and_nothing_else(zeroseg, change, first, untouched):
    planned = zeroseg.planned(TARGET, "--config", change)
    assert {rule: planned.get(rule) for rule in first} == first
    assert not untouched & set(planned)


@pytest.fixture
def copied(zeroseg, tmp_path):
    """The project of `zeroseg` in a folder of its own, so that a test may change files."""
    shutil.copytree(zeroseg.folder / "work", tmp_path / "work")
    return type(zeroseg)(tmp_path)


def test_a_teacher_of_another_dimension_than_the_cache_is_refused(copied):
    path = copied.folder / PAIRS / "tiny_clip/network.safetensors"
    teacher = load_network(path, TinyCLIP)
    save_network(path, TinyCLIP(**{**teacher.arguments, "dim": 48}))
    (copied.folder / NETWORK).unlink()
    line = copied.fail(NETWORK, "--rerun-triggers", "params", "--allowed-rules", "train_zeroseg")
    assert "1-of-1.h5: holds vectors of 64 numbers" in line and "network.safetensors have 48" in line


def test_images_of_imagenets_folders_are_packed_and_seen(copied, tmp_path):
    for name in ("n01/a", "n01/b", "n02/c"):
        path = tmp_path / f"imagenet/{name}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(path, "jpeg")
    (tmp_path / "imagenet/n02/d.JPEG").write_bytes(path.read_bytes()[:200])
    change = [f"pairs={{imagenet: {{root: {tmp_path}/imagenet}}}}", "zeroseg={pairs: [imagenet]}", "shards=2"]
    stores = [f"{PAIRS}/imagenet/views/tiny/{n}-of-2.h5" for n in (1, 2)]
    printed = copied.run(*stores, "--config", *change)
    keys = [Features(copied.folder / store).keys for store in stores]
    assert keys == [["n01_a", "n02_c"], ["n01_b"]]
    assert "skipped n02_d.jpeg: damaged image" in printed and "1 samples, 1 skipped" in printed


def test_tags_become_captions_that_never_name_a_class_that_is_left_out(copied):
    change = ["--config", "pairs={tags: {left_out: [sheep, car]}}", "zeroseg={pairs: [tags]}", "shards=2"]
    tars = [f"{PAIRS}/tags/{n}-of-2.tar" for n in (1, 2)]
    copied.run(*tars, *change)
    records = read_index(copied.folder / "work/sample/voc/index.csv")
    training = read_ids(copied.folder / "work/sample/voc/splits/train.txt")
    named = {i: {VOC.classes[k] for k in records[i].classes} for i in training}
    expected = {i for i, names in named.items() if names and not names & {"sheep", "car"}}
    samples = [sample for samples in Shards([copied.folder / tar for tar in tars]).samples for sample in samples]
    assert {key for key, *_ in samples} == expected and expected < set(training)
    assert all(set(find_nouns(caption)) == named[key] for key, _, _, caption, _ in samples)
    line = copied.fail(tars[0], "--config", "pairs={tags: {left_out: [shep]}}")
    assert line == "config: pairs.tags.left_out: voc has no class 'shep'; did you mean 'sheep'?"


def test_classes_that_are_left_out_have_a_mean_of_their_own(copied, tmp_path, monkeypatch):
    monkeypatch.chdir(copied.folder)
    work = "work/sample/voc"
    stores = {
        "maps": f"{work}/zeroseg/zeroseg/val/argmax.h5",
        "index": f"{work}/index.csv",
        "ids": f"{work}/splits/val.txt",
    }
    tables = {"scores_table": tmp_path / "scores.csv", "confusion_table": tmp_path / "confusion.csv"}
    evaluate.main("voc", **stores, **tables, left_out=["sheep", "car"])
    table = pd.read_csv(tmp_path / "scores.csv", keep_default_na=False).set_index(["metric", "class_name"])["value"]
    occurring = [name for name in ("sheep", "car") if ("iou", name) in table]
    assert occurring and table["miou_left_out", ""] == pytest.approx(
        np.mean([table["iou", name] for name in occurring])
    )


def test_the_foreground_are_the_counted_classes_pixels_alone(copied, tmp_path, monkeypatch):
    """Where a run asks for a part of the classes, pixels of the others are not in its mean as zeros."""
    monkeypatch.chdir(copied.folder)
    work = "work/sample/voc"
    records, ids = read_index(f"{work}/index.csv"), read_ids(f"{work}/splits/val.txt")
    masks = {image_id: np.array(Image.open(records[image_id].mask)) for image_id in ids}
    numbers = sorted({int(n) for mask in masks.values() for n in np.unique(mask)} - {0, 255})
    kept, other = numbers[::2], numbers[1]
    # Right on the classes that are kept, and nowhere else.
    with create_maps(tmp_path / "maps.h5", "label", producer="test") as store:
        for image_id, mask in masks.items():
            store.write(image_id, np.where(np.isin(mask, kept), mask, other).astype(np.uint8))
    evaluate.main(
        "voc",
        f"{work}/index.csv",
        f"{work}/splits/val.txt",
        str(tmp_path / "maps.h5"),
        str(tmp_path / "scores.csv"),
        str(tmp_path / "confusion.csv"),
        classes=[VOC.classes[n] for n in kept],
        foreground=[str(tmp_path / "maps.h5")],
    )
    table = pd.read_csv(tmp_path / "scores.csv").set_index("metric")["value"]
    assert table["miou_foreground"] == 100 and table["miou"] < 100


def test_any_classes_from_the_command_line_by_the_teachers_names(zeroseg, tmp_path):
    (tmp_path / "photos").mkdir()
    rgb = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(rgb).save(tmp_path / "photos/a.png")
    options = ["--checkpoint", zeroseg.folder / NETWORK, "--source", tmp_path / "photos", "--output", tmp_path / "out"]
    options += ["--classes", "[cat, zygote]", "--side", 64, "--window", 64, "--stride", 64]
    command = [sys.executable, ROOT / "workflow_scripts/maskmill", "segment-open", *options]
    done = warm.run(command)
    assert done.returncode == 1 and "holds a ZeroSeg, which knows no names" in done.stderr
    command += ["--teacher", "tiny", "--teacher-weights", zeroseg.folder / PAIRS / "tiny_clip/network.safetensors"]
    done = warm.run(command)
    assert done.returncode == 0, done.stderr
    assert set(np.unique(np.array(Image.open(tmp_path / "out/masks/a.png")))) <= {1, 2}


def test_a_teacher_that_the_checkpoint_did_not_learn_from_is_refused(zeroseg, tmp_path):
    teacher = load_network(zeroseg.folder / PAIRS / "tiny_clip/network.safetensors", TinyCLIP)
    save_network(tmp_path / "other.safetensors", TinyCLIP(**{**teacher.arguments, "dim": 48}))
    with pytest.raises(InputError, match=r"other\.safetensors: gives vectors of 48 numbers, but .* a teacher of 64"):
        segment_open.main(
            str(zeroseg.folder / NETWORK),
            str(tmp_path),
            str(tmp_path / "out"),
            ["cat"],
            teacher="tiny",
            teacher_weights=str(tmp_path / "other.safetensors"),
        )


def test_what_is_missing_is_named(project):
    line = project.fail(f"{PAIRS}/imagenet/1-of-1.tar")
    assert line.startswith("config: pairs.imagenet.root is null")
    line = project.fail(f"{PAIRS}/cc12m/1-of-1.csv")
    assert line.startswith("config: pairs.cc12m.list is null")
    line = project.fail(CLASSES, "--config", "zeroseg={teacher: ViT-L-14-quickgelu}")
    assert line.startswith("config: zeroseg.teacher_weights is null")
    line = project.fail(f"{PAIRS}/tags/1-of-1.tar", "--config", "pairs={tags: {dataset: vok}}")
    assert line.startswith("config: pairs.tags.dataset 'vok' is not one of voc, ")
