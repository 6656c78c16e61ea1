"""The rule `summary`: it reads the tables that are there and starts nothing else."""

import pandas as pd

from maskmill.reporting.tables import COLUMNS

TARGET = "results/summary.csv"


def write(project, value):
    """A table that cannot be made again: of another scale and seed, and without the files it was made of."""
    constants = {"method": "mars", "dataset": "voc", "scale": "paper", "data": "voc val", "images": 1449, "seed": 7}
    constants["settings"] = "s1"
    rows = [{"variant": "student/mars", "value": value}, {"variant": "student/baseline", "value": 60.0}]
    table = pd.DataFrame(rows).assign(**constants, metric="miou", class_name="", paper_value=69.8, paper_source="MARS")
    (project.folder / "results").mkdir(exist_ok=True)
    table[COLUMNS].to_csv(project.folder / "results/mars_voc_miou.csv", index=False)


def test_the_summary_is_of_the_tables_that_are_there_and_follows_them(project):
    assert "no result tables to summarise" in project.fail(TARGET)
    write(project, 65.0)
    assert project.planned(TARGET, "results/summary.md") == {"summary": 1}
    project.run(TARGET)
    row = pd.read_csv(project.folder / TARGET).iloc[0]
    assert (row["scale"], row["seeds"], row["gain"], row["paper_value"]) == ("paper", 7, 5.0, 69.8)
    assert "| 65.0 | 60.0 | +5.0 | 7 | 69.8 (MARS) |" in (project.folder / "results/summary.md").read_text()
    assert project.planned(TARGET) == {}
    write(project, 66.0)
    assert project.planned(TARGET) == {"summary": 1}
