"""Commands that look into what the workflow left: list_store, show_stages, compare_labels, export_labels."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

import compare_labels
import export_labels
import list_store
import show_stages
from maskmill.data.index import Record, write_index
from maskmill.data.voc import write_mask
from maskmill.errors import InputError
from maskmill.storage.features import write_features
from maskmill.storage.maps import create_maps, merge_maps
from maskmill.storage.tables import write_table

IDS = ("2012_000001", "2012_000002")
CAT, DOG, BIASED, IGNORE = 8, 12, 254, 255
HALF = np.repeat(np.array([[0, CAT]], np.uint8), 8, axis=1).repeat(12, axis=0)  # [12, 16]: the right half is a cat


def store(path, kind, maps, inputs=(), **attributes):
    path.parent.mkdir(parents=True, exist_ok=True)
    with create_maps(path, kind, producer="test", parameters={"alpha": 0.5}, inputs=inputs) as writer:
        for image_id, array in maps.items():
            writer.write(image_id, array, **attributes)
    return path


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A work folder with two images, truth, labels before (in two shards) and after debiasing, and scores."""
    root = tmp_path_factory.mktemp("run")
    folder = root / "work/sample/voc"
    (folder / "scenes").mkdir(parents=True)
    records = []
    for image_id in IDS:
        image, mask = (f"work/sample/voc/scenes/{image_id}{end}.png" for end in ("", "_mask"))
        Image.fromarray(np.full((12, 16, 3), 90, np.uint8)).save(root / image)
        write_mask(root / mask, HALF)
        records.append(Record(image_id, image, mask, 12, 16, (CAT,), ("train",)))
    write_index(folder / "index.csv", records)
    wrong = HALF.copy()
    wrong[:6, :8] = DOG  # a quarter of the image
    shards = [store(folder / f"irn/pseudo_labels/{n + 1}-of-2.h5", "label", {i: wrong}) for n, i in enumerate(IDS)]
    merge_maps(shards, folder / "irn/pseudo_labels.h5")
    better = np.where(wrong == DOG, BIASED, wrong).astype(np.uint8)
    maps = {IDS[0]: better, IDS[1]: wrong}
    store(folder / "mars/irn/pseudo_labels.h5", "label", maps, [folder / "index.csv"])
    rng = np.random.default_rng([3])
    planes = {IDS[0]: rng.random((2, 3, 4)).astype(np.float16)}
    store(folder / "cams.h5", "cam", planes, classes=[CAT, DOG])
    store(folder / "cache/logits.h5", "logits", planes)
    store(folder / "cache/features.h5", "features", planes)
    store(folder / "cache/confidence.h5", "confidence", {IDS[0]: np.full((12, 16), 200, np.uint8)})
    store(folder / "cache/scores.h5", "probability", {IDS[0]: np.ones((2, 5), np.float32)})
    write_table(folder / "mars/irn/centroids.h5", {"images": np.array(IDS), "counts": np.arange(2)})
    keys = {"keys": list(IDS), "compute": lambda rows: np.zeros((len(rows), 3, 4)), "shape": (3, 4)}
    write_features(folder / "views.h5", **keys, producer="test", parameters={}, inputs=[])
    return folder


# ---- list_store


def listed(capsys, path, **options) -> list[str]:
    list_store.main(str(path), **options)
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
    assert {"kind: table, one dataset a column", "counts: int64 2"} <= set(lines)


def test_one_images_labels_are_listed_with_the_share_of_each_class(work, capsys):
    lines = listed(capsys, work / "mars/irn/pseudo_labels.h5", image=IDS[0])
    assert lines[-3:] == ["background: 25.0 %", "cat: 50.0 %", "removed as biased: 25.0 %"]
    assert "map: uint8 12 x 16, 0 to 254" in lines


def test_one_batchs_labels_are_listed_with_its_images(work, capsys):
    with create_maps(work / "batches.h5", "batch_label", producer="test") as store:
        store.write("batch_000003", np.full((2, 2, 4, 4), 8, np.uint8), labelled=IDS, unlabelled=IDS[::-1])
    lines = listed(capsys, work / "batches.h5", image="batch_000003")
    assert {"map: uint8 2 x 2 x 4 x 4, 8 to 8", f"labelled: {list(IDS)}", "cat: 100.0 %"} <= {
        line.strip() for line in lines
    }


def test_one_images_activations_are_listed_class_by_class(work, capsys):
    lines = listed(capsys, work / "cams.h5", image=IDS[0])
    assert lines[-2].startswith("cat: 0.") and lines[-1].startswith("dog: 0.")
    assert listed(capsys, work / "cams.h5", image=IDS[0], dataset="coco")[-2].startswith("truck: ")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("none.h5", {}, "no such store"),
        ("index.csv", {}, "not a readable HDF5 file"),
        ("cams.h5", {"image": IDS[1]}, f"no map of image {IDS[1]}; it holds 1 images: {IDS[0]}, ..."),
        ("views.h5", {"image": IDS[1]}, "holds vectors of samples"),
        ("mars/irn/centroids.h5", {"image": IDS[1]}, "not a map store"),
    ],
)
def test_what_cannot_be_listed_is_one_line_with_the_file(name, options, message, work):
    with pytest.raises(InputError) as error:
        list_store.main(str(work / name), **options)
    assert str(error.value).startswith(f"{work / name}: ") and message in str(error.value)
    assert "\n" not in str(error.value)


# ---- show_stages


def shown(monkeypatch, **options):
    """The panels that would be drawn, and the title."""
    drawn = {}

    def draw(image, panels, path, title, dataset):
        drawn.update(image=image, panels={panel.title: panel for panel in panels}, title=title)

    monkeypatch.setattr(show_stages, "draw_stages", draw)
    show_stages.main(output="unused.png", **options)
    return drawn


def test_all_stores_below_a_folder_that_hold_the_image_are_shown_with_its_miou(work, monkeypatch, caplog):
    drawn = shown(monkeypatch, image=IDS[0], folder=str(work))
    forms = {title.replace("\n", "|"): panel.form for title, panel in drawn["panels"].items()}
    # Labels before: background 48 of 96 right, cat all of 96, dog none of 48. After: 254 counts as background.
    assert forms == {
        "truth": "labels",
        "irn/pseudo_labels|mIoU 50.0": "labels",
        "mars/irn/pseudo_labels|mIoU 100.0": "labels",
        "cams|cat": "heat",
        "cams|dog": "heat",
        "cache/logits|softmax, strongest class": "heat",
        "cache/features|principal components": "colours",
        "cache/confidence": "heat",
    }
    assert drawn["title"] == f"{IDS[0]}: cat" and drawn["image"].shape == (12, 16, 3)
    assert drawn["panels"]["cache/confidence"].values.max() == pytest.approx(200 / 255)
    assert "scores.h5: its map of kind probability is no picture" in caplog.text


def test_stores_that_are_named_are_shown_in_their_order(work, monkeypatch):
    monkeypatch.chdir(work)
    paths = [str(work / "mars/irn/pseudo_labels.h5"), "irn/pseudo_labels/2-of-2.h5"]
    titles = list(shown(monkeypatch, image=IDS[1], stores=paths)["panels"])
    assert titles == ["truth", "mars/irn/pseudo_labels\nmIoU 50.0", "irn/pseudo_labels\nmIoU 50.0"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": IDS[0]}, "give either --stores"),
        ({"image": "2012_9", "folder": "."}, "no map store below it holds image 2012_9"),
        ({"image": IDS[0], "folder": "none"}, "no such folder"),
        ({"image": IDS[1], "stores": ["cams.h5"]}, f"no map of image {IDS[1]}"),
        ({"image": IDS[0], "stores": ["mars/irn/centroids.h5"]}, "not a map store"),
        ({"image": IDS[0], "stores": ["cams.h5"], "dataset": "vok"}, "--dataset: 'vok' is not one of voc"),
    ],
)
def test_what_cannot_be_shown_is_one_line(options, message, work, monkeypatch):
    monkeypatch.chdir(work)
    with pytest.raises(InputError) as error:
        show_stages.main(output="picture.png", **options)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (work / "picture.png").exists()


# ---- compare_labels


def compared(capsys, **options) -> list[dict]:
    compare_labels.main(**options)
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def pair(work) -> dict:
    return {"first": str(work / "irn/pseudo_labels.h5"), "second": str(work / "mars/irn/pseudo_labels.h5")}


def test_two_stores_are_compared_by_class_and_image_and_with_the_truth(work, capsys):
    """Both have 48 background, 96 cat and 48 dog pixels an image; in one image the dog becomes background."""
    rows = compared(capsys, **pair(work))
    by_key = {row["image_id"] or row["class_name"]: row for row in rows}
    assert list(by_key) == ["", "background", "cat", "dog", IDS[0], IDS[1]], "the image that changed most comes first"
    values = {key: [row[name] for name in ("changed", "agreement", "first", "second")] for key, row in by_key.items()}
    # Over both images: background 96 -> 144 of which 96 agree; dog 96 -> 48.
    assert values["background"] == ["0.00", "66.67", "50.00", "75.00"]
    assert values["cat"] == ["0.00", "100.00", "100.00", "100.00"]
    assert values["dog"] == ["50.00", "50.00", "0.00", "0.00"]
    assert values[""] == ["12.50", "72.22", "50.00", "58.33"]
    assert values[IDS[0]] == ["25.00", "50.00", "50.00", "100.00"]
    assert values[IDS[1]] == ["0.00", "100.00", "50.00", "50.00"]


def test_scores_can_be_restricted_to_some_classes(work, capsys):
    rows = compared(capsys, **pair(work), classes=["cat"], images=0)
    assert [row["class_name"] for row in rows] == ["", "background", "cat"]
    assert rows[0]["first"] == "75.00", "of background 50 and cat 100"
    with pytest.raises(InputError, match="unknown class 'catt'; did you mean 'cat'"):
        compare_labels.main(**pair(work), classes=["catt"])


def test_without_masks_two_stores_are_compared_with_each_other_alone(tmp_path, capsys):
    labels = np.array([[0, CAT, IGNORE, CAT]], np.uint8)
    paths = {"first": store(tmp_path / "a.h5", "label", {"x": labels})}
    paths["second"] = store(tmp_path / "b.h5", "label", {"x": np.array([[0, CAT, CAT, BIASED]], np.uint8)})
    rows = compared(capsys, **{name: str(path) for name, path in paths.items()}, dataset="voc", images=0)
    # Of the three pixels that neither ignores, background 1 of 2 and cat 1 of 2 agree.
    assert list(rows[0].values()) == ["", "", "50.00", "50.00", "", ""]
    assert [row["class_name"] for row in rows[1:]] == ["background", "cat"]


def test_the_comparison_is_written_whole_where_a_file_is_named(work, tmp_path, capsys):
    printed = compared(capsys, **pair(work))
    compare_labels.main(**pair(work), output=str(tmp_path / "changes.csv"))
    with open(tmp_path / "changes.csv", newline="") as file:
        assert list(csv.DictReader(file)) == printed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"second": "cache/features.h5"}, "cache/features.h5: holds features, not labels"),
        ({"first": "views.h5"}, "views.h5: holds vectors of samples"),
        ({"second": "irn/pseudo_labels/1-of-2.h5"}, f"1 images are in one of them only, e.g. {IDS[1]}"),
        ({"second": "none.h5"}, "none.h5: no such map store"),
    ],
)
def test_stores_that_cannot_be_compared_are_one_line(changes, message, work, monkeypatch):
    monkeypatch.chdir(work)
    with pytest.raises(InputError) as error:
        compare_labels.main(**pair(work) | changes)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_labels_of_an_unknown_data_set_want_its_name(tmp_path):
    path = str(store(tmp_path / "a.h5", "label", {"x": HALF}))
    with pytest.raises(InputError, match="say whose classes it has with --dataset"):
        compare_labels.main(path, path)


# ---- export_labels


def test_labels_are_exported_with_removed_pixels_as_they_are_told(work, tmp_path):
    export_labels.main(str(work / "mars/irn/pseudo_labels.h5"), str(tmp_path), biased=255)
    with Image.open(tmp_path / f"{IDS[0]}.png") as mask:
        assert mask.mode == "P" and np.unique(mask).tolist() == [0, CAT, 255]
    with pytest.raises(InputError, match="--biased is 7; choose 0"):
        export_labels.main(str(work / "mars/irn/pseudo_labels.h5"), str(tmp_path), biased=7)
    with pytest.raises(InputError, match=r"cams\.h5: holds cam, not labels"):
        export_labels.main(str(work / "cams.h5"), str(tmp_path))
