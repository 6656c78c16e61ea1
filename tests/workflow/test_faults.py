"""Whatever is killed, the next call completes, with the table of an undisturbed run, bit for bit."""

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import h5py
import pytest
import torch

from maskmill.storage.checkpoints import load_tensors

TARGET = "results/mars_voc_miou.csv"
WORK = "work/sample/voc"


@pytest.fixture
def begun(finished, tmp_path):
    """Copies the finished target, less the table and some files or folders, which are to be made anew."""

    def copy(*missing: str):
        shutil.copytree(finished.folder, tmp_path, dirs_exist_ok=True, symlinks=True)
        (tmp_path / TARGET).unlink()
        for name in missing:
            path = tmp_path / WORK / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return type(finished)(tmp_path)

    return copy


def processes_in(project) -> list[int]:
    """Processes whose working folder is the project's."""
    processes = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended in between, or defunct
            if (folder / "cwd").readlink() == project.folder:
                processes.append(int(folder.name))
    return processes


def assert_all_end(project) -> None:
    """No process of a run is left, at once or as soon as the system has ended it."""
    until = time.monotonic() + 60
    while processes_in(project) and time.monotonic() < until:
        time.sleep(0.1)
    assert processes_in(project) == []


def table(project) -> bytes:
    return (project.folder / TARGET).read_bytes()


@pytest.mark.parametrize(
    ("missing", "fault", "left"),
    [
        (
            ["students/irn/mars/val"],
            "crf_predictions.py maskmill.storage.maps:MapWriter.write 2 kill",
            "students/irn/mars/val/predictions/.*.h5.partial",
        ),
        (
            ["uss/features", "uss/features.h5", "mars", "students/irn/complement", "students/irn/mars"],
            "uss_features.py h5py:Group.create_dataset 5 kill",
            "uss/features/.*.h5.partial",
        ),
        (
            ["students/irn/mars"],
            "train_mars_student.py torch:Tensor.backward 3 kill",
            "students/irn/mars/student.safetensors.resume",
        ),
    ],
    ids=["crf shard", "feature writer", "student"],
)
def test_a_killed_stage_is_finished_by_the_next_call(finished, begun, missing, fault, left):
    """`left` is what the killed process leaves behind: it was in the middle of its work."""
    project = begun(*missing)
    # With two processes of the CRF, which are to end with their stage.
    settings = ("training={save_minutes: 0}", "resources={threads_crf: 2}")
    killed = project.snakemake(TARGET, "--config", *settings, fault=fault)
    assert_all_end(project)
    assert killed.returncode != 0, killed.stdout[-3000:]
    assert list((project.folder / WORK).glob(left)), killed.stdout[-3000:]
    assert not (project.folder / TARGET).exists()
    project.run(TARGET, "--rerun-incomplete")
    assert table(project) == table(finished)
    assert not project.partial_files() and not list(project.folder.rglob("*.resume"))


def test_a_second_run_in_the_folder_is_refused_and_a_killed_snakemake_is_taken_up(finished, begun):
    project = begun("students/irn/mars/val")
    settings = ("--config", "resources={threads_crf: 2}")
    running = project.start(TARGET, *settings, fault="crf_predictions.py maskmill.storage.maps:MapWriter.write 2 hold")
    try:
        project.wait_until_held(running)
        second = project.snakemake(TARGET)
        assert second.returncode != 0 and "Directory cannot be locked" in second.stdout
        assert "no other Snakemake process" in second.stdout and "--unlock" in second.stdout
    finally:
        os.kill(running.pid, signal.SIGKILL)  # it alone: its stages end with it
    project.output_of(running)
    assert_all_end(project)
    assert "Directory cannot be locked" in project.snakemake(TARGET).stdout
    project.run(TARGET, "--unlock")
    project.run(TARGET, "--rerun-incomplete")
    assert table(project) == table(finished)
    assert not project.partial_files()


def test_a_training_on_two_devices_ends_with_snakemake_and_goes_on_to_what_one_device_gives(finished, project):
    """Two processes of a rule's script, each with one that loads its input; processes on a CPU stand in for GPUs."""
    checkpoint = f"{WORK}/classifier/classifier.safetensors"
    settings = ("--config", "resources={gpu: 2}", "training={workers: 1, save_minutes: 0}")
    hold = "train_classifier.py torch:Tensor.backward 2 hold"
    running = project.start(checkpoint, *settings, fault=hold)
    try:
        project.wait_until_held(running)
        assert len(processes_in(project)) == 5
    finally:
        os.kill(running.pid, signal.SIGKILL)
    project.output_of(running)
    assert_all_end(project)
    project.run(checkpoint, "--unlock")
    printed = project.run(checkpoint, "--rerun-incomplete", "--config", "resources={gpu: 2}")
    assert "at iteration 1" in printed
    one, two = (load_tensors(folder / checkpoint)[0] for folder in (finished.folder, project.folder))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-3)


def test_number_of_cores_and_of_shards_does_not_matter(finished, project):
    project.run(TARGET, "--config", "shards=2", "--cores", "1")
    assert len(list((project.folder / WORK / "cams").glob("*-of-2.h5"))) == 2
    assert table(project) == table(finished)


def test_a_damaged_shard_is_named_and_the_run_after_its_removal_completes(finished, begun):
    scores = [f"students/irn/mars/val/predictions_{kind}.csv" for kind in ("scores", "confusion")]
    project = begun(*scores)
    shard = project.folder / WORK / "students/irn/mars/val/predictions/1-of-1.h5"
    with h5py.File(shard) as file:
        position = next(iter(file["maps"].values())).id.get_chunk_info(0).byte_offset
    damaged = bytearray(shard.read_bytes())
    damaged[position + 10] ^= 0xFF
    shard.write_bytes(damaged)
    line = project.fail(TARGET)
    name = str(shard.relative_to(project.folder))
    assert line.startswith(name) and "is damaged" in line and f"delete {name} and " in line
    assert not (project.folder / TARGET).exists() and not project.partial_files()
    shard.unlink()
    shard.parent.with_suffix(".h5").unlink()
    project.run(TARGET)
    assert table(project) == table(finished)
