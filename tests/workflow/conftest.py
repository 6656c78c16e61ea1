"""Helpers that run the workflow as a user does."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

import faults
import warm
from maskmill.workflow.digest import MEMORY
from photos import OWN, write_photos

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests/overlays/tiny.yaml"
FOLDERS = ("rules", "scales", "examples", "workflow_scripts", "profiles", "envs", "report")


LONGEST = [f"workflow/test_{name}.py" for name in ("slurm", "paper_scale", "semi_supervised", "p2at", "faults")]
RUNS = {"project", "finished", "semi", "own", "bas", "barm", "localized", "p2at", "mixreorg", "zeroseg", "reported"}


def pytest_collection_modifyitems(items):
    """Tests that start the workflow are slow. The longest files come first, so that no process is left alone with one;
    SLURM's before all: others run while it waits for the cluster."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(f"{item.path.parent.name}/{item.path.name}", len(LONGEST)))
    for item in items:
        if RUNS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


def environment(fault: str | None) -> dict[str, str]:
    """The environment of a run in which a fault happens, if any; see tests/workflow/faults/sitecustomize.py."""
    return os.environ | (faults.variables(fault) if fault else {})


class Project:
    """A copy of the project in a folder of its own, so that a test may edit files."""

    def __init__(self, folder: Path):
        self.folder = folder
        if (folder / "Snakefile").exists():
            return
        for name in ("Snakefile", "config.yaml"):
            shutil.copy(ROOT / name, folder / name)
        for name in FOLDERS:  # with what numba has compiled before
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.egg-info"))
        # The copies share what is remembered of each module by its content, since to parse all of them takes a second.
        (ROOT / MEMORY).mkdir(parents=True, exist_ok=True)
        (folder / MEMORY).parent.mkdir()
        (folder / MEMORY).symlink_to(ROOT / MEMORY)

    def snakemake(
        self, *arguments: str, configfile: Path | None = TINY, fault: str | None = None
    ) -> subprocess.CompletedProcess:
        """Run Snakemake, on two cores unless the arguments say otherwise; output and errors in `stdout`."""
        command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
        if configfile:
            command += ["--configfile", str(configfile)]
        return warm.run(command, cwd=self.folder, env=environment(fault), merged=True)

    def run(self, *arguments: str, **options) -> str:
        """Run Snakemake, which must succeed; returns what it printed."""
        done = self.snakemake(*arguments, **options)
        assert done.returncode == 0, done.stdout[-5000:]
        return done.stdout

    def fail(self, *arguments: str, **options) -> str:
        """Run Snakemake, which must fail; returns the one line that explains it, without the word before."""
        done = self.snakemake(*arguments, **options)
        assert done.returncode != 0, done.stdout[-5000:]
        lines = {line for line in done.stdout.splitlines() if line.startswith(("error: ", "config: "))}
        assert len(lines) == 1, done.stdout[-5000:]
        return lines.pop().removeprefix("error: ")

    def start(self, *arguments: str, fault: str | None = None) -> subprocess.Popen:
        """Start Snakemake in a process group of its own, to kill without reaching others; end it with `output_of`."""
        command = [sys.executable, "-m", "snakemake", "--configfile", str(TINY), "--cores", "2", *arguments]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment(fault),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def output_of(self, running: subprocess.Popen, timeout: float = 600) -> str:
        """What it printed, when it and all that hold its output have ended; they are killed where they do not end."""
        try:
            return running.communicate(timeout=timeout)[0]
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            raise

    def wait_until_held(self, running: subprocess.Popen) -> None:
        """Wait until a fault of kind `hold` holds a stage; `release` lets it go on."""
        while not (self.folder / "held").exists():
            assert running.poll() is None, running.communicate()[0][-3000:]
            time.sleep(0.2)

    def release(self) -> None:
        (self.folder / "held").unlink()

    def planned(self, *arguments: str, **options) -> dict[str, int]:
        """Number of jobs of each rule that a dry run lists."""
        printed = self.run(*arguments, "--dry-run", **options)
        if "Nothing to be done" in printed:
            return {}
        table = printed.split("Job stats:")[-1].split("total")[0]
        return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}

    def partial_files(self) -> list[Path]:
        """Temporary files that a failed job left behind."""
        return [path for path in self.folder.rglob("*.partial") if ".snakemake" not in path.parts]


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path)


def shared(name: str, targets: list[str], tmp_path_factory, worker_id: str, prepare=None, **options) -> Project:
    """Targets, complete, at the tiny overlay: made once for all test processes, copied for each.

    Args:
        prepare: called with the project's folder first.
        options: of `Project.run`.
    """
    base = tmp_path_factory.getbasetemp()
    original = (base if worker_id == "master" else base.parent) / f"{name}_made"
    with FileLock(f"{original}.lock"):
        if not (original / "printed").exists():
            if original.exists():
                pytest.fail(f"the target of the fixture {name} could not be made; see the first failure")
            original.mkdir()
            if prepare:
                prepare(original)
            printed = Project(original).run(*targets, **options)
            (original / "printed").write_text(printed)
    folder = tmp_path_factory.mktemp(name)
    shutil.copytree(original, folder, dirs_exist_ok=True, symlinks=True)
    return Project(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id) -> Project:
    """The first target, complete. Tests must leave its files as they are."""
    return shared("finished", ["results/mars_voc_miou.csv"], tmp_path_factory, worker_id)


@pytest.fixture(scope="session")
def semi(tmp_path_factory, worker_id) -> Project:
    """CW-BASS's and MGD's targets and one exported student, complete. Tests must leave their files as they are."""
    targets = ["results/cwbass_voc_miou.csv", "results/mgd_voc_miou.csv", "models/mgd_light.onnx"]
    return shared("semi", targets, tmp_path_factory, worker_id)


@pytest.fixture(scope="session")
def own(tmp_path_factory, worker_id) -> Project:
    """The four targets that learn from images of one's own, complete. Tests must leave their files as they are."""
    targets = [f"results/{method}_mine_miou.csv" for method in ("mars", "bas", "cwbass", "mgd")]
    return shared("own", [*targets, *OWN], tmp_path_factory, worker_id, prepare=write_photos, configfile=None)


@pytest.fixture(scope="session")
def bas(tmp_path_factory, worker_id) -> Project:
    """The target of BAS, complete. Tests must leave its files as they are."""
    return shared("bas", ["results/bas_voc_miou.csv"], tmp_path_factory, worker_id)


@pytest.fixture(scope="session")
def barm(tmp_path_factory, worker_id) -> Project:
    """BARM's target, complete. Tests must leave its files as they are."""
    return shared("barm", ["results/barm_voc_miou.csv"], tmp_path_factory, worker_id)


@pytest.fixture(scope="session")
def localized(tmp_path_factory, worker_id) -> Project:
    """BAS' localisation targets, complete. Tests must leave their files as they are."""
    targets = ["results/bas_cub_localization.csv", "results/bas_ilsvrc_localization.csv"]
    return shared("localized", targets, tmp_path_factory, worker_id)


@pytest.fixture(scope="session")
def p2at(tmp_path_factory, worker_id) -> Project:
    """P2AT's targets and one exported model, complete. Tests must leave their files as they are."""
    targets = ["results/p2at_camvid_miou.csv", "results/p2at_camvid_speed.csv", "models/p2at_s.onnx"]
    return shared("p2at", targets, tmp_path_factory, worker_id)


@pytest.fixture(scope="session")
def mixreorg(tmp_path_factory, worker_id) -> Project:
    """MixReorg's targets, complete. Tests must leave their files as they are."""
    targets = [f"results/mixreorg_{dataset}_miou.csv" for dataset in ("voc", "context", "ade20k")]
    return shared("mixreorg", targets, tmp_path_factory, worker_id)


@pytest.fixture(scope="session")
def zeroseg(tmp_path_factory, worker_id) -> Project:
    """ZeroSeg's target on VOC, complete. Tests must leave its files as they are."""
    return shared("zeroseg", ["results/zeroseg_voc_miou.csv"], tmp_path_factory, worker_id)


@pytest.fixture(scope="session")
def reported(tmp_path_factory, worker_id) -> Project:
    """P2AT's table of one variant and its baseline, and the costs, made in one call."""
    targets = ["results/p2at_camvid_miou.csv", "results/costs.csv"]
    return shared("report", [*targets, "--config", "p2at={variants: {m: null, l: null}}"], tmp_path_factory, worker_id)
