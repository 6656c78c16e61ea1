"""All results in one table: what each method is judged by, its baseline, the gain, the seeds, the paper's number.

By hand: python workflow_scripts/results/summary.py --tables a/results/*.csv b/results/*.csv --csv all.csv --markdown all.md
In: `tables`, result tables of one run or of several with other seeds; CSV files of other kinds are left out, with a
line. Out: `csv` and `markdown`. Values are averaged over seeds alone, never over different scales, data or labels.
"""

import logging

from maskmill.errors import InputError
from maskmill.reporting.summary import as_csv, as_markdown, read_table, summarise
from maskmill.storage.atomic import write_text
from maskmill.workflow import stage

logger = logging.getLogger(__name__)


def main(tables: list[str], csv: str, markdown: str) -> None:
    read = {path: read_table(path) for path in tables}
    for path in (path for path, table in read.items() if table is None):
        logger.info("left out: %s: not a table of scores", path)
    given = [table for table in read.values() if table is not None]
    if not given:
        raise InputError("no result tables to summarise; first: snakemake results/mars_voc_miou.csv --cores 8")
    summary = summarise(given)
    write_text(csv, as_csv(summary))
    write_text(markdown, as_markdown(summary))
    logger.info("%s: %d rows of %d tables", csv, len(summary), len(given))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
