"""maskmill: label-efficient and real-time semantic segmentation as one workflow.

For notebooks: `open_maps` reads a store of labels, `overlay` draws labels over an image, `palette` has VOC's colours.
"""

import importlib
import sys
from pathlib import Path

# A script that is run by hand uses the library of its own checkout, also where another checkout is installed.
_script = Path(getattr(sys.modules["__main__"], "__file__", None) or __file__).resolve()
if _script.parent.parent.name == "workflow_scripts" and (_script.parents[1] / "maskmill").is_dir():
    __path__ = [str(_script.parents[1] / "maskmill")]

from maskmill.storage.maps import open_maps  # noqa: E402

__all__ = ["open_maps", "overlay", "palette"]


def __getattr__(name: str):
    """Pictures on demand: no stage depends on their code."""
    if name in ("overlay", "palette"):
        return getattr(importlib.import_module("maskmill.reporting.overlay"), name)
    raise AttributeError(f"module 'maskmill' has no attribute {name!r}")
