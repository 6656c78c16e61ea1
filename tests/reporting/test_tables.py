"""Result tables: columns, names of the data, and published numbers only for the rows that they belong to."""

import json

import pandas as pd

from maskmill.evaluation.papers import PaperValue
from maskmill.reporting.summary import read_table
from maskmill.reporting.tables import (
    COLUMNS,
    aggregates,
    data_name,
    partition_name,
    read_scores,
    result_rows,
    summary,
)
from results.result_table import main as result_table

SCORES = pd.DataFrame(
    {"metric": ["miou", "fp", "iou"], "class_name": ["", "", "cat"], "value": [50.0, 20.0, 60.0]},
)
CONSTANTS = {"method": "mars", "dataset": "voc", "scale": "small", "seed": 0, "settings": "s1"}


def rows(**changes):
    given = {"variant": "student/mars", "data": "voc val", "images": 7, "paper": None, "comparable": False} | changes
    return result_rows(SCORES, constants=CONSTANTS, **given)


def test_rows_have_the_house_columns():
    table = rows()
    assert list(table.columns) == COLUMNS
    assert (table["images"] == 7).all() and table["paper_value"].isna().all()


def test_paper_value_stands_beside_miou_alone_and_says_when_it_is_not_comparable():
    paper = PaperValue(69.8, "MARS, Table 3")
    table = rows(paper=paper)
    assert table["paper_value"].dropna().tolist() == [69.8]
    assert table.loc[table["metric"] == "miou", "paper_source"].item() == "MARS, Table 3; not comparable"
    assert rows(paper=paper, comparable=True)["paper_source"].iloc[0] == "MARS, Table 3"


def test_only_the_published_list_is_called_by_the_data_sets_name():
    split = {"list": "val", "published": "published"}
    assert data_name("voc", split, drawn=False) == ("voc val", True)
    assert data_name("voc", split, drawn=True) == ("sample scenes val", False)
    subset = {"list": "val", "published": "custom: 445 images, published 1,449"}
    assert data_name("voc", subset, drawn=False) == ("voc val (custom: 445 images, published 1,449)", False)


def test_images_of_ones_own_have_their_name():
    assert data_name("mine", {"list": "val", "published": "own"}, drawn=False) == ("mine val", False)
    partition = {"part": "all", "published": "own", "labelled": {"images": 6}, "unlabelled": {"images": 12}}
    assert partition_name(partition) == "; masks: 6 of 18"


def test_summary_has_a_line_a_variant():
    table = pd.concat([rows(), rows(variant="student/baseline")])
    assert len(summary(table).splitlines()) == 3


def test_a_partition_is_named_with_its_protocol_and_both_sizes():
    partition = {"protocol": "voc_blended", "part": "1_8", "published": "published"}
    partition |= {"labelled": {"images": 1323}, "unlabelled": {"images": 9259}}
    assert partition_name(partition) == "; masks: voc_blended 1/8, published, 1323 of 10582"


def test_a_score_that_nothing_counted_for_stays_a_number_and_a_class_may_be_called_na(tmp_path):
    (tmp_path / "scores.csv").write_text("metric,class_name,value\nmiou,,100.0\nfp,,\niou,NA,\niou,null,100.0\n")
    scores = read_scores(tmp_path / "scores.csv")
    assert scores["class_name"].tolist() == ["", "", "NA", "null"]
    assert scores["value"].dtype == float and scores["value"].isna().tolist() == [False, True, True, False]


def test_a_table_bears_empty_scores(tmp_path):
    """A folder whose masks to score on show no class has no score of the classes."""
    empty = "metric,class_name,value\nmiou,,\nfp,,\nfn,,\n"
    for name, text in (("supervised", empty), ("cwbass", "metric,class_name,value\nmiou,,50.0\nfp,,\niou,NA,50.0\n")):
        (tmp_path / f"{name}.csv").write_text(text)
    splits = {role: {"list": role, "published": "own", "images": 3} for role in ("val", "train")}
    (tmp_path / "manifest.json").write_text(json.dumps(splits))
    result_table(
        *(str(tmp_path / "manifest.json"), [str(tmp_path / f"{name}.csv") for name in ("supervised", "cwbass")]),
        *(str(tmp_path / "table.csv"), str(tmp_path / "page.html")),
        method="cwbass",
        roles={"supervised": "val", "cwbass": "train"},
        settings={"supervised": "s1", "cwbass": "s1"},
        **{"published": False, "dataset": "mine", "drawn": False, "scale": "small", "seed": 0},
        picture=str(tmp_path / "picture.png"),
        compared=[["supervised", "cwbass"]],
    )
    table = pd.read_csv(tmp_path / "table.csv", keep_default_na=False)
    assert table["value"].tolist() == ["", "", "", "50.000", "", "50.000"]
    assert aggregates(table.assign(value=pd.to_numeric(table["value"])))["miou"].tolist()[1:] == [50.0]
    assert read_table(str(tmp_path / "table.csv"))["metric"].tolist() == ["miou", "fp", "fn", "miou", "fp"]
