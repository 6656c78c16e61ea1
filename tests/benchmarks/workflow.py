"""What the workflow itself costs: the DAG of all targets at paper scale, and a call that has nothing to do.

    python tests/benchmarks/workflow.py [--finished FOLDER]

Printed: seconds on the clock, seconds of CPU, and number of jobs. The DAG is that of `snakemake all` at paper scale,
10,582 training images in 32 shards. FOLDER is where `snakemake results/mars_voc_miou.csv` is finished at sample scale;
without it, it is made at the size of tests/overlays/tiny.yaml.
"""

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = "results/mars_voc_miou.csv"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finished", type=Path, help="folder where the target is finished at sample scale")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu, printed = timed(folder, "all", "--dry-run", "--quiet", "rules", "--config", "scale=paper")
        jobs = re.findall(r"^total +(\d+)$", printed, re.MULTILINE)[-1]
        print(f"DAG of all targets at paper scale, {jobs} jobs: {wall:.1f} s ({cpu:.1f} s of CPU)")
        options = []
        if arguments.finished is None:
            options = ["--configfile", str(ROOT / "tests/overlays/tiny.yaml")]
            timed(folder, TARGET, *options)
        wall, cpu, printed = timed(arguments.finished or folder, TARGET, *options)
        if "Nothing to be done" not in printed:
            sys.exit(f"error: {arguments.finished}: the target was not finished there; now it is, run again")
        print(f"finished target: {wall:.1f} s ({cpu:.1f} s of CPU)")


def timed(folder: str | Path, *arguments: str) -> tuple[float, float, str]:
    """Seconds on the clock and of CPU that Snakemake took, and what it printed."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([*command, "--cores", "2", *arguments], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, cpu, done.stdout + done.stderr


if __name__ == "__main__":
    main()
