"""One picture of the search for the dense CRF's setting.

In: the CSV of all settings that were tried, with columns stage and miou (percent). Out: PNG, an axis a searched value.
"""

import pandas as pd

from maskmill.reporting.curves import draw_search
from maskmill.workflow import stage


def main(tried: str, picture: str, dataset: str, scale: str) -> None:
    title = f"deeplab on {dataset}, scale {scale}: the dense CRF's settings that were tried on training images"
    draw_search(pd.read_csv(tried), picture, title)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
