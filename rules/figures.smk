"""Pictures of the losses of trainings and of scores over thresholds, and the table of what the stages cost.

This file comes last, since it knows all that rules make.
"""

import difflib
import re


def requested_tables(wildcards) -> list[str]:
    """What this call makes besides the costs: the files and rules that were named, or all targets."""
    named = workflow.dag_settings.targets
    if not named or "all" in named:
        return all_targets()
    outputs = {name: workflow.get_rule(name).output for name in named if workflow.is_rule(name)}
    files = {str(file) for name in named for file in outputs.get(name, [name])}
    return sorted(file for file in files if not file.startswith("results/costs."))


def last_measured(wildcards) -> int | None:
    """When the last stage ended, if the call names the costs alone: a stage that ends later makes them out of date."""
    if requested_tables(wildcards):
        return None
    files = (path for path in Path(f"benchmarks/{SCALE}").rglob("*.tsv") if path.name != "costs.tsv")
    return max((path.stat().st_mtime_ns for path in files), default=0)


for method, table in TABLES.items():

    rule:
        name:
            f"{method}_training"
        input:
            checkpoints=of_dataset(table.trainings),
        output:
            picture=report(
                f"results/{method}_{{dataset}}_training.png",
                **in_report(method, "losses of the trainings", "training"),
            ),
        log:
            logs(f"{{dataset}}/{method}_training"),
        benchmark:
            benchmarks(f"{{dataset}}/{method}_training")
        wildcard_constraints:
            dataset="|".join(table.datasets),
        localrule: True
        conda:
            "../envs/maskmill.yaml"
        resources:
            mem_mb=growing(1000),
            runtime=growing(10),
        params:
            **settings_for("results/draw_training.py", method=method),
        script:
            "../workflow_scripts/results/draw_training.py"


for method in [name for name in TABLES if TABLES[name].curves]:

    rule:
        name:
            f"{method}_curves"
        input:
            curves=list(TABLES[method].curves.values()),
        output:
            picture=report(
                f"results/{method}_{{dataset}}_curves.png", **in_report(method, "mIoU over thresholds", "curves")
            ),
        log:
            logs(f"{{dataset}}/{method}_curves"),
        benchmark:
            benchmarks(f"{{dataset}}/{method}_curves")
        wildcard_constraints:
            dataset="|".join(TABLES[method].datasets),
        localrule: True
        conda:
            "../envs/maskmill.yaml"
        resources:
            mem_mb=growing(500),
            runtime=growing(10),
        params:
            **settings_for("results/draw_curves.py", names=list(TABLES[method].curves), score="mIoU", method=method),
        script:
            "../workflow_scripts/results/draw_curves.py"


# The inputs are all other files that the same call makes, so that this rule runs last.
rule costs:
    input:
        requested_tables,
    output:
        table=report("results/costs.csv", caption="../report/costs.rst", category="Costs", labels={"shows": "table"}),
        picture=report(
            "results/costs.png",
            caption="../report/costs.rst",
            category="Costs",
            labels={"shows": "run time and memory"},
        ),
    log:
        logs("costs"),
    benchmark:
        benchmarks("costs")
    localrule: True
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        **settings_for(
            "results/costs.py",
            folder=f"benchmarks/{SCALE}",
            datasets=[*DATASETS, OWN, *BOXSETS, "pairs"],
            measured=last_measured,
        ),
    script:
        "../workflow_scripts/results/costs.py"


def check_targets() -> None:
    """Refuse a result that no rule makes, with the nearest one that a rule does; Snakemake offers none."""
    tables = [f"results/{method}_{dataset}_miou.csv" for method, table in TABLES.items() for dataset in table.datasets]
    known = [*tables, *MORE_TARGETS, "results/costs.csv", "results/summary.csv"]
    # Only the command line has the targets yet. To ask all rules takes a tenth of a second.
    for file in (word for word in sys.argv[1:] if re.fullmatch(r"results/[^/]+\.(csv|png)", word)):
        if file in known or Path(file).exists() or any(rule.is_producer(file) for rule in workflow.rules):
            continue
        close = difflib.get_close_matches(file, known, n=1)
        fix = f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"
        raise WorkflowError(f"config: no rule makes {file}; {fix}")


if workflow.is_main_process:
    check_targets()
