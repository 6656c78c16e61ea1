"""All pages: the site builds, shell commands and configurations are valid, Python runs, sources can be opened."""

import ast
import importlib
import json
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from PIL import Image
from snakemake.api import SnakemakeApi
from snakemake.cli import get_argument_parser
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings

from maskmill.commands import COMMANDS
from maskmill.data.index import Record, write_index
from maskmill.networks.backbones import build_backbone
from maskmill.storage.maps import create_maps
from maskmill.workflow import stage
from maskmill.workflow.settings import merged, read_yaml, with_defaults
from photos import write_photos

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
# Their commands need what the pages tell to write first; test_examples.py runs them.
EXTENDING = ["docs/add_data_set.md", "docs/add_method.md", "docs/add_backbone.md"]
FOLDERS = ("docs", "envs", "examples", "profiles", "report", "rules", "scales", "tests", "workflow_scripts")
OTHER_PROGRAMS = {"bash", "make", "source", "conda", "docker", "pip", "mkdocs", "pre-commit"}
OTHER_PROGRAMS |= {"cp", "curl", "git", "rsync"}
SCHEMA = jsonschema.Draft202012Validator(read_yaml(ROOT / "rules/config.schema.yaml"))
CONFIG = merged(read_yaml(ROOT / "config.yaml"), read_yaml(ROOT / "scales/paper.yaml") or {})
MINE = "mine.yaml"  # what the pages call the user's own file


def blocks(page: str, *languages: str) -> list[str]:
    return [
        code
        for language, code in re.findall(r"^```(\w+)\n(.*?)^```$", PAGES[page], re.M | re.S)
        if language in languages
    ]


def braces(word: str) -> list[str]:
    """A word with choices like {a,b} as one word per choice, as the shell has it."""
    choice = re.search(r"\{([^{} ]*,[^{} ]*)\}", word)
    if choice is None:
        return [word]
    return [w for one in choice[1].split(",") for w in braces(word[: choice.start()] + one + word[choice.end() :])]


def commands(page: str, *programs: str) -> list[list[str]]:
    """The words of each shell command of a page that starts with one of the programs; all commands without any."""
    lines = "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    split = [shlex.split(line, comments=True) for line in lines]
    return [words for words in split if words and (not programs or words[0] in programs)]


def snakemake_arguments(words: list[str]):
    """What Snakemake reads in a command; an option that it does not have is an error."""
    parser = get_argument_parser()
    parser.error = lambda message: pytest.fail(f"{shlex.join(words)}: {message}")
    arguments = parser.parse_args(words[1:])
    arguments.targets = [target for word in arguments.targets for target in braces(word)]
    return arguments


def changes_of(arguments, folder: Path) -> dict:
    """The values of --config; whatever files and folders they name are those of the test."""
    values = [
        entry.replace("/data/", f"{folder}/data/").replace("/my/", f"{folder}/my/") for entry in arguments.config or []
    ]
    return {key: yaml.safe_load(value) for key, value in (entry.split("=", 1) for entry in values)}


def options_of(main) -> set[str]:
    return {name.replace("_", "-") for name in stage._options(main)} | {"help"}


def named_options(words: list[str]) -> set[str]:
    return {word.removeprefix("--").split("=")[0] for word in words if word.startswith("--")}


def test_the_readme_is_short():
    assert len(PAGES["README.md"].splitlines()) <= 200


@pytest.mark.slow
def test_the_site_builds_strictly(tmp_path):
    pytest.importorskip("mkdocs")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout
    loaded = re.findall(r'(?:src|href)="(https?:[^"]+\.(?:js|css|woff2?))"', (tmp_path / "index.html").read_text())
    assert not loaded, "pages load nothing from the network"


def test_every_page_stands_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    missing = [page for page in PAGES if page.startswith("docs/") and page.removeprefix("docs/") not in navigation]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", PAGES[page]):
        assert "://" in link or ((ROOT / page).parent / link).is_file(), link


@pytest.mark.parametrize("page", PAGES)
def test_files_and_folders_of_the_project_exist(page):
    for path in re.findall(
        r"`((?:workflow_scripts|rules|scales|examples|tests|envs|profiles|report)/[\w./-]*)`", PAGES[page]
    ):
        new = page in EXTENDING and ("smooth" in path)
        assert new or (ROOT / path).exists(), path


def test_sources_can_be_opened():
    """No file cites reading notes, which are not part of the repository."""
    citation = re.compile(r"\bspec (\w+ )?\d+(\.\d+)?\b|\bspec (open_vocabulary|\w+_supervised|deeplab_\w+)\b")
    files = [*ROOT.glob("*.md"), ROOT / "config.yaml", *(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.*"))]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        if path.suffix in (".py", ".smk", ".yaml", ".md", ".rst")
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if citation.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PAGES)
def test_programs_and_their_options_exist(page):
    for words in commands(page):
        program, line = words[0], shlex.join(words)
        if program == "snakemake":
            snakemake_arguments(words)
        elif program == "maskmill":
            if words[1] != "--help":
                assert words[1] in COMMANDS, line
                module = importlib.import_module(f"maskmill.commands.{words[1].replace('-', '_')}")
                assert named_options(words[2:]) <= options_of(module.main), line
        elif program == "python":
            check_script(page, words[1:], line)
        else:
            assert program in OTHER_PROGRAMS, line
            if program == "make":
                targets = [word for word in words[1:] if "=" not in word]
                assert all(re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M) for target in targets), line


def check_script(page: str, words: list[str], line: str) -> None:
    if words[0] == "-m":
        assert words[1] == "pytest" and all((ROOT / w).exists() for w in words[2:] if w.startswith("tests")), line
        return
    path = ROOT / words[0]
    if page in EXTENDING and not path.exists():
        return
    assert path.is_file(), line
    source = path.read_text(encoding="utf-8")
    if "stage.run(main" in source:
        tree = ast.parse(source)
        (main,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
        known = {a.arg.replace("_", "-") for a in (*main.args.args, *main.args.kwonlyargs)} | {"help"}
        assert named_options(words[1:]) <= known, line
    else:
        shared = (ROOT / "tests/benchmarks/measuring.py").read_text(encoding="utf-8")
        assert all(f'"--{option}"' in source + shared for option in named_options(words[1:]) - {"help"}), line


@pytest.mark.parametrize("page", [page for page in PAGES if page not in EXTENDING])
def test_configurations_are_valid(page):
    for block in blocks(page, "yaml"):
        settings = with_defaults(merged(CONFIG, yaml.safe_load(block)))
        assert not [error.message for error in SCHEMA.iter_errors(settings)], block


def test_examples_are_valid():
    for path in (ROOT / "examples").glob("*.yaml"):
        assert not list(SCHEMA.iter_errors(with_defaults(merged(CONFIG, read_yaml(path))))), path.name


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A user's folder: photographs with tags and masks, and the files that the pages name."""
    folder = tmp_path_factory.mktemp("user")
    write_photos(folder)
    (folder / MINE).write_text("\n".join(["scale: small", (folder / MINE).read_text()]))
    for name in ("init.caffemodel", "cc12m.tsv", "data/ViT-L-14.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    return folder


def by_configuration(folder: Path) -> dict[str, set[str]]:
    """The targets in the commands of all pages, by the configuration of the command."""
    targets_of = defaultdict(set)
    for page in (page for page in PAGES if page not in EXTENDING):
        for words in commands(page, "snakemake"):
            arguments = snakemake_arguments(words)
            key = json.dumps(
                [changes_of(arguments, folder), [str(name) for name in arguments.configfile or []]], sort_keys=True
            )
            targets_of[key] |= set(arguments.targets)
    return {key: targets for key, targets in targets_of.items() if targets}


@pytest.mark.slow
def test_snakemake_plans_every_target_of_the_pages(photos, monkeypatch):
    monkeypatch.chdir(photos)
    for key, targets in by_configuration(photos).items():
        changes, files = json.loads(key)
        changes["shards"] = 2  # fewer jobs, the same rules
        configfiles = [photos / name if name == MINE else ROOT / name for name in files]
        settings = {"config_settings": ConfigSettings(config=changes, configfiles=configfiles)}
        settings["resource_settings"] = ResourceSettings(cores=8)
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
            workflow = api.workflow(snakefile=ROOT / "Snakefile", workdir=photos, **settings)
            workflow.dag(DAGSettings(targets=targets)).execute_workflow(executor="dryrun")


@pytest.mark.parametrize("page", PAGES)
def test_python_parses(page):
    for block in blocks(page, "python"):
        ast.parse(f"{{{block}}}" if block.startswith(" ") else block)  # an indented one is an entry of a dictionary


def test_python_of_the_page_on_stores_runs_as_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("network").write_bytes(b"weights")
    image = np.full((1, 3, 3), 100, np.uint8)
    Image.fromarray(image).save("image.png")
    origin = {"producer": "debias_labels", "inputs": ["network"]}
    with create_maps("work/sample/voc/mars/irn/pseudo_labels.h5", "label", **origin) as store:
        store.write("2012_000001", np.array([[0, 8, 254]], np.uint8))
    write_index("work/sample/voc/index.csv", [Record("2012_000001", Path("image.png"), None, 1, 3, (8,), ("train",))])
    for block in blocks("docs/stores.md", "python"):
        exec(compile(block, "stores.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.startswith('1 (1, 3) [  0   8 254] debias_labels {"network": ')
    assert printed.splitlines()[-1] == "[64  0  0]", "VOC's colour of cats"


@pytest.mark.slow
def test_backbones_cost_what_the_page_says():
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| ([\d.]+) \| ([\d.]+) \|", PAGES["docs/costs.md"], re.M)
    assert len(rows) > 15
    for name, stride, parameters, macs in rows:
        backbone = build_backbone(name, output_stride=int(stride)).eval().to("meta")
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            backbone(torch.empty(1, 3, 320, 320, device="meta"))
        count = sum(parameter.numel() for parameter in backbone.stages.parameters())
        assert f"{count / 1e6:.2f}" == parameters and f"{counter.get_total_flops() / 2e9:.2f}" == macs, name


def test_the_citation_names_the_version_of_the_package():
    (version,) = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == version and citation["license"] == "Apache-2.0"
    assert f"{{{version}}}" in PAGES["README.md"]
