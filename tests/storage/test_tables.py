import numpy as np
import pytest

from maskmill.errors import InputError
from maskmill.storage.tables import read_tables, write_table

VECTORS = np.random.default_rng(0).random((3, 20), dtype=np.float32)
COLUMNS = {"vectors": VECTORS, "counts": np.array([3, 1, 2]), "images": np.array(["a", "bä", "c"])}


def test_rows_of_several_tables_come_in_the_order_of_the_files(tmp_path):
    parts = [slice(0, 2), slice(2, 2), slice(2, 3)]
    paths = [tmp_path / f"{number}.h5" for number in range(3)]
    for path, part in zip(paths, parts, strict=True):
        write_table(path, {name: values[part] for name, values in COLUMNS.items()})
    table = read_tables(paths)
    assert list(table) == sorted(COLUMNS)
    for name, values in COLUMNS.items():
        np.testing.assert_array_equal(table[name], values)


def test_a_flipped_byte_is_one_line_that_names_the_file(tmp_path):
    """For any flipped byte, either all data is unchanged or the error names the file."""
    path = tmp_path / "table.h5"
    write_table(path, COLUMNS)
    whole, noticed = path.read_bytes(), 0
    for position in range(0, len(whole), 11):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        try:
            table = read_tables([path])
            for name, values in COLUMNS.items():
                np.testing.assert_array_equal(table[name], values)
        except InputError as error:
            message, noticed = str(error), noticed + 1
            assert message.startswith(f"{path}: ") and message.endswith("delete it and run again")
            assert "\n" not in message
    assert noticed > 20


def test_a_missing_or_cut_off_table_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a\.h5: no such table"):
        read_tables([tmp_path / "a.h5"])
    write_table(tmp_path / "a.h5", COLUMNS)
    (tmp_path / "a.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:-100])
    with pytest.raises(InputError, match=r"a\.h5: not a readable HDF5 file"):
        read_tables([tmp_path / "a.h5"])
