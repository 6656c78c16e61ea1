"""Result tables: columns, names of the data, and published numbers only for the rows that they belong to."""

import pandas as pd

from maskmill.evaluation.papers import PaperValue
from maskmill.reporting.tables import COLUMNS, data_name, partition_name, result_rows, summary

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
