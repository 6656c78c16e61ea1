"""What a run was planned with, so that an edit during the run cannot change its results.

On a cluster each job reads the Snakefile, the configuration and the library again, perhaps days after the run began.
The jobs inherit the digests of the plan by an environment variable. A job does not start if its settings or rules
differ from those of the plan, and a stage ends at once if its code does (`maskmill.workflow.stage`); both say so in one
line.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from maskmill.errors import InputError
from maskmill.workflow.digest import code_digest

VARIABLE = "MASKMILL_PLAN"


class Plan:
    """Digests of settings, rules and scripts: current ones in the process that plans, inherited ones in its jobs.

    Args:
        planning: whether this process plans the run.
        settings: the whole configuration.
        rules: the Snakefile and the files that it includes.

    Raises:
        InputError: in a job, where settings or rules differ from those of the plan.
    """

    def __init__(self, *, planning: bool, settings: dict, rules: Iterable[Path]):
        inherited = None if planning else os.environ.get(VARIABLE)
        now = {
            "settings": settings_digest(settings),
            "rules": _digest_rules(rules),
        }
        self._digests = now if inherited is None else json.loads(inherited)
        for part in now:
            if self._digests[part] != now[part]:
                raise InputError(
                    f"config: the {part} were edited after the run began; start the same command again, "
                    "which makes what the edit concerns anew"
                )

    def code(self, script: str) -> str:
        """The planned digest of a script, named by its path in workflow_scripts/, and of what it imports."""
        if script not in self._digests:
            self._digests[script] = code_digest(script)
            os.environ[VARIABLE] = json.dumps(self._digests)
        return self._digests[script]


def settings_digest(settings: dict) -> str:
    """16 hexadecimal digits that tell settings apart, whatever their order."""
    return _digest([json.dumps(_with_text_keys(settings), sort_keys=True, default=str)])


def share_library(folder: Path) -> None:
    """Put a folder first among those that this process's jobs import from, whichever library is installed."""
    others = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), others]))


def _digest_rules(paths: Iterable[Path]) -> str:
    """Of the lines that are neither empty nor comments."""
    lines = (line.strip() for path in sorted(paths) for line in path.read_text(encoding="utf-8").splitlines())
    return _digest(line for line in lines if line and not line.startswith("#"))


def _with_text_keys(value: Any) -> Any:
    """A value of the configuration with all keys as text, so that they can be sorted: 732 may stand beside 1/8."""
    if isinstance(value, dict):
        return {str(key): _with_text_keys(inner) for key, inner in value.items()}
    return [_with_text_keys(inner) for inner in value] if isinstance(value, list) else value


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
