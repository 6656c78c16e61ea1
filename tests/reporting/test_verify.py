"""The numbers that `make verify` reads from the tables of a run."""

import pandas as pd
import pytest

import verify


def write(folder, target, rows):
    path = folder / f"results/{target}.csv"
    path.parent.mkdir(exist_ok=True)
    pd.DataFrame(rows, columns=["variant", "metric", "value"]).to_csv(path, index=False)


@pytest.fixture
def run(tmp_path):
    boxes = [("bas", "gt_known_loc", 90), ("bas", "top1_loc", 50), ("cam", "gt_known_loc", 70), ("cam", "top1_loc", 45)]
    write(tmp_path, "bas_cub_localization", boxes)
    means = [("base", "miou", 4), ("zeroseg", "miou", 14)]
    write(tmp_path, "zeroseg_voc_miou", [*means, ("base", "miou_foreground", 3), ("zeroseg", "miou_foreground", 55)])
    return tmp_path


def test_figures_are_those_of_the_row_and_the_metric(run):
    assert verify.metric("zeroseg", "miou_foreground", "zeroseg")(run) == 55
    assert verify.gain("zeroseg", "zeroseg", "base", "miou_foreground")(run) == 52
    assert verify.gain("zeroseg", "zeroseg", "base")(run) == 10
    assert verify.box_gain("cub", "gt_known_loc")(run) == 20
    with pytest.raises(ValueError):
        verify.metric("zeroseg", "segments_used", "zeroseg")(run)
