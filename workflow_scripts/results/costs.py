"""Sum up what the stages have cost that have run so far at a scale.

In: Snakemake's benchmark files.
Out: a table and a picture.
"""

from maskmill.errors import InputError
from maskmill.reporting.costs import draw_costs, stage_costs
from maskmill.storage.atomic import atomic_path
from maskmill.workflow import stage


def main(table: str, picture: str, folder: str, datasets: list[str], scale: str) -> None:
    """Sum up and draw the costs.

    Args:
        table: CSV to write, with columns dataset (empty: several share the stage), stage, jobs, wall_s, longest_s and
            cpu_s (seconds), and peak_mib (largest resident set of a job).
        folder: folder of the benchmark files.
        datasets: names of the subfolders that are data sets.
    """
    costs = stage_costs(folder, datasets)
    if costs.empty:
        raise InputError(f"{folder}: no stage has run yet; first: snakemake results/mars_voc_miou.csv --cores 8")
    with atomic_path(table) as path:
        costs.to_csv(path, index=False, float_format="%.2f")
    draw_costs(costs, picture, f"scale {scale}: what the stages cost")


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
