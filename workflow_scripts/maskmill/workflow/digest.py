"""A digest of the statements of a script and of our modules that it imports: an edited module reruns its stages.

Comments, docstrings and layout are no part of the digest: they change no result.
"""

import ast
import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

SCRIPTS = Path(__file__).resolve().parents[2]  # workflow_scripts/, with the library in it
MEMORY = Path(".snakemake/maskmill_digests")  # in the folder of a run


def code_digest(script: str) -> str:
    """First 16 hexadecimal digits of a SHA-256 over the statements of `script` (its path in workflow_scripts/) and
    of all modules below that folder which it imports, directly or through others. Read statically, nothing runs."""
    digest = hashlib.sha256()
    for path in sorted(_closure(SCRIPTS / script)):
        digest.update(f"{path.relative_to(SCRIPTS)}\0{_facts(path).statements}\n".encode())
    return digest.hexdigest()[:16]


def modules_of(script: str) -> set[str]:
    """The files of ours that `script` is built on, itself included, relative to workflow_scripts/."""
    return {str(path.relative_to(SCRIPTS)) for path in _closure(SCRIPTS / script)}


@cache
def parameters_of(script: str) -> list[str]:
    """Names of the parameters of a script's `main`; a dataclass of ours, such as TrainingRun, counts as its fields."""
    tree, main = _lookup(_parse(SCRIPTS / script), "main")
    if not isinstance(main, ast.FunctionDef):
        raise ValueError(f"{script}: no function main")
    names: list[str] = []
    for argument in (*main.args.args, *main.args.kwonlyargs):
        kind = argument.annotation.id if isinstance(argument.annotation, ast.Name) else ""
        _, group = _lookup(tree, kind)
        names += _fields(group) if isinstance(group, ast.ClassDef) else [argument.arg]
    return names


def _lookup(tree: ast.Module, name: str) -> tuple[ast.Module, ast.FunctionDef | ast.ClassDef | None]:
    """The function or class of that name, after the module that defines it: this one, or one of ours that it imports
    the name from."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return tree, node
        if isinstance(node, ast.ImportFrom) and node.module and name in {alias.name for alias in node.names}:
            files = _files(node.module)
            return _lookup(_parse(files[-1]), name) if files else (tree, None)
    return tree, None


def _fields(group: ast.ClassDef) -> list[str]:
    targets = (node.target for node in group.body if isinstance(node, ast.AnnAssign))
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _closure(path: Path) -> set[Path]:
    found, waiting = set(), [path]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_imports(path))
    return found


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


class _Facts(NamedTuple):
    """What a digest needs of a module: a digest of its own statements, and the names of what it may import."""

    statements: str
    names: list[str]


@cache
def _facts(path: Path) -> _Facts:
    """The facts of a module, remembered by its content: to parse all modules takes longer than a call of Snakemake
    that has nothing to do."""
    content = hashlib.sha256(path.read_bytes() + _this_module()).hexdigest()
    remembered = MEMORY / f"{content}.json"
    with contextlib.suppress(OSError, ValueError):  # not there, or cut off by a crash
        return _Facts(*json.loads(remembered.read_text()))
    facts = _Facts(_statements_digest(_parse(path)), sorted(_names(_parse(path))))
    with contextlib.suppress(OSError):  # no folder of a run, or one that is read-only
        remembered.parent.mkdir(exist_ok=True)
        temporary = remembered.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(facts))
        temporary.replace(remembered)
    return facts


@cache
def _this_module() -> bytes:
    """Its source, so that nothing is remembered that another version of this module found."""
    return Path(__file__).read_bytes()


# Fields of a syntax tree that follow from where a node stands, or that only comments fill.
NO_MEANING = {"ctx", "kind", "type_comment", "type_ignores"}


def _statements_digest(tree: ast.Module) -> str:
    """SHA-256 of a syntax tree without docstrings and positions. Nothing that is empty counts, so that versions of
    Python whose trees have more fields agree."""
    words: list[str] = []
    waiting: list[Any] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            words.append(f"[{len(node)}")
            waiting += node
        elif isinstance(node, ast.AST):
            words.append(type(node).__name__)
            waiting.append(")")
            for name in node._fields:
                value = getattr(node, name, None)
                if value is None or value == [] or name in NO_MEANING:
                    continue
                if name == "body" and _has_docstring(node):
                    value = value[1:]
                waiting += (value, name)
        else:
            words.append(repr(node))
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def _has_docstring(node: ast.AST) -> bool:
    return isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and bool(
        node.body
        and isinstance(node.body[0], ast.Expr)
        and isinstance(node.body[0].value, ast.Constant)
        and isinstance(node.body[0].value.value, str)
    )


@cache
def _imports(path: Path) -> frozenset[Path]:
    """Files of ours that a module executes when it is imported."""
    # A package that loads whatever lies in it, such as the papers' entries.
    loads_all = path.name == "__init__.py" and "iter_modules(__path__)" in path.read_text(encoding="utf-8")
    siblings = path.parent.glob("*.py") if loads_all else ()
    return frozenset([file for name in _facts(path).names for file in _files(name)] + [*siblings])


def _names(tree: ast.Module) -> set[str]:
    """Names of modules that a module imports, and of what may be modules among the things that it imports from them."""
    names = set()
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Everything below `node` in which an import can stand: no expressions, which are most of the tree."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case)):
            yield child
            yield from _statements(child)


@cache
def _files(module: str) -> tuple[Path, ...]:
    """Files that `import module` executes, packages on the way included; none for other people's modules."""
    package, _, name = module.rpartition(".")
    place = Path(SCRIPTS, *module.split("."))
    candidates = (place / "__init__.py", place.parent / f"{name}.py")
    return (*(_files(package) if package else ()), *[file for file in candidates if file.exists()][:1])
