"""The table of all result tables: rows beside their baselines, means over seeds and over nothing else."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from maskmill.errors import InputError
from maskmill.evaluation.papers import HEADLINES, Headline
from maskmill.reporting.summary import as_csv, as_markdown, read_table, summarise
from maskmill.reporting.tables import COLUMNS
from results import summary

ROOT = Path(__file__).resolve().parents[2]
MGD = {"method": "mgd", "dataset": "voc", "scale": "sample", "data": "sample scenes val", "images": 150}
PAPER = (69.8, "MARS, VOC val; not comparable")


def table(values, seed=0, paper=(None, None), metric="miou", file="table.csv", **changes):
    """The aggregates of a result table whose variants have these values."""
    constants = {"settings": "s1"} | MGD | changes | {"seed": seed, "metric": metric, "class_name": None, "file": file}
    rows = [constants | {"variant": variant, "value": value} for variant, value in values.items()]
    return pd.DataFrame(rows).assign(paper_value=paper[0], paper_source=paper[1] or "")[[*COLUMNS, "file"]]


def light(taught, alone, **options):
    return table({"light_cached": taught, "light_supervised": alone}, **options)


def test_seeds_are_averaged_and_each_ones_value_is_kept():
    found = summarise([light(40, 30, seed=2, file="b"), light(44, 36, seed=0, file="a")])
    row = found.iloc[0]
    assert len(found) == 1 and (row["row"], row["baseline"]) == ("light_cached", "light_supervised")
    assert (row["seeds"], row["values"], row["baseline_values"]) == ((0, 2), (44, 40), (36, 30))
    assert (row["value"], row["baseline_value"], row["gain"]) == (42, 33, 9)


@pytest.mark.parametrize(
    "other",
    [
        {"scale": "small"},
        {"dataset": "cityscapes"},
        {"data": "sample scenes val; labels: SegNet ids"},
        {"images": 6},
        {"paper": PAPER},
        {"settings": "s2"},
    ],
)
def test_nothing_but_seeds_is_averaged(other):
    found = summarise([light(40, 30, file="a"), light(20, 10, seed=1, file="b", **other)])
    assert found["value"].tolist() == [40, 20] and found["seeds"].tolist() == [(0,), (1,)]


def test_rows_of_other_settings_stand_in_lines_of_their_own_and_are_named(caplog):
    """Also of the same seed: two values of alpha are no repetition."""
    found = summarise(
        [light(40, 30, file="a"), light(20, 10, file="b", settings="s2"), light(50, 20, seed=1, file="c")]
    )
    assert found[["settings", "seeds", "value"]].values.tolist() == [["s1", (0, 1), 45], ["s2", (0,), 20]]
    assert caplog.messages == ["mgd voc light_cached: not averaged over 2 settings: s1 in a and c; s2 in b"]
    assert "(150 images); settings s2 |" in as_markdown(found)
    assert "settings s" not in as_markdown(found.head(1))


def test_another_setting_of_the_baseline_alone_is_another_line():
    other = pd.concat([table({"light_cached": 20}, seed=1), table({"light_supervised": 10}, seed=1, settings="s2")])
    found = summarise([light(40, 30), other])
    assert found[["settings", "gain"]].values.tolist() == [["s1", 10], ["s1/s2", 10]]


def test_a_table_that_does_not_tell_its_settings_is_averaged_with_a_warning(tmp_path, caplog):
    for seed in (0, 1):
        light(40, 30, seed=seed).drop(columns=["file", "settings"]).to_csv(tmp_path / f"{seed}.csv", index=False)
    found = summarise([read_table(str(tmp_path / f"{seed}.csv")) for seed in (0, 1)])
    assert found["seeds"].tolist() == [(0, 1)]
    line = "0.csv: does not tell its settings, so that other settings may be averaged; make it again"
    assert caplog.messages[0] == f"{tmp_path}/{line}" and len(caplog.messages) == 2


def test_a_row_and_its_baseline_are_of_one_run():
    """Seed 1 has no baseline: its value must not be set against that of seed 0."""
    alone = table({"light_cached": 90}, seed=1, file="b")
    found = summarise([light(40, 30, file="a"), alone])
    assert found["values"].tolist() == [(40,)] and found["gain"].tolist() == [10]


def test_a_table_without_a_row_and_its_baseline_is_left_out_with_a_warning(caplog):
    largefov = table({"largefov": 50}, method="deeplab", file="deeplab.csv")
    assert summarise([light(40, 30, file="a"), largefov])["method"].tolist() == ["mgd"]
    assert "left out: deeplab.csv" in caplog.text
    with pytest.raises(InputError, match=r"deeplab\.csv: no method's row stands beside its baseline"):
        summarise([largefov])


def test_two_runs_of_one_seed_are_refused_with_both_files():
    with pytest.raises(InputError, match=r"^b: holds mgd light_cached of seed 0 as a does; give each run once$"):
        summarise([light(40, 30, file="a"), light(41, 31, file="b")])


def test_several_rows_of_a_table_have_their_own_baselines():
    values = {"15-1/finetune": 10, "15-1/barm": 30, "15-1/barm/step1": 50, "10-1/finetune": 5, "10-1/barm": 25}
    found = summarise([table(values, method="barm")])
    assert found[["row", "baseline", "gain"]].values.tolist() == [
        ["15-1/barm", "15-1/finetune", 20],
        ["10-1/barm", "10-1/finetune", 20],
    ]


def test_boxes_are_judged_by_their_own_metrics():
    tables = [table({"cam": 60, "bas": 90}, method="bas", dataset="cub", metric=m) for m in ("gt_known_loc", "pxap")]
    assert summarise(tables)["metric"].tolist() == ["gt_known_loc"]


def test_every_method_has_a_row_to_be_judged_by():
    pages = {page.stem for page in (ROOT / "docs/methods").glob("[a-z]*.md")} - {"index"}
    assert {method for method, headlines in HEADLINES.items() if headlines} == pages


def test_a_method_that_the_library_does_not_know_is_judged_by_the_headlines_that_are_given():
    rows = table({"toy": 3, "none": 1}, method="toy")
    found = summarise([rows], {"toy": [Headline("toy", "none")]})
    assert found[["method", "gain"]].values.tolist() == [["toy", 2]]
    with pytest.raises(InputError, match="no method's row stands beside its baseline"):
        summarise([rows])


def test_rows_and_baselines_are_named_as_the_configuration_names_them():
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    students = [f"{student}_{kind}" for student in config["mgd"]["students"] for kind in ("supervised", "cached")]
    scores = list(config["deeplab"]["variants"])
    variants = {
        "cwbass": ["supervised", *config["cwbass"]["ablations"]],
        "deeplab": [*scores, *(f"{variant}+crf" for variant in scores)],
        "mgd": students,
        "p2at": list(config["p2at"]["variants"]),
        "zeroseg": list(config["zeroseg"]["variants"]),
    }
    for method, names in variants.items():
        found = summarise([table(dict.fromkeys(names, 1.0), method=method)])
        assert len(found) == {"deeplab": 3, "mgd": len(config["mgd"]["students"])}.get(method, 1), method


def test_lists_are_joined_by_spaces_in_csv_and_a_mean_stands_before_its_values_in_markdown():
    found = summarise([light(40, 30, file="a", paper=PAPER), light(41, 31, seed=1, file="b", paper=PAPER)])
    line = "light_cached,light_supervised,miou,s1,0 1,40.000 41.000,30.000 31.000,40.500,30.500,10.000,69.8"
    assert line in as_csv(found)
    cells = [
        *("mgd voc", "sample: sample scenes val (150 images)", "light_cached", "light_supervised", "miou"),
        *("40.5 (40.0, 41.0)", "30.5 (30.0, 31.0)", "+10.0", "0, 1", "69.8 (MARS, VOC val; not comparable)"),
    ]
    assert f"\n| {' | '.join(cells)} |\n" in as_markdown(found)


def test_only_result_tables_are_read_and_only_their_aggregates(tmp_path):
    rows = light(40, 30).drop(columns="file")
    rows = pd.concat([rows, rows.assign(metric="iou", class_name="cat")])
    rows.to_csv(tmp_path / "mgd.csv", index=False)
    assert read_table(tmp_path / "mgd.csv")["metric"].tolist() == ["miou", "miou"]
    (tmp_path / "steps.csv").write_text("step,classes\n0,cat\n")
    assert read_table(tmp_path / "steps.csv") is None
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\xff\n")
    for name, message in (("none.csv", "no such table"), ("picture.csv", "not a CSV file")):
        with pytest.raises(InputError, match=message):
            read_table(tmp_path / name)


def test_other_tables_in_the_folder_are_left_out_with_a_line(tmp_path, caplog):
    caplog.set_level("INFO")
    light(40, 30).drop(columns="file").to_csv(tmp_path / "mgd.csv", index=False)
    (tmp_path / "steps.csv").write_text("step,classes\n0,cat\n")
    paths = {"csv": str(tmp_path / "summary.csv"), "markdown": str(tmp_path / "summary.md")}
    summary.main([str(tmp_path / "mgd.csv"), str(tmp_path / "steps.csv")], **paths)
    assert pd.read_csv(paths["csv"])["gain"].tolist() == [10]
    assert "left out" in caplog.text and "1 rows of 1 tables" in caplog.text
    with pytest.raises(InputError, match="no result tables to summarise"):
        summary.main([str(tmp_path / "steps.csv")], **paths)
