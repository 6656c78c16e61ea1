"""Scripts run under Snakemake and by hand with the same arguments."""

import subprocess
import sys
from pathlib import Path

import pytest

import stage

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow_scripts"
STAGES = sorted(p.name for p in SCRIPTS.glob("*.py") if p.name not in ("stage.py", "code_digest.py"))
COMMANDS = [
    *("compare_labels.py", "export_labels.py", "import_group_vit.py", "list_store.py", "segment.py"),
    *("segment_open.py", "show_stages.py"),
]
TORCH_FREE = [
    *("build_index.py", "compare_labels.py", "evaluate.py", "export_labels.py", "list_store.py", "merge_maps.py"),
    "show_stages.py",
]  # torch takes seconds to import


def by_hand(script, *arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPTS / script), *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("script", TORCH_FREE)
def test_help_names_the_arguments_and_says_what_goes_in_and_out(script):
    shown = by_hand(script, "--help")
    assert shown.returncode == 0
    assert "--" in shown.stdout and "Out:" in shown.stdout


@pytest.mark.parametrize("script", TORCH_FREE)
def test_what_needs_no_network_starts_without_torch(script):
    read = f"import sys, {script.removesuffix('.py')}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", read], cwd=SCRIPTS, check=False).returncode == 0


@pytest.mark.parametrize("script", [s for s in STAGES if s not in COMMANDS])
def test_every_script_belongs_to_a_rule_of_its_name(script):
    rules = "\n".join(path.read_text() for path in (SCRIPTS.parent / "rules").glob("*.smk"))
    name = script.removesuffix(".py")
    assert f'"../workflow_scripts/{script}"' in rules
    several = {
        "draw_curves",
        "draw_training",
        "result_table",
        "export_onnx",
        "incremental_steps",
    }  # serve rules named after what they make
    assert f"rule {name}:" in rules or name in several


def test_text_lists_and_numbers_are_read_from_the_command_line_as_what_they_are(monkeypatch):
    """An image id with an underscore is a number in YAML; words after a name are one list."""

    def main(image: str, stores: list[str], sizes: list[int], score: float = 1.0, folder: str | None = "a") -> None:
        pass

    options = "--image 2007_000032 --stores a.h5 [2007_01,b.h5] 2008_02 --sizes 1_0 --score 2 --folder null"
    monkeypatch.setattr(sys, "argv", ["main", *options.split()])
    assert stage._from_command_line(main) == {
        "image": "2007_000032",
        "stores": ["a.h5", "2007_01", "b.h5", "2008_02"],
        "sizes": [10],
        "score": 2,
        "folder": None,
    }


def test_a_bad_input_by_hand_is_one_line_and_exit_code_1(tmp_path):
    done = by_hand("merge_maps.py", "--shards", f"[{tmp_path}/no.h5]", "--maps", f"{tmp_path}/all.h5")
    assert done.returncode == 1
    assert done.stderr.strip() == f"error: {tmp_path}/no.h5: no such map store; run snakemake to make it"
    assert not (tmp_path / "all.h5").exists()


def test_conda_environment_pins_what_the_virtual_environment_has():
    root = SCRIPTS.parent
    pins = set((root / "envs/constraints.txt").read_text().lower().splitlines())
    listed = [line.strip("- ").strip() for line in (root / "envs/maskmill.yaml").read_text().splitlines()]
    conda = [line.lower() for line in listed if "==" in line]
    assert len(conda) > 15 and set(conda) <= pins
