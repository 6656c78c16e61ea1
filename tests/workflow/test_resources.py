"""What rules ask SLURM for, also when they are tried again, against the partitions of profiles/slurm."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake.cli import get_argument_parser
from snakemake_executor_plugin_slurm.partitions import Partition, PartitionLimits
from snakemake_executor_plugin_slurm.validation import validate_slurm_extra

from maskmill.workflow import stage

PROFILE = Path(__file__).resolve().parents[2] / "profiles/slurm"
LISTING = """
import json
include: "Snakefile"


for rule in workflow.rules:
    if rule.name not in workflow._localrules:
        for attempt in range(1, 4):
            names = [name for name in ("mem_mb", "runtime", "gpu", "_cores") if name in rule.resources]
            requests = {name: rule.resources[name].evaluate(None, attempt=attempt).value for name in names}
            print("asks", json.dumps({"rule": rule.name, "attempt": attempt, **requests}))
"""


@pytest.fixture
def requests(project):
    """What every rule that is sent to SLURM asks for at paper scale, at attempts 1 to 3."""
    (project.folder / "listing.smk").write_text(LISTING)
    printed = project.run("--snakefile", "listing.smk", "--list", "--config", "scale=paper", configfile=None)
    return [json.loads(line.removeprefix("asks ")) for line in printed.splitlines() if line.startswith("asks ")]


def test_what_a_rule_asks_for_fits_a_partition_at_every_attempt(requests):
    limits = yaml.safe_load((PROFILE / "partitions.yaml").read_text())["partitions"]
    partitions = [Partition(name, PartitionLimits(**maxima)) for name, maxima in limits.items()]
    assert len({row["rule"] for row in requests}) > 60
    for row in requests:
        job = SimpleNamespace(name=row["rule"], threads=row["_cores"], resources=row)
        fitting = [partition for partition in partitions if partition.score_job_fit(job) is not None]
        assert any(bool(partition.limits.max_gpu) == bool(row.get("gpu")) for partition in fitting), row


def test_downloads_run_where_snakemake_runs_and_trainings_ask_for_the_same_time_again(requests):
    assert not [row for row in requests if row["rule"].startswith("download")]
    times = {}
    for row in requests:
        if row["rule"].startswith("train_") and row["rule"] != "train_p2at":
            times.setdefault(row["rule"], set()).add(row["runtime"])
    assert len(times) > 15 and all(len(limits) == 1 for limits in times.values())


def test_the_plugin_takes_the_profile_s_way_to_ask_for_one_node():
    extra = yaml.safe_load((PROFILE / "config.yaml").read_text())["default-resources"]["slurm_extra"]
    assert extra == "'-N1'"
    validate_slurm_extra(SimpleNamespace(resources=SimpleNamespace(slurm_extra=extra.strip("'"))))


@pytest.mark.parametrize(
    ("setting", "save", "resources", "minutes"),
    [
        (None, 5, {}, None),
        (30, 5, {"runtime": 720}, 30),
        (None, 5, {"runtime": 720, "requeue_paused": 1}, 710),
        (None, 60, {"runtime": 720, "requeue_paused": 1}, 600),
        (None, 5, {"runtime": 12, "requeue_paused": 1}, 6),
        (1e-4, 5, {"runtime": 720, "requeue_paused": 1}, 1e-4),
        (1380, 5, {"runtime": 720, "requeue_paused": 1}, 710),
        (None, 5, {"requeue_paused": 1}, None),
    ],
)
def test_a_training_pauses_before_the_time_limit_of_a_job_that_is_run_again(setting, save, resources, minutes):
    assert stage._max_minutes({"max_minutes": setting, "save_minutes": save}, resources) == minutes


def test_the_partitions_are_found_from_every_folder(tmp_path, monkeypatch):
    """Snakemake looks for the file beside the profile that names it."""
    monkeypatch.chdir(tmp_path)
    arguments = get_argument_parser([str(PROFILE)]).parse_args(["--profile", str(PROFILE)])
    assert Path(arguments.slurm_partition_config) == PROFILE / "partitions.yaml"
