"""Names that Snakemake would read as patterns, and workflows of others that take this one in."""

import os
import signal
import sys
from pathlib import Path

import pytest

import warm
from photos import MINE, OWN, write_photos

ROOT = Path(__file__).resolve().parents[2]
MODULE = """
module maskmill:
    snakefile: "{root}/Snakefile"
    config: {{"seed": 3, "data": {{"sample": {{"val": 2}}}}}}

use rule * from maskmill as mm_*
"""
INCLUDE = 'include: "{root}/Snakefile"\n'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "rule"), [(MODULE, "mm_mars_table"), (INCLUDE, "mars_table")], ids=["module", "include"]
)
def test_another_workflow_takes_this_one_in(tmp_path, text, rule):
    """Paths and the library are those of this checkout, not of the folder of the other Snakefile."""
    (tmp_path / "Snakefile").write_text(text.format(root=ROOT))
    command = [sys.executable, "-m", "snakemake", "results/mars_voc_miou.csv", "--cores", "1", "-n", "--quiet", "rules"]
    done = warm.run(command, cwd=tmp_path, env=dict(os.environ), merged=True)
    assert done.returncode == 0 and f"\n{rule} " in done.stdout, done.stdout[-3000:]


def test_a_checkout_in_a_folder_with_braces_is_refused(project):
    folder = project.folder.rename(project.folder.with_name("{a}"))
    line = type(project)(folder).fail("results/mars_voc_miou.csv", "-n")
    assert line == f"config: {folder}: Snakemake takes braces in this folder's name for wildcards; rename it"


def test_braces_in_names_of_ones_own_are_no_wildcards(project):
    """A class called {dataset} is not called mine, and a folder {photos} is no pattern."""
    write_photos(project.folder)
    (project.folder / "photos").rename(project.folder / "{photos}")
    own = MINE.replace("images: photos", "images: '{photos}'").replace("[cat, ", "['{dataset}', ")
    (project.folder / "mine.yaml").write_text(own)
    tags = project.folder / "tags.csv"
    tags.write_text(tags.read_text().replace("cat", "{dataset}"))
    project.run("work/sample/mine/index.csv", *OWN, configfile=None)
    names = (project.folder / "work/sample/mine/classes.txt").read_text().splitlines()
    assert "{dataset}" in names and "mine" not in names


def test_a_sigterm_is_answered_in_one_line_that_says_how_to_end_now(project):
    target = "work/sample/voc/classifier/classifier.safetensors"
    running = project.start(target, fault="train_classifier.py torch:Tensor.backward 2 hold")
    try:
        project.wait_until_held(running)
        os.kill(running.pid, signal.SIGTERM)
        line = next(line for line in running.stdout if "SIGTERM" in line)
        assert f"waits for the jobs that run, be it hours; to end them now: kill -KILL {running.pid}, then" in line
        assert running.poll() is None
        os.kill(running.pid, signal.SIGKILL)  # the held training cannot end by itself
    finally:
        project.output_of(running, timeout=60)
    assert running.returncode != 0
