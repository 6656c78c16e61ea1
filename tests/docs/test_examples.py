"""The worked examples of the documentation: applied to a copy of the project as they are printed, they run.

A comment above a code block, which the built page does not show, says where the block belongs:

    <!-- new: PATH -->             a new file
    <!-- append: PATH -->          at the end of a file
    <!-- after: PATH | LINE -->    behind the only line of a file that reads so, but for its indentation
    <!-- replace: PATH | LINE -->  in place of that line
"""

import os
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

import warm
from maskmill.data.catalog import Dataset, Layout
from maskmill.data.sample_scenes import draw_stand_ins

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests/overlays/tiny.yaml"
MARKED = re.compile(r"^<!-- (new|append|after|replace): (\S+?)(?: \| (.*?))? -->\n```\w*\n(.*?)^```$", re.M | re.S)


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of what a run needs."""
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    unfinished = ("*.pyc.*", "*.tmp.*")  # what Python and numba write in another test process
    for name in ("rules", "scales", "workflow_scripts", "envs", "report"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.egg-info", *unfinished))
    return tmp_path


def apply(page: str, folder: Path) -> None:
    """Write the marked blocks of a page into a copy of the project."""
    blocks = MARKED.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert blocks
    for action, name, line, text in blocks:
        path = folder / name
        if action == "new":
            assert not path.exists(), name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif action == "append":
            path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
        else:
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            (number,) = (number for number, there in enumerate(lines) if there.strip() == line)
            lines[number] = text if action == "replace" else lines[number] + text
            path.write_text("".join(lines), encoding="utf-8")


def run(folder: Path, *command: str) -> str:
    """What a command prints; it must succeed, with the library of the copy."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "workflow_scripts")}
    done = warm.run([sys.executable, *command], cwd=folder, env=environment, merged=True)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def snakemake(folder: Path, *arguments: str) -> str:
    return run(folder, "-m", "snakemake", "--cores", "2", *arguments)


@pytest.mark.slow
def test_a_data_set_is_one_entry_in_the_catalog(copy):
    apply("add_data_set.md", copy)
    assert "deeplab_table" in snakemake(copy, "results/deeplab_street_miou.csv", "-n", "--quiet", "rules")

    layout = Layout(lists="ImageSets/Segmentation", masks=("SegmentationClass",))
    street = Dataset(
        name="street", classes=("background", "road", "car", "person"), folder="", origin="", layout=layout
    )
    draw_stand_ins(copy / "street", street, train=4, val=2, size=48)
    given = ["--config", "scale=small", f"data={{street: {{root: {copy / 'street'}}}}}"]
    snakemake(copy, "work/small/street/index.csv", *given)
    assert len(pd.read_csv(copy / "work/small/street/index.csv")) == 6
    assert "mars_table" in snakemake(copy, "results/mars_street_miou.csv", "-n", "--quiet", "rules", *given)


@pytest.mark.slow
def test_a_method_registers_itself(copy):
    apply("add_method.md", copy)
    snakemake(copy, "results/smooth_voc_miou.csv", "--configfile", str(TINY))
    table = pd.read_csv(copy / "results/smooth_voc_miou.csv")
    assert set(table["variant"]) == {"plain", "smooth"}
    assert "target that goes to all classes alike" in run(copy, "workflow_scripts/smooth/train_smooth.py", "--help")
    assert "smooth_table" in snakemake(copy, "-n", "--quiet", "rules"), "it belongs to the default targets"


def test_a_new_method_touches_few_shared_files():
    blocks = MARKED.findall((ROOT / "docs/add_method.md").read_text(encoding="utf-8"))
    assert len({name for action, name, *_ in blocks if action != "new"}) <= 4


@pytest.mark.slow
def test_a_backbone_is_a_function_and_its_name(copy):
    apply("add_backbone.md", copy)
    planned = snakemake(copy, "results/cwbass_voc_miou.csv", "-n", "--quiet", "rules", "--configfile", "regnet.yaml")
    assert "train_cwbass" in planned
    program = (
        "import torch; from maskmill.networks.backbones import build_backbone as build;"
        "network = build('regnet_y_400mf', output_stride=32).eval(); maps = network(torch.zeros(1, 3, 64, 64));"
        "assert [m.shape[1] for m in maps] == network.channels;"
        "assert [64 // m.shape[2] for m in maps] == network.strides"
    )
    run(copy, "-c", program)
