"""`snakemake --report` and what is in it, on P2AT's table at the tiny overlay with one variant beside its baseline."""

import base64
import json
import re
from itertools import chain

import pandas as pd
import pytest
from PIL import Image

TARGET = "results/p2at_camvid_miou.csv"
TARGETS = (TARGET, "results/costs.csv")
ONE_VARIANT = ("--config", "p2at={variants: {m: null, l: null}}")  # as the fixture has it


@pytest.fixture(scope="module")
def page(reported) -> str:
    reported.run(*TARGETS, "--report", "report.html", *ONE_VARIANT)
    return (reported.folder / "report.html").read_text()


def embedded(page: str, name: str) -> dict:
    """A variable of the page's script, which is JSON."""
    return json.loads(re.search(rf"^ *var {name} = (\{{.*\}});?$", page, re.MULTILINE)[1])


def test_every_table_has_its_pictures_beside_it_and_costs_come_last(reported):
    assert {path.name for path in (reported.folder / "results").iterdir()} == {
        *(f"p2at_camvid_{name}" for name in ("miou.csv", "miou.html", "classes.png", "training.png")),
        *("costs.csv", "costs.png"),
    }
    for path in (reported.folder / "results").glob("*.png"):
        with Image.open(path) as picture:
            assert picture.info["dpi"] == pytest.approx((150, 150), abs=0.1)
    stages = set(pd.read_csv(reported.folder / "results/costs.csv")["stage"])
    assert {"draw_scenes_CamVid", "train_p2at", "evaluate", "p2at_table"} <= stages


def test_report_sorts_by_paper_and_data_set_and_explains_every_item(page):
    categories, items = embedded(page, "categories"), embedded(page, "results")
    listed = {category: sorted(chain(*places.values())) for category, places in categories.items()}
    assert listed == {
        "Costs": ["results/costs.csv", "results/costs.png"],
        "P2AT (Elhassan et al., 2024)": [
            f"results/p2at_camvid_{name}" for name in ("classes.png", "miou.csv", "miou.html", "training.png")
        ],
    }
    assert list(categories["P2AT (Elhassan et al., 2024)"]) == ["camvid"]
    assert set(items) == set(chain(*listed.values()))
    for path, item in items.items():
        assert item["labels"]["shows"], path
        assert len(item["caption"]) > 100 and "{{" not in item["caption"] and "problematic" not in item["caption"], path
    assert "no number here is a result on that data set" in items[TARGET]["caption"]
    assert "they are no results on the data sets whose names they bear" in page, "the first page"


def test_the_page_in_the_report_has_the_tables_scores(reported, page):
    uri = embedded(page, "results")["results/p2at_camvid_miou.html"]["data_uri"]
    text = base64.b64decode(uri.split("base64,")[1]).decode()
    table = pd.read_csv(reported.folder / TARGET)
    miou = table.query("metric == 'miou'")
    assert list(miou["variant"]) == ["s", "plain_decoder"]
    for variant, value in zip(miou["variant"], miou["value"], strict=True):
        assert re.search(rf"<td>{variant}</td>.*?<td>{value:.2f}</td>", text, re.DOTALL)


def test_nothing_is_left_to_do_and_costs_alone_count_again_only_what_is_new(reported):
    assert reported.planned(*TARGETS, *ONE_VARIANT) == {}
    reported.run("results/costs.csv", *ONE_VARIANT)
    assert reported.planned("results/costs.csv", *ONE_VARIANT) == {}
    (reported.folder / "benchmarks/sample/camvid/p2at_table.tsv").touch()
    assert reported.planned("results/costs.csv", *ONE_VARIANT) == {"costs": 1}


def test_a_deleted_picture_and_shard_come_back_when_they_are_named(reported):
    deleted = ["results/p2at_camvid_classes.png", "work/sample/camvid/p2at/s/val/argmax/1-of-1.h5"]
    for name in deleted:
        (reported.folder / name).unlink()
    assert reported.planned(TARGET, *ONE_VARIANT) == {}, "the page on reliability says so"
    reported.run(*deleted, *ONE_VARIANT)
    assert all((reported.folder / name).exists() for name in deleted)
    assert reported.planned(TARGET, *ONE_VARIANT) == {}


@pytest.mark.parametrize(("line", "planned"), [("EDITED = 1", {"p2at_table": 1}), ("# a comment", {})])
def test_editing_how_bars_are_drawn_reruns_the_table_and_no_network(reported, line, planned):
    path = reported.folder / "workflow_scripts/maskmill/reporting/classes.py"
    text = path.read_text()
    path.write_text(f"{text}\n{line}\n")
    try:
        assert reported.planned(TARGET, *ONE_VARIANT) == planned
    finally:
        path.write_text(text)


def test_costs_of_nothing_are_refused_in_one_line(project):
    line = project.fail("results/costs.csv")
    assert line.startswith("benchmarks/sample: no stage has run yet")


def test_costs_come_after_whatever_else_was_named(project):
    named = ["models/p2at_s.onnx", "work/sample/voc/index.csv", "summary", "results/costs.csv"]
    printed = project.run(*named, "--dry-run")
    inputs = re.search(r"rule costs:\n +input: (.*)\n", printed)[1].split(", ")
    assert inputs == ["models/p2at_s.onnx", "results/summary.csv", "results/summary.md", "work/sample/voc/index.csv"]


def test_costs_tell_images_of_ones_own_stage_by_stage(project):
    columns = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time"
    for stage in ("index_own", "train_classifier"):
        path = project.folder / f"benchmarks/sample/mine/{stage}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(columns + "\n2.0\t0:00:02\t100.0\t-\t-\t-\t-\t-\t-\t1.0\n")
    project.run("results/costs.csv")
    table = pd.read_csv(project.folder / "results/costs.csv")
    assert set(table["dataset"]) == {"mine"} and set(table["stage"]) == {"index_own", "train_classifier"}
