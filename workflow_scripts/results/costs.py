"""What the stages cost that have run so far at a scale.

In: nothing but the benchmark files below `folder`. Out: `table`, CSV with columns dataset (empty: several share the
stage), stage, jobs, wall_s, longest_s, cpu_s (seconds), peak_mib; and the same as a picture.
Params: `folder`; `datasets`, names of folders that are data sets.
"""

from maskmill.errors import InputError
from maskmill.reporting.costs import draw_costs, stage_costs
from maskmill.storage.atomic import atomic_path
from maskmill.workflow import stage


def main(table: str, picture: str, folder: str, datasets: list[str], scale: str) -> None:
    costs = stage_costs(folder, datasets)
    if costs.empty:
        raise InputError(f"{folder}: no stage has run yet; first: snakemake results/mars_voc_miou.csv --cores 8")
    with atomic_path(table) as path:
        costs.to_csv(path, index=False, float_format="%.2f")
    draw_costs(costs, picture, f"scale {scale}: what the stages cost")


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
