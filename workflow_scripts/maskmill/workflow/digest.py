"""A digest of what a script and every module of ours that it imports say, so that editing a module reruns its stages.

Comments, docstrings and layout are no part of the digest: they change no result.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2]  # workflow_scripts/, with the library in it


def code_digest(script: str) -> str:
    """First 16 hexadecimal digits of a SHA-256 over the statements of `script` (its path in workflow_scripts/) and
    of all modules below that folder which it imports, directly or through others. Read statically, nothing runs."""
    digest = hashlib.sha256()
    for path in sorted(_closure(SCRIPTS / script)):
        digest.update(str(path.relative_to(SCRIPTS)).encode() + b"\0" + _meaning(path))
    return digest.hexdigest()[:16]


def modules_of(script: str) -> set[str]:
    """The files of ours that `script` is built on, itself included, relative to workflow_scripts/."""
    return {str(path.relative_to(SCRIPTS)) for path in _closure(SCRIPTS / script)}


@cache
def parameters_of(script: str) -> list[str]:
    """Names of the parameters of a script's `main`; a dataclass of ours, such as TrainingRun, counts as its fields."""
    tree = _parse(SCRIPTS / script)
    main = _definition(tree, "main") or _imported_definition(tree, "main")
    if not isinstance(main, ast.FunctionDef):
        raise ValueError(f"{script}: no function main")
    names: list[str] = []
    for argument in (*main.args.args, *main.args.kwonlyargs):
        kind = argument.annotation.id if isinstance(argument.annotation, ast.Name) else None
        group = _imported_definition(tree, kind)
        names += _fields(group) if isinstance(group, ast.ClassDef) else [argument.arg]
    return names


def _definition(tree: ast.Module, name: str) -> ast.FunctionDef | ast.ClassDef | None:
    kinds = (ast.FunctionDef, ast.ClassDef)
    return next((node for node in tree.body if isinstance(node, kinds) and node.name == name), None)


def _imported_definition(tree: ast.Module, name: str | None) -> ast.FunctionDef | ast.ClassDef | None:
    """The class or function of that name, where the script imports it from a module of ours."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and name in {alias.name for alias in node.names}:
            return next((_definition(_parse(file), name) for file in reversed(_files(node.module))), None)
    return None


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


@cache
def _meaning(path: Path) -> bytes:
    """SHA-256 of a module's syntax tree without docstrings and positions. Nothing that is empty is counted, so that
    versions of Python whose trees have more fields agree."""
    digest = hashlib.sha256()
    waiting: list = [_parse(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.AST):
            fields = [(name, getattr(node, name)) for name in node._fields]
            digest.update(f"({type(node).__name__}".encode())
            waiting.append(")")
            for name, value in fields:
                if name == "body" and isinstance(value, list) and _has_docstring(node):
                    value = value[1:]
                if value is not None and value != []:
                    waiting += [value, name]
        elif isinstance(node, list):
            digest.update(f"[{len(node)}".encode())
            waiting += node
        else:
            digest.update(f"{node!r} ".encode())
    return digest.digest()


def _has_docstring(node: ast.AST) -> bool:
    return isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and bool(
        node.body
        and isinstance(node.body[0], ast.Expr)
        and isinstance(node.body[0].value, ast.Constant)
        and isinstance(node.body[0].value.value, str)
    )


@cache
def _imports(path: Path) -> frozenset[Path]:
    names = set()
    for node in _statements(_parse(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    # A package that loads whatever lies in it, such as the papers' entries.
    loads_all = path.name == "__init__.py" and "iter_modules(__path__)" in path.read_text(encoding="utf-8")
    siblings = path.parent.glob("*.py") if loads_all else ()
    return frozenset([file for name in names for file in _files(name)] + [*siblings])


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Everything below `node` in which an import can stand: no expressions, which are most of the tree."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case)):
            yield child
            yield from _statements(child)


def _files(module: str) -> list[Path]:
    """Files that `import module` executes, packages on the way included; none for other people's modules."""
    files, folder = [], SCRIPTS
    for part in module.split("."):
        folder = folder / part
        if (folder / "__init__.py").exists():
            files.append(folder / "__init__.py")
        elif folder.with_suffix(".py").exists():
            files.append(folder.with_suffix(".py"))
    return files
