"""What README.md tells the reader to type does what it says."""

import re
from pathlib import Path

import numpy as np

from maskmill.storage.maps import create_maps

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def block(heading: str) -> str:
    """The Python lines below a heading."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1)


def test_the_lines_that_read_a_pseudo_label_file_run_as_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("network").write_bytes(b"weights")
    origin = {"producer": "debias_labels", "inputs": ["network"]}
    with create_maps("work/sample/voc/mars/irn/pseudo_labels.h5", "label", **origin) as store:
        store.write("2012_000001", np.array([[0, 8, 254]], np.uint8))
    exec(compile(block("Reading a pseudo-label file"), "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.startswith('1 (1, 3) [  0   8 254] debias_labels {"network": ')
