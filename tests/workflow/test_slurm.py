"""The target on a real SLURM: a throw-away cluster of two nodes, and profiles/slurm as it is shipped."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TARGET = "results/mars_voc_miou.csv"
ABLATION = ",student/complement,"
CLASSIFIER = "work/sample/voc/classifier/classifier.safetensors"
CLUSTER = Path(__file__).parents[1] / "slurm/cluster.sh"
TINY = Path(__file__).parents[1] / "overlays/tiny.yaml"
# A job costs ten CPU seconds before it starts, so stages that follow each other share one, and so do those of several
# students. A node has CPUs for four at a time, and two GPUs.
GROUPS = {
    "data": ["draw_scenes", "build_index"],
    "uss": ["uss_neighbours", "train_uss", "uss_features"],
    "seeds": ["cams", "affinity_labels"],
    "debiasing": ["image_centroids", "debiased_centroids", "debias_labels"],
    "inference": ["predict", "crf_predictions"],
    "scores": ["evaluate"],
}
GROUPED = ["--groups", *(f"{rule}={group}" for group, rules in GROUPS.items() for rule in rules)]
GROUPED += ["--group-components", "inference=2", "scores=4"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Environment in which SLURM's commands speak to the cluster."""
    if "MASKMILL_SLURM" not in os.environ:
        pytest.skip("starts SLURM as root and takes minutes: set MASKMILL_SLURM=1, with Debian's slurm-wlm and munge")
    folder = tmp_path_factory.mktemp("cluster")
    try:
        subprocess.run([CLUSTER, "up", folder], check=True)
        yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    finally:
        subprocess.run([CLUSTER, "down", folder], check=True)


@pytest.fixture(scope="module")
def submit(cluster, tmp_path_factory, finished):
    """Runs targets through the cluster, without accounting; Snakemake queries states sooner than on a shared one."""
    project = type(finished)(tmp_path_factory.mktemp("submitted"))

    def run(target: str, *arguments: str) -> str:
        command = [sys.executable, "-m", "snakemake", target, "--profile", "profiles/slurm"]
        command += ["--configfile", str(TINY), *arguments]
        command += ["--slurm-init-seconds-before-status-checks", "2"]
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(command, cwd=project.folder, env=cluster, timeout=1800, **output)
        assert done.returncode == 0, done.stdout[-5000:]
        return done.stdout

    run.folder = project.folder
    return run


@pytest.mark.slow
def test_target_through_slurm_with_a_training_that_is_requeued_gives_the_same_table(submit, cluster, finished):
    # Pauses after each of its three iterations; SLURM runs the same job again until it is done.
    printed = submit(CLASSIFIER, "--config", "resources={gpu: 1}", "training={max_minutes: 0.0001}")
    job = re.search(r"rule_train_classifier/voc/(\d+)\.log", printed)[1]
    record = subprocess.run(["scontrol", "show", "job", job], env=cluster, capture_output=True, text=True).stdout
    assert "Restarts=2" in record and "JobState=COMPLETED" in record and "Partition=gpu" in record

    # Without the ablation, whose stages are those of the other students.
    printed = submit(TARGET, *GROUPED, "--config", "resources={gpu: 1}", "mars={ablations: []}")
    assert re.search(r"partition 'gpu' for job train_irn", printed)
    assert re.search(r"partition 'cpu' for job evaluate_seeds", printed)
    lines = (finished.folder / TARGET).read_text().splitlines()
    assert (submit.folder / TARGET).read_text().splitlines() == [line for line in lines if ABLATION not in line]
