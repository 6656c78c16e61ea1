"""`snakemake --lint` without its check that functions and rules lie in different files.

Here the file of a method's rules holds its helpers too, so that a reader finds the method in one place.
"""

import sys

from snakemake.cli import main
from snakemake.linting.snakefiles import SnakefileLinter

if __name__ == "__main__":
    del SnakefileLinter.lint_mixed_func_and_rules
    sys.exit(main(["--lint", "--config", "scale=sample"]))
