"""The pages in docs/methods name what there is: configuration keys with their values, rules with the files they make,
scripts, targets, published numbers. tests/docs/ has what concerns all pages: commands, links, the built site."""

import re
import shlex
from pathlib import Path

import jsonschema
import pytest
import yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, Quietness, ResourceSettings

from maskmill.evaluation.papers import PAPERS, PaperValue
from maskmill.workflow.settings import merged, read_yaml, with_defaults

ROOT = Path(__file__).resolve().parents[1]
PAGES = {page.stem: page for page in sorted((ROOT / "docs/methods").glob("*.md"))}
METHODS = [name for name in PAGES if name != "index"]
HEADINGS = [
    *("The idea", "Stages", "Command", "Switches", "Reconstructed", "Sources", "Measured here"),
    "What the paper says",
]
SCRIPTS = ("workflow_scripts", "workflow_scripts/maskmill", ".")  # what paths of scripts start from
FILLED = {
    **{"scale": "sample", "dataset": "voc", "boxset": "cub", "provider": "irn", "scatteritem": "1-of-2"},
    **{"protocol": "voc_blended", "part": "1_8", "task": "15-1", "scheme": "overlapped", "t": "1", "teacher": "tiny"},
    **{"backbone": "resnet101_caffe", "eval_policy": "full"},
}


def text(page: str) -> str:
    return PAGES[page].read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    return text(page).split(f"\n## {heading}\n")[1].split("\n## ")[0]


def tables(part: str) -> list[list[list[str]]]:
    """Rows of cells of every table, its header first and without the rule under it."""
    blocks = re.findall(r"(?:^\|.*\n)+", part + "\n", re.MULTILINE)
    split = [[[cell.strip() for cell in row[1:-1].split("|")] for row in block.splitlines()] for block in blocks]
    return [[rows[0], *rows[2:]] for rows in split]


def ticked(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def switches(page: str) -> list[list[str]]:
    (table,) = tables(section(page, "Switches"))
    return table[1:]


def spelled_out(path: str) -> list[str]:
    """Placeholders like {dataset} filled, choices like {deep,wide} as a path each."""
    path = re.sub(r"\{(\w+)\}", lambda match: FILLED[match[1]], path)
    choice = re.search(r"\{([^{}]*)\}", path)
    if choice is None:
        return [path]
    return [p for one in choice[1].split(",") for p in spelled_out(path[: choice.start()] + one + path[choice.end() :])]


def nested(key: str, value) -> dict:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def found(settings: dict, key: str):
    for part in key.split("."):
        settings = settings[part]
    return settings


CONFIG = read_yaml(ROOT / "config.yaml")
SCALES = {path.stem: read_yaml(path) for path in (ROOT / "scales").glob("*.yaml")}
EXAMPLES = {path.name: read_yaml(path) for path in (ROOT / "examples").glob("*.yaml")}
PAPER = with_defaults(merged(CONFIG, SCALES["paper"] or {}))
SCHEMA = jsonschema.Draft202012Validator(read_yaml(ROOT / "rules/config.schema.yaml"))


def faults(settings: dict) -> list[str]:
    return [error.message for error in SCHEMA.iter_errors(settings)]


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    settings = {"resource_settings": ResourceSettings(cores=1), "config_settings": ConfigSettings()}
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        yield api.workflow(snakefile=ROOT / "Snakefile", workdir=tmp_path_factory.mktemp("dry"), **settings)._workflow


def makes(rule, path: str) -> bool:
    """Whether a rule makes a file, or the shards that a store is merged from."""
    return rule.is_producer(path) or rule.is_producer(path.replace(".h5", "/1-of-2.h5"))


def made_by(workflow, path: str) -> list[str]:
    return [rule.name for rule in workflow.rules if makes(rule, path)]


def test_every_target_has_a_page(workflow):
    assert sorted(workflow.globals["TABLES"]) == METHODS


@pytest.mark.parametrize("page", METHODS)
def test_pages_have_the_same_headings_in_one_order(page):
    assert re.findall(r"^## (.*)$", text(page), re.MULTILINE) == HEADINGS


@pytest.mark.parametrize("page", METHODS)
def test_switches_stand_in_the_configuration_with_the_value_named(page):
    assert switches(page)
    for (key,), (here,) in ((ticked(row[0]), ticked(row[1])) for row in switches(page)):
        assert found(PAPER, key) == yaml.safe_load(here), key


@pytest.mark.parametrize("page", METHODS)
def test_other_values_of_switches_are_allowed(page):
    for row in switches(page):
        (key,) = ticked(row[0])
        for value in ticked(row[2]):
            assert yaml.safe_load(value) != found(PAPER, key), f"{key}: {value} is the value here"
            assert not faults(merged(PAPER, nested(key, yaml.safe_load(value)))), f"{key}: {value}"


@pytest.mark.parametrize("page", METHODS)
def test_switches_named_elsewhere_stand_in_the_configuration(page):
    sections = "|".join(CONFIG)
    for key, value in re.findall(rf"`((?:{sections})(?:\.\w+)+)(?:: ([^`]+))?`", text(page)):
        if value:
            assert not faults(merged(PAPER, nested(key, yaml.safe_load(value)))), f"{key}: {value}"
        elif not key.endswith((".h5", ".csv")):
            found(PAPER, key)


@pytest.mark.parametrize("page", METHODS)
def test_values_of_the_smaller_scales_are_those_of_the_overlay(page):
    for scale, changes in re.findall(r"At `scale=(\w+)`: ([^#]*?)\.\n", section(page, "Switches")):
        for key, value in (change.split(": ", 1) for change in ticked(changes)):
            assert found(SCALES[scale], key) == yaml.safe_load(value), f"{scale}: {key}"
    for name, changes in re.findall(r"In `examples/([\w.]+)`: ([^#]*?)\.\n", section(page, "Switches") + "\n"):
        for key, value in (change.split(": ", 1) for change in ticked(changes)):
            assert found(EXAMPLES[name], key) == yaml.safe_load(value), f"{name}: {key}"


@pytest.mark.parametrize("page", METHODS)
def test_rules_make_the_files_beside_them(page, workflow):
    by_name = {rule.name: rule for rule in workflow.rules}
    for header, *rows in (table for table in tables(section(page, "Stages")) if table[0][0] == "rule"):
        (folder,) = ticked(header[1])
        for row in rows:
            rules = [by_name[name] for cell in ticked(row[0]) for name in spelled_out(cell)]
            files = [path for cell in ticked(row[1]) for path in spelled_out(in_folder(cell, folder))]
            for path in files:
                assert any(makes(rule, path) for rule in rules), f"none of {row[0]} makes {path}"
            for rule in rules:
                assert any(makes(rule, path) for path in files), f"{rule.name} makes none of {row[1]}"


def in_folder(path: str, folder: str) -> str:
    return path if path.startswith(("results/", "models/", "downloads/", "work/")) else folder + path


@pytest.mark.parametrize("page", PAGES)
def test_paths_and_targets_are_made_by_a_rule(page, workflow):
    for cell in re.findall(r"\b((?:results|models|work|downloads)/[\w./{},-]+\.\w+)", text(page)):
        for path in spelled_out(cell):
            assert made_by(workflow, path), path


@pytest.mark.parametrize("page", PAGES)
def test_scripts_exist(page):
    sources = section(page, "Sources") if page in METHODS else ""  # names files of others
    for script in set(re.findall(r"[\w/]+\.(?:py|smk|yaml)\b", text(page).replace(sources, ""))) - {"mine.yaml"}:
        assert any((ROOT / folder / script).is_file() for folder in SCRIPTS), script


@pytest.mark.parametrize("page", METHODS)
def test_commands_ask_for_targets_with_a_configuration_that_is_valid(page, workflow):
    commands = re.findall(r"^snakemake .*$", section(page, "Command").replace("\\\n", " "), re.MULTILINE)
    assert commands
    for command in commands:
        words = shlex.split(command)[1:]
        end = words.index("--config") if "--config" in words else len(words)
        targets = [word for word in words[:end] if word.startswith(("results/", "models/"))]
        assert targets and all(made_by(workflow, target) for target in targets), command
        changes = dict(word.split("=", 1) for word in words[end + 1 :])
        changes = {key: yaml.safe_load(value) for key, value in changes.items()}
        assert not faults(merged(PAPER, changes)), command


@pytest.mark.parametrize("page", METHODS)
def test_published_numbers_of_the_tables_stand_on_the_page(page):
    says = {float(number) for number in re.findall(r"\d+\.\d+", section(page, "What the paper says"))}
    for rows in (rows for key, rows in PAPERS.items() if key[0] == page):
        for row, published in rows.items():
            for number in [published] if isinstance(published, PaperValue) else published.values():
                assert number.value in says, f"{row}: {number}"
