"""Scripts run under Snakemake and by hand with the same arguments."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.iocontainers import InputFiles, OutputFiles, Params, Wildcards

from maskmill.errors import InputError
from maskmill.training.run import TrainingRun
from maskmill.workflow import stage
from maskmill.workflow.digest import code_digest

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow_scripts"
STAGES = sorted(
    str(path.relative_to(SCRIPTS)) for path in SCRIPTS.glob("**/*.py") if not path.is_relative_to(SCRIPTS / "maskmill")
)
TORCH_FREE = ["data/build_index.py", "data/merge_maps.py", "results/evaluate.py"]  # torch takes seconds to import
COMMANDS = ["compare", "export", "list", "show"]


def by_hand(script, *arguments, **options):
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize("command", [*([script] for script in TORCH_FREE), *(["maskmill", name] for name in COMMANDS)])
def test_help_names_the_arguments_and_says_what_goes_in_and_out(command):
    printed = by_hand(*command, "--help")
    assert printed.returncode == 0
    assert "--" in printed.stdout and "Out:" in printed.stdout


@pytest.mark.parametrize("module", [*TORCH_FREE, *(f"maskmill/commands/{name}.py" for name in COMMANDS)])
def test_what_needs_no_network_starts_without_torch(module):
    read = f"import sys, {module.removesuffix('.py').replace('/', '.')}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", read], cwd=SCRIPTS, check=False).returncode == 0


def rules() -> list[tuple[str | None, str]]:
    """Name, if it has one, and text of every rule; rules that `use rule` makes from others are left out."""
    text = "\n".join(path.read_text() for path in sorted((SCRIPTS.parent / "rules").glob("*.smk")))
    matches = re.finditer(
        r"^(?P<indent> *)rule(?: (?P<name>\w+))?:\n(?P<body>(?:(?P=indent)    .*\n| *\n)+)", text, re.M
    )
    return [(rule["name"], rule["body"]) for rule in matches]


# Serve rules that are named after what they make.
SEVERAL = {
    "results/draw_curves.py",
    "results/draw_training.py",
    "results/result_table.py",
    "results/export_onnx.py",
    "barm/incremental_steps.py",
}


def test_scripts_lie_in_folders_and_each_has_a_name_of_its_own():
    assert all(len(Path(script).parts) == 2 for script in STAGES)
    assert len({Path(script).name for script in STAGES}) == len(STAGES) > 80


@pytest.mark.parametrize("script", STAGES)
def test_every_script_belongs_to_a_rule_of_its_name(script):
    names = [name for name, body in rules() if f'"../workflow_scripts/{script}"' in body]
    assert names
    assert Path(script).stem in names or script in SEVERAL


def test_a_rule_runs_the_script_whose_settings_it_reads():
    """Otherwise it would hand over what `main` of another script takes."""
    known = [(re.findall(r'settings_for\(\s*"([^"]+)"', body), body) for _, body in rules()]
    assert sum(len(scripts) for scripts, _ in known) > 80
    for scripts, body in known:
        assert all(f'"../workflow_scripts/{script}"' in body for script in scripts), body


def test_text_lists_and_numbers_are_read_from_the_command_line_as_what_they_are(monkeypatch):
    """An image id with an underscore is a number in YAML; words after a name are one list."""

    def main(image: str, stores: list[str], sizes: list[int], score: float = 1.0, folder: str | None = "a") -> None:
        pass

    options = "--image 2007_000032 --stores a.h5 [2007_01,b.h5] 2008_02 --sizes 1_0 --score 2 --folder null"
    monkeypatch.setattr(sys, "argv", ["main", *options.split()])
    assert stage.from_command_line(main) == {
        "image": "2007_000032",
        "stores": ["a.h5", "2007_01", "b.h5", "2008_02"],
        "sizes": [10],
        "score": 2,
        "folder": None,
    }


def test_a_list_that_may_be_missing_takes_words_lists_or_null(monkeypatch):
    def main(classes: list[str] | None = None) -> None:
        pass

    for words, expected in (
        (["--classes", "cat", "traffic light"], ["cat", "traffic light"]),
        (["--classes", "[cat, no, 12:30]"], ["cat", "no", "12:30"]),
        (["--classes", "null"], None),
        ([], None),
    ):
        assert stage.from_command_line(main, words) == {"classes": expected}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--opacity", "half"], "argument --opacity: 'half' is not a number"),
        (["--side", "3.5"], "argument --side: '3.5' is not a whole number"),
        (["--side", "null"], "argument --side: 'null' is not a whole number"),
        (["--flip", "maybe"], "argument --flip: 'maybe' is not true or false"),
        (["--threshold", "high"], "argument --threshold: 'high' is not a number or null"),
        (["--crf", "{a: 1"], "argument --crf: {a: 1 is not YAML; put names with special characters in quotes"),
        (["--classes", "[@home]"], "argument --classes: [@home] is not a list; put names with special characters in"),
    ],
)
def test_a_word_that_is_no_value_of_its_option_is_named(words, message, capsys):
    def main(
        opacity: float = 1,
        side: int = 1,
        flip: bool = False,
        threshold: float | None = None,
        crf: dict | None = None,
        classes: list[str] = (),
    ) -> None:
        pass

    with pytest.raises(SystemExit):
        stage.from_command_line(main, words)
    assert message in capsys.readouterr().err


def test_a_number_with_an_exponent_needs_no_point_on_the_command_line():
    def main(lr: float, steps: int, flip: bool, threshold: float | None) -> None:
        pass

    words = "--lr 1e-3 --steps 3 --flip true --threshold null"
    expected = {"lr": 0.001, "steps": 3, "flip": True, "threshold": None}
    assert stage.from_command_line(main, words.split()) == expected


def training(index: str, lr: float, run: TrainingRun, dataset: str = "voc") -> None:
    """A training's `main`."""


def test_the_fields_of_a_dataclass_are_options_like_others():
    words = "--index a.csv --lr 0.5 --checkpoint a.safetensors --batch-size 4 --epochs 0.5 --optimizer"
    options = stage.from_command_line(training, [*words.split(), "{name: adamw}"])
    run = TrainingRun(checkpoint="a.safetensors", batch_size=4, epochs=0.5, optimizer={"name": "adamw"})
    assert options == {"index": "a.csv", "lr": 0.5, "run": run, "dataset": "voc"}


# --- under Snakemake ----------------------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path):
    """What a script finds of its job, with parameters, resources and `training` settings of the caller's choice."""
    (tmp_path / "index.csv").touch()

    def build(params: dict, resources: dict | None = None, **config) -> SimpleNamespace:
        return SimpleNamespace(
            rule="train",
            threads=3,
            wildcards=Wildcards(fromdict={"dataset": "coco", "split": "no parameter of main"}),
            input=InputFiles(fromdict={"index": str(tmp_path / "index.csv")}),
            output=OutputFiles(fromdict={"checkpoint": "b.safetensors"}),
            params=Params(fromdict=params),
            resources=resources or {},
            config={"training": {"max_minutes": None, "save_minutes": 5, "accelerator": "cpu", **config}},
        )

    return build


def test_a_rule_gives_main_what_it_takes_by_name_and_the_fields_of_its_dataclass(job, tmp_path):
    arguments = stage._from_rule(training, job({"lr": 0.1, "batch_size": 8, "code": "0"}, {"gpu": 2}, workers=3))
    run = arguments.pop("run")
    assert arguments == {"index": str(tmp_path / "index.csv"), "lr": 0.1, "dataset": "coco"}
    assert (run.checkpoint, run.batch_size, run.devices, run.workers) == ("b.safetensors", 8, 2, 3)
    assert run.accelerator == "cpu" and len(run.run_id) == 64


def test_what_main_requires_and_no_rule_gives_is_named(job):
    with pytest.raises(TypeError, match="rule train gives no batch_size"):
        stage._from_rule(training, job({"lr": 0.1}))


@pytest.mark.parametrize(("name", "value"), [("index", "other.csv"), ("dataset", "voc"), ("checkpoint", None)])
def test_two_values_of_one_name_are_refused(job, name, value):
    with pytest.raises(TypeError, match=f"rule train gives two values of {name}$"):
        stage._from_rule(training, job({"lr": 0.1, "batch_size": 8, name: value}))


def test_a_value_that_is_given_twice_alike_is_no_disagreement(job):
    assert stage._from_rule(training, job({"lr": 0.1, "batch_size": 8, "dataset": "coco"}))["dataset"] == "coco"


def test_a_stage_whose_code_is_not_the_planned_one_refuses_to_run(monkeypatch):
    script = "data/merge_maps.py"
    # A worker of pytest-xdist has no file.
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(SCRIPTS / script), raising=False)
    stage._check_code(SimpleNamespace(params={"code": code_digest(script)}))
    stage._check_code(SimpleNamespace(params={}))
    refusal = f"{SCRIPTS / script}: this file or a module that it imports was edited after the run began; start the"
    for planned in (code_digest("data/build_index.py"), ""):
        with pytest.raises(InputError, match=re.escape(refusal)):
            stage._check_code(SimpleNamespace(params={"code": planned}))


CAMS = "work/sample/voc/cams.h5"
CAM_MODULE = "workflow_scripts/maskmill/methods/cam.py"


def run_and_edit(project, line: str) -> tuple[int, str]:
    """Append a line to a module of the stage `cams` while the classifier, which `cams` waits for, is trained.

    Returns:
        Snakemake's exit code, and what it printed.
    """
    running = project.start(CAMS, fault="train_classifier.py torch:Tensor.backward 2 hold")
    try:
        project.wait_until_held(running)
        path = project.folder / CAM_MODULE
        path.write_text(path.read_text() + line)
        project.release()
    except BaseException:
        running.kill()
        raise
    printed = project.output_of(running)
    return running.returncode, printed


def test_code_that_is_edited_during_a_run_makes_its_stage_refuse_and_the_same_command_completes(project):
    code, printed = run_and_edit(project, "\nEDITED = 1\n")
    assert code != 0
    (line,) = {line for line in printed.splitlines() if line.startswith("error: ")}
    assert "cams.py: this file or a module that it imports was edited after the run began; start the same" in line
    classifier = project.folder / "work/sample/voc/classifier/classifier.safetensors"
    assert classifier.exists(), "what was running ended undisturbed"
    assert not list(project.folder.glob("work/sample/voc/cams*/*")) and not (project.folder / CAMS).exists()
    assert not project.partial_files()
    project.run(CAMS)
    assert (project.folder / CAMS).exists() and project.planned(CAMS) == {}


def test_a_comment_that_is_written_during_a_run_disturbs_nothing(project):
    code, printed = run_and_edit(project, "\n# a comment\n")
    assert code == 0, printed[-5000:]
    assert (project.folder / CAMS).exists() and project.planned(CAMS) == {}


# --- by hand ------------------------------------------------------------------------------------------------------


def test_a_bad_input_by_hand_is_one_line_and_exit_code_1(tmp_path):
    done = by_hand("data/merge_maps.py", "--shards", f"[{tmp_path}/no.h5]", "--maps", f"{tmp_path}/all.h5")
    assert done.returncode == 1
    assert done.stderr.strip() == f"error: {tmp_path}/no.h5: no such map store; run snakemake to make it"
    assert not (tmp_path / "all.h5").exists()


@pytest.mark.parametrize("python_path", [None, str(SCRIPTS)], ids=["installed", "in PYTHONPATH"])
def test_a_script_uses_the_library_of_its_own_checkout_where_another_one_is_at_hand(tmp_path, python_path):
    copy = tmp_path / "copy/workflow_scripts"
    shutil.copytree(SCRIPTS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    module = copy / "maskmill/storage/maps.py"
    text = module.read_text()
    assert "no such map store" in text
    module.write_text(text.replace("no such map store", "no such map store in the copy"))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYTHONPATH": python_path} if python_path else {}
    arguments = ["--shards", "no.h5", "--maps", "all.h5"]
    done = by_hand(copy / "data/merge_maps.py", *arguments, cwd=tmp_path, env=environment)
    assert done.stderr.strip() == "error: no.h5: no such map store in the copy; run snakemake to make it"
    done = by_hand("data/merge_maps.py", *arguments, cwd=tmp_path, env=environment)
    assert done.stderr.strip() == "error: no.h5: no such map store; run snakemake to make it", (
        "nor does ours use the copy's"
    )


def test_conda_environment_pins_what_the_virtual_environment_has():
    root = SCRIPTS.parent
    pins = set((root / "envs/constraints.txt").read_text().lower().splitlines())
    listed = [line.strip("- ").strip() for line in (root / "envs/maskmill.yaml").read_text().splitlines()]
    conda = [line.lower() for line in listed if "==" in line]
    assert len(conda) > 15 and set(conda) <= pins
