"""`maskmill list`: what a store, one of its maps, or a folder holds."""

import numpy as np
import pytest

from maskmill.commands import list as list_stores
from maskmill.errors import InputError
from maskmill.storage.maps import create_maps
from stores import HALF, IDS, store


def listed(capsys, path, **options):
    """The lines that the command prints, without their indent."""
    list_stores.main(str(path), **options)
    return [line.strip() for line in capsys.readouterr().out.splitlines()]


def test_a_store_is_listed_with_its_origin_size_and_one_map(work, capsys):
    lines = listed(capsys, work / "mars/irn/pseudo_labels.h5")
    assert {"kind: label", "schema: 1", "producer: test", "alpha: 0.5", "maps: 2"} <= set(lines)
    assert any(line.startswith(f"{work}/index.csv: sha256 ") and len(line.split()[-1]) == 64 for line in lines)
    assert f"map of {IDS[0]}: uint8 12 x 16, 0 to 254" in lines
    assert any(line.startswith("h5py: ") for line in lines)


def test_a_merged_store_is_listed_with_its_shards_and_their_size(work, capsys):
    path = work / "irn/pseudo_labels.h5"
    lines = listed(capsys, path)
    assert "maps: 2" in lines
    sizes = {number: (work / f"irn/pseudo_labels/{number}-of-2.h5").stat().st_size for number in (1, 2)}
    for number, size in sizes.items():
        assert f"{work}/irn/pseudo_labels/{number}-of-2.h5: 1 maps, {size / 1024:.1f} KiB" in lines
    assert f"size on disk: {(sum(sizes.values()) + path.stat().st_size) / 1024:.1f} KiB" in lines


def test_features_of_samples_and_tables_are_listed_too(work, capsys):
    lines = listed(capsys, work / "views.h5")
    assert {"kind: features", "samples: 2", "vectors: float16 2 x 3 x 4", f"first sample: {IDS[0]}"} <= set(lines)
    lines = listed(capsys, work / "mars/irn/centroids.h5")
    assert {"kind: table, one dataset per column", "counts: int64 2"} <= set(lines)


def test_one_images_labels_are_listed_with_the_share_of_each_class(work, capsys):
    lines = listed(capsys, work / "mars/irn/pseudo_labels.h5", image=IDS[0])
    assert lines[-3:] == ["background: 25.0 %", "cat: 50.0 %", "removed as biased: 25.0 %"]
    assert "map: uint8 12 x 16, 0 to 254" in lines


def test_one_batchs_labels_are_listed_with_its_images(tmp_path, capsys):
    with create_maps(tmp_path / "batches.h5", "batch_label", producer="test") as store:
        store.write("batch_000003", np.full((2, 2, 4, 4), 8, np.uint8), labelled=IDS, unlabelled=IDS[::-1])
    lines = listed(capsys, tmp_path / "batches.h5", image="batch_000003", dataset="voc")
    assert {"map: uint8 2 x 2 x 4 x 4, 8 to 8", f"labelled: {list(IDS)}", "cat: 100.0 %"} <= {
        line.strip() for line in lines
    }


def test_one_images_activations_are_listed_class_by_class(work, capsys):
    lines = listed(capsys, work / "cams.h5", image=IDS[0])
    assert lines[-2].startswith("cat: 0.") and lines[-1].startswith("dog: 0.")
    assert listed(capsys, work / "cams.h5", image=IDS[0], dataset="coco")[-2].startswith("truck: ")


def test_a_folder_is_listed_with_one_line_per_store(work, capsys):
    lines = listed(capsys, work)
    paths = [line.split()[0].removeprefix(f"{work}/") for line in lines]
    assert paths == sorted(paths) and {"cams.h5", "irn/pseudo_labels.h5", "views.h5"} <= set(paths)
    assert "irn/pseudo_labels/1-of-2.h5" not in paths, "the merged store stands for its shards"
    about = {path: line.split()[1:4] for path, line in zip(paths, lines, strict=True)}
    assert about["irn/pseudo_labels.h5"] == ["label", "2", "maps"]
    assert about["views.h5"] == ["features", "2", "samples"]
    assert about["mars/irn/centroids.h5"][0] == "table"


def test_linked_folders_are_listed_once(work, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/scratch").symlink_to(work / "mars")
    (tmp_path / "run/again").symlink_to(work / "mars")
    (tmp_path / "run/loop").symlink_to(tmp_path / "run")
    paths = [line.split()[0] for line in listed(capsys, tmp_path / "run")]
    assert [path.rsplit("/", 1)[1] for path in paths] == ["centroids.h5", "pseudo_labels.h5"]


def test_without_a_word_the_work_folder_is_listed(work, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(work.parents[2])
    list_stores.main()
    assert "work/sample/voc/cams.h5" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="work: no such folder here; change to the folder where you run snakemake"):
        list_stores.main()


def test_a_broken_store_stands_in_the_list_of_its_folder_with_the_reason(tmp_path, capsys):
    store(tmp_path / "a.h5", "label", {"x": HALF})
    (tmp_path / "b.h5").write_bytes(b"cut off")
    first, second = listed(capsys, tmp_path)
    assert "1 maps" in first and "not a readable HDF5 file" in second


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("none.h5", {}, "no such store"),
        ("index.csv", {}, "not a store; stores are .h5 files"),
        ("cams.h5", {"image": IDS[1]}, f"no map of image {IDS[1]}; it holds 1 images: {IDS[0]}, ..."),
        ("views.h5", {"image": IDS[1]}, "holds vectors of samples"),
        ("mars/irn/centroids.h5", {"image": IDS[1]}, "not a map store"),
        ("mars", {"image": IDS[1]}, "is a folder; with --image give one store"),
        ("scenes", {}, "no stores (.h5 files) below it"),
    ],
)
def test_what_cannot_be_listed_is_one_line_with_the_file(name, options, message, work):
    with pytest.raises(InputError) as error:
        list_stores.main(str(work / name), **options)
    assert str(error.value).startswith(f"{work / name}: ") and message in str(error.value)
    assert "\n" not in str(error.value)
