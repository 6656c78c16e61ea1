"""Run the finished targets at sample scale with seeds 0, 1, 2 and print each claim with its figure and threshold.

The figure of a claim is the mean over the seeds; each seed's own value follows in brackets. Exit code 1 if a claim
fails. Runs that are complete are not repeated.
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
METHODS = ("mars", "bas", "deeplab", "cwbass", "mgd", "barm", "mixreorg", "zeroseg")
TARGETS = [f"results/{method}_voc_miou.csv" for method in METHODS]
TARGETS += [f"results/bas_{boxset}_localization.csv" for boxset in ("cub", "ilsvrc")]
FOREGROUND = "miou_foreground"  # zero-shot, without the background's rule


@dataclass(frozen=True)
class Claim:
    """`measure` maps the folder of one seed's run to a figure, of which the mean should be at least `threshold`."""

    text: str
    unit: str
    threshold: float
    measure: Callable[[Path], float]


def false_positive_area(confusion_table: Path) -> int:
    """Pixels wrongly labelled as a class that comes with a context."""
    matrix = pd.read_csv(confusion_table, index_col="truth")
    return sum(matrix[name].sum() - matrix.loc[name, name] for name in CONTEXT_CLASSES)


def bias_removed(run: Path) -> float:
    """Percent of the false-positive area on context classes that debiasing takes out of the pseudo labels."""
    work = run / "work/sample/voc"
    before = false_positive_area(work / "irn/pseudo_labels_confusion.csv")
    after = false_positive_area(work / "mars/irn/pseudo_labels_confusion.csv")
    return 100 * (1 - after / before)


def value(run: Path, target: str, variant: str, metric: str = "miou") -> float:
    """A figure of a target's table."""
    table = pd.read_csv(run / "results" / f"{target}.csv")
    return table.query("variant == @variant and metric == @metric")["value"].item()


def gain(target: str, row: str, baseline: str, metric: str = "miou") -> Callable[[Path], float]:
    """mIoU, or another metric, of one row of a target's table above another's."""
    table = f"{target}_voc_miou"
    return lambda run: value(run, table, row, metric) - value(run, table, baseline, metric)


def joint_gain(task: str) -> Callable[[Path], float]:
    """mIoU of joint training above the best of what learns step by step."""
    rows = [f"{task}/{variant}" for variant in ("finetune", "frozen", "barm")]
    return lambda run: min(gain("barm", f"{task}/joint", row)(run) for row in rows)


def barm_claims(task: str) -> list[Claim]:
    barm, finetune = f"{task}/barm", f"{task}/finetune"
    return [
        Claim(f"barm: {task} above finetune", "mIoU", 10, gain("barm", barm, finetune)),
        Claim(f"barm: {task}, old classes above finetune", "mIoU", 20, gain("barm", barm, finetune, "miou_old")),
        Claim(f"barm: {task}, new classes against finetune", "mIoU", -10, gain("barm", barm, finetune, "miou_new")),
        Claim(f"barm: {task}, joint above all", "mIoU", 0, joint_gain(task)),
    ]


def least_teacher_gain(run: Path) -> float:
    """mIoU of MGD's weaker teacher above the better of the students' baselines."""
    teachers = [value(run, "mgd_voc_miou", f"teacher_{name}") for name in ("deep", "wide")]
    return min(teachers) - max(value(run, "mgd_voc_miou", f"{name}_supervised") for name in ("light", "mobile"))


def box_gain(boxset: str, metric: str) -> Callable[[Path], float]:
    """A metric of BAS' boxes above CAM's."""
    table = f"bas_{boxset}_localization"
    return lambda run: value(run, table, "bas", metric) - value(run, table, "cam", metric)


def metric(variant: str, name: str, target: str = "mixreorg") -> Callable[[Path], float]:
    """A figure of MixReorg's table, or of ZeroSeg's."""
    return lambda run: value(run, f"{target}_voc_miou", variant, name)


def segmentation_loss(run: Path) -> float:
    """1.35 - L_seg; a guess among four captions costs ln 4 = 1.386."""
    return 1.35 - metric("mixreorg", "loss_segmentation")(run)


def restoration(run: Path) -> float:
    """L_ori / L_res: below 1 / 1.3 where patches are not put back in their places."""
    return metric("mixreorg", "loss_original")(run) / metric("mixreorg", "loss_restored")(run)


CLAIMS = [
    Claim("mars: less false-positive area on context-biased classes in the labels", "%", 30, bias_removed),
    Claim("mars: student/mars above student/baseline", "mIoU", 3, gain("mars", "student/mars", "student/baseline")),
    Claim("bas: seed/bas above seed/cam", "mIoU", 5, gain("bas", "seed/bas", "seed/cam")),
    Claim("deeplab: aspp_l above largefov", "mIoU", 0, gain("deeplab", "aspp_l", "largefov")),
    Claim("deeplab: the CRF on aspp_l", "mIoU", 1, gain("deeplab", "aspp_l+crf", "aspp_l")),
    Claim("cwbass above supervised", "mIoU", 3, gain("cwbass", "cwbass", "supervised")),
    Claim("mgd: the light student above supervised", "mIoU", 3, gain("mgd", "light_cached", "light_supervised")),
    Claim("mgd: the mobile student above supervised", "mIoU", 3, gain("mgd", "mobile_cached", "mobile_supervised")),
    Claim("mgd: both teachers above the students' baselines", "mIoU", 0, least_teacher_gain),
    Claim("bas: GT-known boxes above cam (CUB's layout)", "%", 15, box_gain("cub", "gt_known_loc")),
    Claim("bas: the same, settings chosen on other images", "%", 15, box_gain("cub", "gt_known_loc_heldout")),
    Claim("bas: GT-known boxes above cam (ILSVRC's layout)", "%", 15, box_gain("ilsvrc", "gt_known_loc")),
    *barm_claims("15-1"),
    *barm_claims("10-1"),
    # What a network has that learned; the pages of both methods, docs/methods/, have measured figures.
    Claim("mixreorg: mixed patches that find their caption", "%", 30, metric("mixreorg", "mix_acc")),
    Claim("mixreorg: 1.35 above the loss of the mixed patches", "", 0, segmentation_loss),
    Claim("mixreorg: loss of the originals over that of the restored", "", 1 / 1.3, restoration),
    Claim("mixreorg: segments used per image", "", 2, metric("mixreorg", "segments_used")),
    Claim("mixreorg: entropy of the segments", "nat", 0.3, metric("mixreorg", "segments_entropy")),
    Claim("mixreorg: zero-shot on the foreground", "mIoU", 12, metric("mixreorg", FOREGROUND)),
    Claim("mixreorg: the same, above image_level", "mIoU", 0, gain("mixreorg", "mixreorg", "image_level", FOREGROUND)),
    Claim("zeroseg: zero-shot on the foreground", "mIoU", 15, metric("zeroseg", FOREGROUND, "zeroseg")),
    Claim("zeroseg: the same, above base", "mIoU", 10, gain("zeroseg", "zeroseg", "base", FOREGROUND)),
    Claim("zeroseg: the same, above image_level", "mIoU", 0, gain("zeroseg", "zeroseg", "image_level", FOREGROUND)),
    Claim("zeroseg: segments used per image", "", 2, metric("zeroseg", "segments_used", "zeroseg")),
    Claim("zeroseg: entropy of the segments", "nat", 0.3, metric("zeroseg", "segments_entropy", "zeroseg")),
    Claim("zeroseg: entropy of the views that segments match", "nat", 1, metric("zeroseg", "view_entropy", "zeroseg")),
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
