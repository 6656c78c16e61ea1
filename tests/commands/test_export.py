"""`maskmill export`: label maps as PNG files."""

import numpy as np
import pytest
from PIL import Image

from maskmill.commands import export
from maskmill.errors import InputError
from stores import CAT, IDS


def test_labels_are_exported_with_removed_pixels_as_they_are_told(work, tmp_path):
    export.main(str(work / "mars/irn/pseudo_labels.h5"), str(tmp_path), biased=255)
    with Image.open(tmp_path / f"{IDS[0]}.png") as mask:
        assert mask.mode == "P" and np.unique(mask).tolist() == [0, CAT, 255]
    with pytest.raises(InputError, match="--biased is 7; choose 0"):
        export.main(str(work / "mars/irn/pseudo_labels.h5"), str(tmp_path), biased=7)
    with pytest.raises(InputError, match=r"cams\.h5: holds cam, not labels"):
        export.main(str(work / "cams.h5"), str(tmp_path))
