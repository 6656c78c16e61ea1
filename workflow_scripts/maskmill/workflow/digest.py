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
    main = _defined(SCRIPTS / script, "main")
    if main is None:
        raise ValueError(f"{script}: no function main")
    path, parameters = main
    names: list[str] = []
    for parameter, kind in parameters:
        group = _defined(path, kind)
        names += [field for field, _ in group[1]] if group else [parameter]
    return names


def _defined(path: Path, name: str) -> tuple[Path, list[tuple[str, str]]] | None:
    """The file that defines `main` or a class, and its parameters or fields: this file, or one of ours that it imports
    the name from."""
    facts = _facts(path)
    if name in facts.definitions:
        return path, facts.definitions[name]
    files = _files(facts.origins.get(name, ""))
    return _defined(files[-1], name) if files else None


def _closure(path: Path) -> set[Path]:
    found, waiting = set(), [path]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_imports(path))
    return found


class _Facts(NamedTuple):
    """What is read from a module.

    Attributes:
        statements: a digest of its own statements.
        names: of what it may import.
        definitions: the parameters of its function `main` and the fields of its classes, each with the name of its type
            ("" where that is no single name).
        origins: the module that a name is imported from, for names that stand at the top.
    """

    statements: str
    names: list[str]
    definitions: dict[str, list[tuple[str, str]]]
    origins: dict[str, str]


@cache
def _facts(path: Path) -> _Facts:
    """The facts of a module, remembered by its content: to parse all modules takes longer than a call of Snakemake
    that has nothing to do."""
    content = hashlib.sha256(path.read_bytes() + _this_module()).hexdigest()
    remembered = MEMORY / f"{content}.json"
    with contextlib.suppress(OSError, ValueError):  # not there, or cut off by a crash
        return _Facts(*json.loads(remembered.read_text()))
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    facts = _Facts(_statements_digest(tree), sorted(_names(tree)), _definitions(tree), _origins(tree))
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


def _definitions(tree: ast.Module) -> dict[str, list[tuple[str, str]]]:
    definitions = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "main":
            arguments = (*node.args.args, *node.args.kwonlyargs)
            definitions["main"] = [(argument.arg, _name(argument.annotation)) for argument in arguments]
        elif isinstance(node, ast.ClassDef):
            fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
            definitions[node.name] = [(_name(field.target), _name(field.annotation)) for field in fields]
    return definitions


def _name(node: ast.AST | None) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _origins(tree: ast.Module) -> dict[str, str]:
    return {
        alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


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
