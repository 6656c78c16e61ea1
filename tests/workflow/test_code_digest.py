"""The digest that makes Snakemake rerun what is built on an edited module, and the names that a rule hands over."""

import dataclasses

import pytest

from maskmill.training.run import TrainingRun
from maskmill.workflow import digest


@pytest.mark.parametrize(
    ("script", "inside", "outside"),
    [
        (
            "mars/image_centroids.py",
            {"maskmill/methods/mars.py", "maskmill/workflow/stage.py"},
            {"maskmill/methods/irn.py"},
        ),
        ("mars/train_student.py", {"maskmill/networks/deeplab.py"}, {"maskmill/methods/mars.py"}),
        ("mars/train_mars_student.py", {"maskmill/methods/mars.py", "maskmill/refinement/pamr.py"}, set()),
        (
            "tags/random_walk.py",
            {"maskmill/refinement/paths.py"},
            {"maskmill/methods/mars.py", "maskmill/training/loop.py"},
        ),
    ],
)
def test_closure_holds_what_is_imported_directly_or_not_and_nothing_else(script, inside, outside):
    modules = digest.modules_of(script)
    assert script in modules and inside <= modules and not outside & modules


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """An empty folder in the place of workflow_scripts/."""
    monkeypatch.setattr(digest, "SCRIPTS", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    """What was read of files is read anew: in the workflow, a process reads each file once."""
    for cached in (digest._imports, digest._facts, digest._files, digest.parameters_of):
        cached.cache_clear()


def code_digest(script: str = "folder/script.py") -> str:
    forget()
    return digest.code_digest(script)


def write(folder, **files: str) -> None:
    """Write modules, named by their paths with __ for the slash."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_digest_changes_with_a_module_deep_in_the_closure(scripts):
    write(scripts, folder__script="from package import first\n", package__first="def f():\n    import package.second\n")
    write(scripts, package__second="x = 1\n", package__other="x = 1\n")
    (scripts / "package/__init__.py").touch()
    first = code_digest()
    write(scripts, package__other="x = 2\n")
    assert code_digest() == first
    write(scripts, package__second="x = 2\n")
    assert code_digest() != first


SCRIPT = '''\
"""What the script does."""

from functools import cache, lru_cache

TEXT = """What the script prints."""


class Counter:
    """What it counts."""

    count: int = 0


def main(index: str, scale: float = 1.0) -> list[float]:
    """Scale the numbers.

    Args:
        index: a table.
    """
    numbers = [float(line) for line in index]
    return [number * scale for number in numbers]


@cache
def helper(x):
    "One line."
    return (x, "a string that is printed")
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    numbers = [", "    # the numbers of the index\n    numbers = ["),
        ("    return [number", "    return [  # scaled\n        number"),
        ('"""What the script does."""', '"""What the script does, in other words.\n\nIn: an index.\n"""'),
        ('"""What the script does."""\n', ""),
        ('    """What it counts."""\n', ""),
        ("        index: a table.", "        index: a table of numbers, one per line."),
        ('    "One line."\n', ""),
        ("\n\n\n", "\n\n"),
        ("cache, lru_cache", "cache,   lru_cache"),
        ("main(index: str, scale: float = 1.0)", "main(\n    index: str,\n    scale: float = 1.0,\n)"),
        ("float(line) for line in index", "float(line)\n        for line\n        in index"),
        ('(x, "a string that is printed")', "x, 'a string that is printed'"),
        ("1.0)", "1.00)"),
    ],
    ids=[
        *("comment", "comment in a line", "docstring", "no docstring", "no docstring of a class"),
        *("docstring of a function", "no docstring of a function", "blank lines", "spaces", "wrapped parameters"),
        *("wrapped statement", "brackets and quotes", "spelling of a number"),
    ],
)
def test_what_changes_no_statement_changes_no_digest(scripts, old, new):
    write(scripts, folder__script=SCRIPT)
    before = code_digest()
    edited = SCRIPT.replace(old, new)
    assert edited != SCRIPT
    write(scripts, folder__script=edited)
    assert code_digest() == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("number * scale", "number / scale"),
        ("    numbers = [", "    index = index[1:]\n    numbers = ["),
        ("scale: float = 1.0", "scale: float = 2.0"),
        ("scale: float = 1.0", "scale: int = 1.0"),
        ("scale: float = 1.0", "scale: float = 1"),
        ("index: str, scale: float = 1.0", "scale: float, index: str = 1.0"),
        ("What the script prints.", "What the script prints"),
        ("a string that is printed", "# a string that is printed"),
        ("@cache", "@lru_cache"),
        ("@cache\n", ""),
        ("def helper", "async def helper"),
        ("count: int = 0", "count: int = -0"),
        ("    count: int = 0\n", "    pass\n"),
        ("    numbers = [", "    if index:\n        numbers = ["),
        ('    "One line."\n    return', '    print("One line.")\n    return'),
        ("TEXT =", "TEXTS ="),
    ],
)
def test_whatever_changes_a_statement_changes_the_digest(scripts, old, new):
    write(scripts, folder__script=SCRIPT)
    before = code_digest()
    edited = SCRIPT.replace(old, new)
    assert edited != SCRIPT
    write(scripts, folder__script=edited)
    assert code_digest() != before


def test_a_string_behind_the_docstring_is_a_statement_and_so_is_one_that_replaces_a_body(scripts):
    """Only the first string of a body is a docstring."""
    digests = set()
    for body in ('"first"\n    "second"', '"first"\n    "other"', '"first"', "pass"):
        write(scripts, folder__script=f"def main():\n    {body}\n")
        digests.add(code_digest())
    assert len(digests) == 4


def test_where_a_statement_stands_counts(scripts):
    digests = set()
    for text in (
        "if a:\n    b()\n    c()\n",
        "if a:\n    b()\nc()\n",
        "if a:\n    b()\nelse:\n    c()\n",
        "if a:\n    pass\nelse:\n    b()\n    c()\n",
        "for a in b:\n    b()\nelse:\n    c()\n",
    ):
        write(scripts, folder__script=text)
        digests.add(code_digest())
    assert len(digests) == 5


def test_names_and_places_of_modules_count(scripts):
    write(scripts, folder__script="import first, second\n", first="x = 1\n", second="x = 2\n")
    before = code_digest()
    write(scripts, first="x = 2\n", second="x = 1\n")
    assert code_digest() != before


RUN = '''\
"""What all trainings take."""

from dataclasses import dataclass


@dataclass
class Run:
    """Fields."""

    checkpoint: str
    seed: int = 0

    def length(self, images: int) -> int:
        factor: int = 2
        return factor * images
'''


def test_parameters_are_those_of_main_with_the_fields_of_a_dataclass_in_its_place(scripts):
    write(scripts, package__run=RUN)
    (scripts / "package/__init__.py").touch()
    main = "def main(index: str, run: Run, *, lr: float = 1, weights: list[str] = ()) -> None:\n    pass\n"
    other = "def other(unknown: str) -> None:\n    pass\n\n\n"
    write(scripts, folder__script=f"from package.run import Run\n\n\n{other}{main}")
    expected = ["index", "checkpoint", "seed", "lr", "weights"]
    assert digest.parameters_of("folder/script.py") == expected
    write(scripts, folder__alias="from folder.plain import main\n", folder__plain="def main(a, b=1):\n    pass\n")
    assert digest.parameters_of("folder/alias.py") == ["a", "b"], "of a main that is imported"


def test_parameters_of_a_training_are_its_own_and_all_of_training_run():
    names = digest.parameters_of("mars/train_student.py")
    fields = [field.name for field in dataclasses.fields(TrainingRun)]
    place = names.index(fields[0])
    assert names[place : place + len(fields)] == fields and "run" not in names
    assert {"dataset", "network", "lr_new", "ema"} <= set(names) and len(set(names)) == len(names)


def test_parameters_of_a_stage_whose_main_is_a_commands_are_the_commands():
    assert digest.parameters_of("results/summary.py") == digest.parameters_of("maskmill/commands/summary.py") != []


@pytest.mark.parametrize(
    "script",
    [
        "results/evaluate.py",
        "tags/evaluate_seeds.py",
        "data/merge_maps.py",
        "mars/import_masks.py",
        "mars/crf_predictions.py",
        "maskmill/commands/segment.py",
        "maskmill/commands/list.py",
        "maskmill/commands/show.py",
        "maskmill/commands/compare.py",
        "barm/class_presence.py",
        "barm/incremental_steps.py",
        "barm/forgetting.py",
    ],
)
def test_stages_without_networks_and_methods_do_not_import_torch(script):
    """By the text of their closures; Snakemake jobs of these stages start a second faster for it."""
    for module in digest.modules_of(script):
        assert "import torch" not in (digest.SCRIPTS / module).read_text(), module
