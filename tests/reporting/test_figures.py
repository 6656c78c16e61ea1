"""Pictures agree with their files: IoU of each class, losses, scores over thresholds, costs."""

import math

import pandas as pd
import pytest
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from maskmill.reporting.classes import LINE, class_ious, draw_classes
from maskmill.reporting.costs import draw_costs, duration_text, place_of, stage_costs
from maskmill.reporting.curves import (
    best_of,
    draw_losses,
    draw_search,
    draw_thresholds,
    read_losses,
    short_names,
    varied_settings,
)
from maskmill.reporting.tables import summary_page


def result_table(ious: dict[str, dict[str, float]], **columns) -> pd.DataFrame:
    """A result table of variants with the IoU of each class, whose mIoU is their mean."""
    rows = []
    for variant, values in ious.items():
        rows.append(
            {"variant": variant, "metric": "miou", "class_name": "", "value": sum(values.values()) / len(values)}
        )
        for metric, sign in (("iou", 1), ("fp", -1)):
            rows += [
                {"variant": variant, "metric": metric, "class_name": name, "value": sign * value}
                for name, value in values.items()
            ]
    given = {"data": "sample scenes val", "images": 6, "seed": 0, "paper_value": None, "paper_source": ""} | columns
    return pd.DataFrame(rows).assign(**given)


TABLE = result_table(
    {
        "barm": {"background": 80.0, "cat": 30.0, "dog": 40.0},
        "finetune": {"background": 70.0, "dog": 20.0},
        "joint": {"background": 90.0, "dog": 60.0},
    }
)


def test_bars_are_the_tables_ious_with_the_baseline_first_and_the_classes_in_order():
    bars = class_ious(TABLE, ["finetune", "barm"])
    assert list(bars.columns) == ["finetune", "barm"]
    assert list(bars.index) == ["mIoU", "foreground mean", "background", "cat", "dog"]
    assert bars["barm"].tolist() == [50.0, 35.0, 80.0, 30.0, 40.0]
    assert bars["finetune"].drop("cat").tolist() == [45.0, 20.0, 70.0, 20.0]
    assert math.isnan(bars["finetune"]["cat"]), "it occurs in neither truth nor prediction"


def test_bars_without_background_have_one_mean_and_leave_out_variants_that_are_not_there():
    bars = class_ious(result_table({"s": {"road": 70.0, "sky": 90.0}}), ["plain_decoder", "s", "m"])
    assert bars["s"].to_dict() == {"mIoU": 80.0, "road": 70.0, "sky": 90.0}


@pytest.mark.parametrize("count", [2, LINE + 1])
def test_many_classes_take_several_lines(tmp_path, count):
    names = ["background", *(f"class {number}" for number in range(1, count))]
    table = result_table({"largefov": dict.fromkeys(names, 50.0), "aspp_l": dict.fromkeys(names, 60.0)})
    draw_classes(table, [["largefov", "aspp_l"], ["not", "made"]], tmp_path / "bars.png", "title")
    with Image.open(tmp_path / "bars.png") as picture:
        assert (picture.height > 700) == (count > LINE)
        assert picture.info["dpi"] == pytest.approx((150, 150), abs=0.1)


def test_losses_are_read_from_the_log_beside_the_checkpoint_and_a_restart_hides_what_it_repeats(tmp_path):
    folder = tmp_path / "tensorboard/network"
    folder.mkdir(parents=True)
    for start, values in ((0, {1: 4.0, 11: 3.0, 21: 9.0}), (12, {21: 2.0})):
        with SummaryWriter(tmp_path / f"from {start}", purge_step=start) as writer:
            for step, value in values.items():
                writer.add_scalar("loss/supervised", value, step)
                writer.add_scalar("lr", 0.1, step)
        # Logs are read in the order of their names, which begin with the second of their start: the same one here.
        (log,) = (tmp_path / f"from {start}").iterdir()
        log.rename(folder / f"events.out.tfevents.{start:010}")
    losses = read_losses(tmp_path / "network.safetensors")
    assert losses.to_dict() == {"supervised": {1: 4.0, 11: 3.0, 21: 2.0}}
    assert losses.index.name == "step"


def test_a_training_without_a_log_is_an_empty_axis(tmp_path):
    empty = read_losses(tmp_path / "network.safetensors")
    assert empty.empty
    falling = pd.DataFrame({"a": [4.0, 0.1], "b": [None, 0.2]}, index=[1, 11])
    draw_losses({"without": empty, "one point": falling[:1], "falling": falling}, tmp_path / "losses.png", "title")
    assert (tmp_path / "losses.png").exists()


def test_checkpoints_are_named_below_the_folder_that_they_share():
    paths = ["work/voc/classifier/classifier.safetensors", "work/voc/students/irn/mars/student.safetensors"]
    assert short_names(paths) == ("work/voc", ["classifier/classifier", "students/irn/mars/student"])
    steps = [f"work/voc/barm/{name}/network.safetensors" for name in ("joint/step0", "barm/step1")]
    assert short_names(steps) == ("work/voc/barm", ["joint/step0", "barm/step1"])


@pytest.mark.slow
def test_curves_keep_the_best_line_at_each_threshold_of_each_split(tmp_path):
    rows = [("val", 1, 0.1, 10.0), ("val", 5, 0.1, 30.0), ("val", 1, 0.2, 20.0), ("heldout", 1, 0.1, 5.0)]
    curve = pd.DataFrame(rows, columns=["split", "top_k", "threshold", "gt_known_loc"])
    assert best_of(curve).values.tolist() == [["val", 0.1, 30.0], ["val", 0.2, 20.0], ["heldout", 0.1, 5.0]]
    seeds = pd.DataFrame({"threshold": [0.1, 0.2], "miou": [0.0, 0.0]})
    assert best_of(seeds).equals(seeds)
    for name, curves in {"boxes": {"CAM": curve, "BAS": curve}, "seeds": {"CAM": seeds}}.items():
        draw_thresholds(curves, tmp_path / f"{name}.png", "title")
    with Image.open(tmp_path / "boxes.png") as boxes, Image.open(tmp_path / "seeds.png") as one:
        assert boxes.width > one.width + 300, "an axis a split"


def test_a_search_has_an_axis_for_each_value_that_was_varied(tmp_path):
    tried = pd.DataFrame(
        {
            "stage": ["none", "coarse", "coarse", "fine"],
            "miou": [50.0, 52.0, 54.0, 55.0],
            "bilateral_sxy": [None, 30.0, 30.0, 30.0],
            "bilateral_srgb": [None, 5.0, 10.0, 12.0],
        }
    )
    assert varied_settings(tried) == ["bilateral_srgb"]
    draw_search(tried, tmp_path / "search.png", "title")
    draw_search(tried[:2], tmp_path / "one.png", "title")  # one setting: nothing was varied
    assert (tmp_path / "search.png").exists() and (tmp_path / "one.png").exists()


HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def test_costs_are_sums_over_jobs_and_the_largest_memory(tmp_path):
    jobs = {
        "voc/cams/1-of-2.tsv": "10.0\t0:00:10\t100.0\t-\t-\t-\t-\t-\t-\t5.0",
        "voc/cams/2-of-2.tsv": "20.0\t0:00:20\t300.0\t-\t-\t-\t-\t-\t-\t7.0",
        "merge_maps/voc/cams.tsv": "0.1\t0:00:00\t-\t-\t-\t-\t-\t-\t-\t0.0",
        "train_tiny_clip.tsv": "40.0\t0:00:40\t200.0\t-\t-\t-\t-\t-\t-\t30.0",
    }
    for name, line in jobs.items():
        path = tmp_path / "benchmarks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEADER + line + "\n")
    table = stage_costs(tmp_path / "benchmarks", ["voc"])
    assert table[["dataset", "stage", "jobs", "wall_s", "longest_s", "cpu_s"]].values.tolist() == [
        ["", "train_tiny_clip", 1, 40.0, 40.0, 30.0],
        ["voc", "cams", 2, 30.0, 20.0, 12.0],
        ["voc", "merge_maps", 1, 0.1, 0.1, 0.0],
    ]
    assert table["peak_mib"].tolist()[:2] == [200.0, 300.0] and math.isnan(table["peak_mib"][2])
    draw_costs(table, tmp_path / "costs.png", "title")
    assert (tmp_path / "costs.png").exists()
    assert stage_costs(tmp_path / "nothing", ["voc"]).empty


def test_a_benchmark_tells_its_stage_and_data_set_by_its_folders(tmp_path):
    for name, place in {
        "voc/evaluate/irn/pseudo_labels.tsv": ("voc", "evaluate"),
        "voc/build_index.tsv": ("voc", "build_index"),
        "mine/index_own.tsv": ("mine", "index_own"),
        "pairs/draw_pairs/1-of-2.tsv": ("pairs", "draw_pairs"),
        "merge_maps/voc/irn/pseudo_labels.tsv": ("voc", "merge_maps"),
        "train_mixreorg/groupvit.tsv": ("", "train_mixreorg"),
    }.items():
        assert place_of(tmp_path.relative_to(tmp_path) / name, {"voc", "mine", "pairs"}) == place


def test_times_are_in_the_unit_that_suits_them():
    assert [duration_text(seconds) for seconds in (0.25, 90, 5400)] == ["0.2 s", "1.5 min", "1.5 h"]


def test_the_page_has_the_aggregates_and_the_published_value_with_its_source():
    table = result_table({"label/mars": {"background": 80.0, "cat": 45.0}})
    table["paper_value"] = table["paper_value"].astype(object)
    table.loc[0, ["paper_value", "paper_source"]] = [69.8, "MARS, Table 3 <train>"]
    page = summary_page(table, "mars on voc")
    assert "<td>62.50</td>" in page and "80.00" not in page
    assert "miou 69.8 (MARS, Table 3 &lt;train&gt;)" in page
    assert "None" not in summary_page(result_table({"a": {"cat": 1.0}}), "nothing published")
