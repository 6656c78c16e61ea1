"""Collect result tables in one: methods beside their baselines, gains, seeds, and the papers' numbers.

By hand: maskmill summary a/results/*.csv b/results/*.csv --csv all.csv --markdown all.md
In: result tables of one run, or of several runs with other seeds.
Out: the collected table, as CSV and as Markdown. Values are averaged over seeds only, never over different settings,
    scales, data or labels.
"""

import logging

from maskmill.errors import InputError
from maskmill.reporting.summary import as_csv, as_markdown, read_table, summarise
from maskmill.storage.atomic import write_text

logger = logging.getLogger(__name__)


def main(tables: list[str], csv: str, markdown: str) -> None:
    """Write the summary of the tables.

    Args:
        tables: result tables, as CSV; CSV files of other kinds are left out, and the log names them.
        csv: CSV to write.
        markdown: Markdown file to write.
    """
    result_tables = []
    for path in tables:
        table = read_table(path)
        if table is None:
            logger.info("left out: %s: not a table of scores", path)
        else:
            result_tables.append(table)
    if not result_tables:
        raise InputError("no result tables to summarise; first: snakemake results/mars_voc_miou.csv --cores 8")
    summary = summarise(result_tables)
    write_text(csv, as_csv(summary))
    write_text(markdown, as_markdown(summary))
    logger.info("%s: %d rows of %d tables", csv, len(summary), len(result_tables))
