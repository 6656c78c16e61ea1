"""Run the finished targets at sample scale with seeds 0, 1, 2 and print each claim with its figure and threshold.

The figure of a claim is the mean over the seeds; each seed's own value stands beside it. Exit code 1 if a claim fails.
Runs that are complete are not repeated.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from maskmill.data.sample_scenes import CONTEXT_CLASSES

ROOT = Path(__file__).resolve().parents[1]
SEEDS = (0, 1, 2)
TARGETS = ["results/mars_voc_miou.csv", "results/deeplab_voc_miou.csv"]


@dataclass(frozen=True)
class Claim:
    """`measure` maps the folder of one seed's run to a figure, of which the mean should be at least `threshold`."""

    text: str
    unit: str
    threshold: float
    measure: Callable[[Path], float]


def false_positive_area(confusion_table: Path) -> int:
    """Pixels wrongly given to a class that comes with a context."""
    matrix = pd.read_csv(confusion_table, index_col="truth")
    return sum(matrix[name].sum() - matrix.loc[name, name] for name in CONTEXT_CLASSES)


def bias_removed(run: Path) -> float:
    """Percent of the false-positive area on context classes that debiasing takes out of the pseudo labels."""
    work = run / "work/sample/voc"
    before = false_positive_area(work / "irn/pseudo_labels_confusion.csv")
    after = false_positive_area(work / "mars/irn/pseudo_labels_confusion.csv")
    return 100 * (1 - after / before)


def miou(run: Path, target: str, variant: str) -> float:
    table = pd.read_csv(run / "results" / f"{target}.csv")
    return table.query("variant == @variant and metric == 'miou'")["value"].item()


def mars_gain(run: Path) -> float:
    return miou(run, "mars_voc_miou", "student/mars") - miou(run, "mars_voc_miou", "student/baseline")


def deeplab_gain(variant: str, baseline: str) -> Callable[[Path], float]:
    """mIoU of one row of DeepLab's table above another's."""
    return lambda run: miou(run, "deeplab_voc_miou", variant) - miou(run, "deeplab_voc_miou", baseline)


CLAIMS = [
    Claim("mars: less false-positive area on context-biased classes in the labels", "%", 30, bias_removed),
    Claim("mars: student/mars above student/baseline", "mIoU", 3, mars_gain),
    Claim("deeplab: aspp_l above largefov", "mIoU", 0, deeplab_gain("aspp_l", "largefov")),
    Claim("deeplab: the CRF on aspp_l", "mIoU", 1, deeplab_gain("aspp_l+crf", "aspp_l")),
]


def run(folder: Path, seed: int, cores: str) -> Path:
    """Run all targets with one seed in a folder of its own."""
    directory = folder / f"seed{seed}"
    command = [sys.executable, "-m", "snakemake", *TARGETS, "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(directory), "--cores", cores, "--rerun-incomplete", "--quiet", "rules"]
    command += ["--config", "scale=sample", f"seed={seed}"]
    subprocess.run(command, check=True, cwd=ROOT)
    return directory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("verify"), help="where the runs go (default: verify/)")
    parser.add_argument("--cores", default="all", help="CPU cores (default: all)")
    arguments = parser.parse_args()
    runs = [run(arguments.folder.resolve(), seed, arguments.cores) for seed in SEEDS]
    print(f"\nmean of seeds {', '.join(map(str, SEEDS))}, sample scale")
    failed = 0
    for claim in CLAIMS:
        values = [claim.measure(directory) for directory in runs]
        mean = sum(values) / len(values)
        failed += mean < claim.threshold
        verdict = "ok    " if mean >= claim.threshold else "FAILED"
        each = ", ".join(f"{value:.1f}" for value in values)
        print(f"{verdict} {claim.text}: {mean:.1f} {claim.unit} (at least {claim.threshold:g}; seeds {each})")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
