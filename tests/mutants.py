"""Would the tests notice an error in a method? Changes one place of a file at a time and runs the tests of that file.

    python tests/mutants.py                                # all methods and the training loop
    python tests/mutants.py --files methods/irn.py --list  # only the places that would be changed

A changed file is a mutant. If a test fails, the mutant is killed; if all pass, it survives: either the change does not
matter, or a test is missing. Mutants are written into a temporary copy, never into the checkout.

A file's tests are those in `tests/` that import it, except for those that start Snakemake (`tests/workflow`), the
benchmarks, and `tests/training/test_several_devices.py`, which takes a minute (`--also` adds it).
"""

import argparse
import ast
import os
import random
import re
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

import warm

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = Path("workflow_scripts/maskmill")
METHODS = sorted(path.name for path in (ROOT / LIBRARY / "methods").glob("*.py") if path.name != "__init__.py")
FILES = [*(f"methods/{name}" for name in METHODS), "training/loop.py"]
PARTS = ("workflow_scripts", "tests", "rules", "scales", "examples", "config.yaml", "Snakefile", "pyproject.toml")
LEFT_OUT = ("tests/workflow/", "tests/benchmarks/", "tests/training/test_several_devices.py")

OPERATORS = {
    **{ast.Add: ("sign", "+", "-"), ast.Sub: ("sign", "-", "+")},
    **{ast.Mult: ("sign", "*", "/"), ast.Div: ("sign", "/", "*")},
    **{ast.Lt: ("comparison", "<", "<="), ast.LtE: ("comparison", "<=", "<")},
    **{ast.Gt: ("comparison", ">", ">="), ast.GtE: ("comparison", ">=", ">")},
    **{ast.Eq: ("comparison", "==", "!="), ast.NotEq: ("comparison", "!=", "==")},
    **{ast.And: ("and/or", "and", "or"), ast.Or: ("and/or", "or", "and")},
    **{ast.BitAnd: ("and/or", "&", "|"), ast.BitOr: ("and/or", "|", "&")},
}
PREFIXES = {ast.USub: ("sign", "-"), ast.Not: ("not", "not"), ast.Invert: ("not", "~")}
PAIRS = {"max": "min", "amax": "amin", "argmax": "argmin", "maximum": "minimum"}
NAMES = {old: (new, "max/min") for pair in PAIRS.items() for old, new in (pair, pair[::-1])}
NAMES |= {"mean": ("sum", "mean/sum"), "sum": ("mean", "mean/sum"), "no_grad": ("enable_grad", "gradient")}


class Place(NamedTuple):
    """The bytes start..end of a file, and what a mutant has there."""

    start: int
    end: int
    new: str
    kind: str

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.new.encode() + source[self.end :]

    def described(self, source: bytes) -> str:
        """Line number and kind; the place's lines before and after, written as one."""
        first, last = source.rfind(b"\n", 0, self.start) + 1, source.find(b"\n", self.end)
        longer = len(self.new.encode()) - (self.end - self.start)
        lines = source[first:last], self.applied(source)[first : last + longer]
        before, after = (" ".join(text.decode().split()) for text in lines)
        number = source[:first].count(b"\n") + 1
        return f"{number} {self.kind}: {before}  ->  {after}"


def nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a tree, without annotations, aliases of types, and the texts of errors and logs."""
    log = isinstance(node, ast.Call) and ast.unparse(node.func).startswith("logger.")
    alias = isinstance(node, ast.Assign) and node.col_offset == 0 and not ast.unparse(node.targets[0]).isupper()
    if log or alias or isinstance(node, ast.Raise | ast.JoinedStr):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns") and dim_of(node) is None:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from nodes(child)


def dim_of(node: ast.AST) -> int | None:
    """n of an argument `dim=n`."""
    is_number = isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant | ast.UnaryOp)
    return ast.literal_eval(node.value) if is_number and node.arg in ("dim", "axis") else None


def places_of(source: bytes) -> list[Place]:
    """All places of a file, in its order."""
    lines, places = [0, *accumulate(map(len, source.splitlines(keepends=True)))], []

    def span(node) -> tuple[int, int]:
        return lines[node.lineno - 1] + node.col_offset, lines[node.end_lineno - 1] + node.end_col_offset

    def add(start: int, end: int, new: str, kind: str) -> None:
        places.append(Place(start, end, new, kind))

    def swap(operator, left, right) -> None:
        if type(operator) in OPERATORS and not any(isinstance(side, ast.Dict | ast.DictComp) for side in (left, right)):
            kind, old, new = OPERATORS[type(operator)]
            start = source.index(old.encode(), span(left)[1], span(right)[0])
            add(start, start + len(old), new, kind)

    for node in nodes(ast.parse(source)):
        match node:
            case ast.BinOp(left, op, right) | ast.AugAssign(left, op, right):
                swap(op, left, right)
            case ast.BoolOp(op, values):
                for pair in pairwise(values):
                    swap(op, *pair)
            case ast.Compare(left, operators, others):
                for op, pair in zip(operators, pairwise([left, *others]), strict=True):
                    swap(op, *pair)
            case ast.UnaryOp(op):
                kind, prefix = PREFIXES[type(op)]
                add(span(node)[0], span(node)[0] + len(prefix), "", kind)
            case ast.Constant(bool(value)):
                add(*span(node), str(not value), "boolean")
            case ast.Constant(int(value)):
                add(*span(node), str(value + 1), "constant")
            case ast.Constant(float(value)):
                add(*span(node), str(2 * value or 1.0), "constant")
            case ast.keyword() if (dim := dim_of(node)) is not None:
                add(*span(node.value), str(dim - 1 if dim else 1), "dim")
            case ast.Call(ast.Attribute(attr="detach" | "clamp" | "clip" as name) as method, arguments, keywords):
                kind = "gradient" if name == "detach" else "clamp"
                add(source.rindex(b".", 0, span(method)[1]), span(node)[1], "", kind)
                bounds = [*arguments, *(keyword.value for keyword in keywords)]
                for bound in bounds if len(bounds) > 1 else ():
                    add(*span(bound), "None", kind)
            case ast.Call(ast.Attribute(attr=name) | ast.Name(name) as function) if name in NAMES:
                if isinstance(function, ast.Attribute) or name in ("max", "min"):
                    end = span(function)[1]
                    add(end - len(name), end, *NAMES[name])
    return sorted(places)


def chosen(places: list[Place], count: int, rng: random.Random) -> list[Place]:
    """`count` places: as many of each kind, as far as there are, and those of a kind from all parts of the file."""
    kinds = sorted({place.kind for place in places})
    rng.shuffle(kinds)
    of_kind = {kind: [place for place in places if place.kind == kind] for kind in kinds}
    numbers: Counter = Counter()
    while numbers.total() < min(count, len(places)):
        numbers[min((k for k in kinds if numbers[k] < len(of_kind[k])), key=lambda k: numbers[k])] += 1
    drawn = []
    for kind, number in numbers.items():
        limits = [part * len(of_kind[kind]) // number for part in range(number + 1)]
        drawn += [rng.choice(of_kind[kind][first:last]) for first, last in pairwise(limits)]
    return sorted(drawn)


def tests_of(file: str) -> list[str]:
    """Test files that import the module, its own first."""
    package, name = file.removesuffix(".py").split("/")
    imports = re.compile(rf"maskmill\.{package}(\.{name}\b| import .*\b{name}\b)")
    paths = [path for path in (ROOT / "tests").rglob("test_*.py") if imports.search(path.read_text())]
    found = (str(path.relative_to(ROOT)) for path in paths)
    return sorted((p for p in found if not p.startswith(LEFT_OUT)), key=lambda p: (not p.endswith(f"_{name}.py"), p))


def failure(copy: Path, test: str, limit: int) -> str | None:
    """The first test of a file that fails in the copy, or the exit code; None if all pass within `limit` seconds."""
    command = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", test]
    # Mutants of one second and one size would share a .pyc.
    options = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(copy.parent)}
    environment = {**os.environ, **options, "PYTHONPATH": str(copy / LIBRARY.parent)}
    with tempfile.TemporaryFile("w+") as out, open(os.devnull) as nothing:
        streams = {"stdin": nothing.fileno(), "stdout": out.fileno(), "stderr": out.fileno()}
        program = warm.Program(command, cwd=copy, env=environment, **streams)
        ended = threading.Event()
        # Single seconds, so that a time in which everything is stopped does not count.
        late = threading.Thread(target=lambda: any(ended.wait(1) for _ in range(limit)) or program.kill())
        late.start()
        code = program.wait()
        ended.set()
        late.join()
        out.seek(0)
        text = out.read()
    if code in (4, 5):  # wrong arguments, no tests
        raise SystemExit(text)
    first = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*| \(\w+\))?$", text, re.MULTILINE)
    return None if code == 0 else first[1] if first else f"exit code {code} (-9: longer than {limit} s)"


def check(file: str, places: list[Place], copy: Path, also: list[str]) -> int:
    """Run all mutants of a file and print what becomes of each. Returns the number of survivors."""
    path, tests, survivors = copy / LIBRARY / file, tests_of(file) + also, 0
    source, began = path.read_bytes(), time.monotonic()

    def first_failure(limit: int) -> str | None:
        return next(filter(None, (failure(copy, test, limit) for test in tests)), None)

    if failed := first_failure(600):
        raise SystemExit(f"{file}: {failed} fails without a change")
    limit = max(60, 5 * round(time.monotonic() - began))
    path.write_text("raise RuntimeError\n")
    if first_failure(limit) is None:
        raise SystemExit(f"{file}: the tests use another copy of the library")
    for place in places:
        path.write_bytes(place.applied(source))
        killer = first_failure(limit)
        survivors += killer is None
        print(f"{file}:{place.described(source)}\n    {f'killed by {killer}' if killer else 'SURVIVED'}", flush=True)
    path.write_bytes(source)
    return survivors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", nargs="+", choices=FILES, default=FILES, metavar="FILE", help="default: all")
    parser.add_argument("--count", type=int, default=20, help="of mutants per file")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of places")
    parser.add_argument("--also", nargs="+", default=[], metavar="TEST", help="tests that run after a file's own")
    parser.add_argument("--list", action="store_true", help="only print the places")
    arguments = parser.parse_args()
    sources = {file: (ROOT / LIBRARY / file).read_bytes() for file in arguments.files}
    rng = {file: random.Random(f"{arguments.seed} {file}") for file in sources}
    places = {file: chosen(places_of(source), arguments.count, rng[file]) for file, source in sources.items()}
    if arguments.list:
        print(*(f"{file}:{place.described(sources[file])}" for file in places for place in places[file]), sep="\n")
        return
    warm.start_server()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / part, copy / part)
        survivors = {file: check(file, places[file], copy, arguments.also) for file in places}
    print(f"\n{'file':28}mutants  killed  survived")
    for file, number in survivors.items():
        print(f"{file:28}{len(places[file]):7}{len(places[file]) - number:8}{number:10}")


if __name__ == "__main__":
    main()
