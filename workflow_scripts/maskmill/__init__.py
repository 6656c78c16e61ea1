"""maskmill: label-efficient and real-time semantic segmentation as one workflow."""

import sys
from pathlib import Path

# A script that is run by hand uses the library of its own checkout, also where another checkout is installed.
_script = Path(getattr(sys.modules["__main__"], "__file__", None) or __file__).resolve()
if _script.parent.parent.name == "workflow_scripts" and (_script.parents[1] / "maskmill").is_dir():
    __path__ = [str(_script.parents[1] / "maskmill")]

from maskmill.storage.maps import open_maps  # noqa: E402

__all__ = ["open_maps"]
