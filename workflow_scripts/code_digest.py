"""A digest of a script and of every module of ours that it imports, so that editing a module reruns its stages."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def code_digest(script: str) -> str:
    """First 16 hexadecimal digits of the SHA-256 over the source of `script` (a file name in workflow_scripts/) and
    of all modules below that folder which it imports, directly or through others. Read statically, nothing runs."""
    digest = hashlib.sha256()
    for path in sorted(_closure(ROOT / script)):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def modules_of(script: str) -> set[str]:
    """The files of ours that `script` is built on, itself included, relative to workflow_scripts/."""
    return {str(path.relative_to(ROOT)) for path in _closure(ROOT / script)}


def _closure(path: Path) -> set[Path]:
    found, waiting = set(), [path]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_imports(path))
    return found


@cache
def _imports(path: Path) -> frozenset[Path]:
    names = set()
    for node in _statements(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(file for name in names for file in _files(name))


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Everything below `node` in which an import can stand: no expressions, which are most of the tree."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case)):
            yield child
            yield from _statements(child)


def _files(module: str) -> list[Path]:
    """Files that `import module` executes, packages on the way included; none for other people's modules."""
    files, folder = [], ROOT
    for part in module.split("."):
        folder = folder / part
        if (folder / "__init__.py").exists():
            files.append(folder / "__init__.py")
        elif folder.with_suffix(".py").exists():
            files.append(folder.with_suffix(".py"))
    return files
