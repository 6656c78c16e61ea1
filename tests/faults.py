"""Stages that are killed or held at a chosen moment."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "workflow/faults"


def variables(fault: str) -> dict[str, str]:
    """Of the environment in which the fault happens; see `sitecustomize.py` for its form."""
    paths = (str(FOLDER), os.environ.get("PYTHONPATH"))
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "FAULT": fault}
