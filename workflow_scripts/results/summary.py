"""Collect the result tables in one, as the command `maskmill summary` does, for the rule of this name.

In: the result tables that are there.
Out: the summary, as CSV and as Markdown.
"""

from maskmill.commands.summary import main
from maskmill.workflow import stage

if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
