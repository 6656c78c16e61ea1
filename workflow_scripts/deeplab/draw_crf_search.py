"""Draw the search for the parameters of the dense CRF.

In: the table of all settings.
Out: a picture with an axis per parameter.
"""

import pandas as pd

from maskmill.reporting.curves import draw_search
from maskmill.workflow import stage


def main(tried: str, picture: str, dataset: str, scale: str) -> None:
    """Draw the picture.

    Args:
        tried: CSV of `crf_search.py`, with columns stage, the parameters, and miou (percent).
    """
    title = f"deeplab on {dataset}, scale {scale}: the dense CRF's settings that were tried on training images"
    draw_search(pd.read_csv(tried), picture, title)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
