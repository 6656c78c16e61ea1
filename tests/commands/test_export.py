"""`maskmill export`: label maps as PNG files, any maps as one file."""

import numpy as np
import pytest
from PIL import Image

from maskmill.commands import export
from maskmill.errors import InputError
from maskmill.storage.maps import open_maps
from stores import BIASED, CAT, DOG, IDS


def test_labels_are_exported_with_removed_pixels_as_they_are_told(work, tmp_path):
    export.main(str(work / "mars/irn/pseudo_labels.h5"), str(tmp_path), biased=255)
    with Image.open(tmp_path / f"{IDS[0]}.png") as mask:
        assert mask.mode == "P" and np.unique(mask).tolist() == [0, CAT, 255]
    with pytest.raises(InputError, match="--biased is 7; choose 0"):
        export.main(str(work / "mars/irn/pseudo_labels.h5"), str(tmp_path), biased=7)
    with pytest.raises(InputError, match=r"cams\.h5: holds cam, not labels"):
        export.main(str(work / "cams.h5"), str(tmp_path))


def test_a_store_in_shards_is_exported_as_one_file_that_needs_no_other(work, tmp_path):
    export.main(str(work / "irn/pseudo_labels.h5"), store=str(tmp_path / "labels.h5"))
    with open_maps(tmp_path / "labels.h5") as one, open_maps(work / "irn/pseudo_labels.h5") as shards:
        assert list(one.files) == [tmp_path / "labels.h5"] and sorted(one) == sorted(shards) == sorted(IDS)
        assert all(np.array_equal(one[image_id], shards[image_id]) for image_id in IDS)


def test_stores_of_other_kinds_are_exported_with_the_attributes_of_their_maps(work, tmp_path):
    export.main(str(work / "cams.h5"), store=str(tmp_path / "cams.h5"))
    with open_maps(tmp_path / "cams.h5") as one, open_maps(work / "cams.h5") as cams:
        assert one.kind == "cam" and np.array_equal(one[IDS[0]], cams[IDS[0]])
        assert one.attributes_of(IDS[0])["classes"].tolist() == [CAT, DOG]


def test_removed_pixels_are_told_in_one_file_too(work, tmp_path):
    labels = str(work / "mars/irn/pseudo_labels.h5")
    for biased, found in ((BIASED, [0, CAT, BIASED]), (255, [0, CAT, 255])):
        export.main(labels, store=str(tmp_path / "one.h5"), biased=biased)
        with open_maps(tmp_path / "one.h5") as one:
            assert np.unique(one[IDS[0]]).tolist() == found


def test_one_target_is_asked_for_and_no_file_is_written_over_its_source(work, tmp_path):
    labels = str(work / "irn/pseudo_labels.h5")
    for targets in ({}, {"folder": str(tmp_path), "store": str(tmp_path / "a.h5")}):
        with pytest.raises(InputError, match="give either a folder for PNG files, or --store"):
            export.main(labels, **targets)
    with pytest.raises(InputError, match=r"labels\.h5: PNG files go into a folder; for one file give --store"):
        export.main(labels, "labels.h5")
    for source in (labels, str(work / "irn/pseudo_labels/2-of-2.h5")):
        with pytest.raises(InputError, match=r"--store .* is a file of the store to export; give another name"):
            export.main(labels, store=source)
