"""The result table of every registered method with its picture, and the summary of all tables."""

from maskmill.workflow.row_settings import row_settings
from maskmill.workflow.user_files import content_digest


def of_dataset(function):
    """A function of a data set's name as one of a job's wildcards."""
    return lambda wildcards: function(wildcards.dataset)


def row_files(method: str, kind: str):
    """The files of a table's rows: their scores, or the costs of those that have some."""
    return lambda wildcards: [
        file for row in TABLES[method].rows(wildcards.dataset) if (file := getattr(row, kind)) is not None
    ]


def row_roles(method: str):
    """Each row and the split that it was scored on."""
    return lambda wildcards: {row.name: row.role for row in TABLES[method].rows(wildcards.dataset)}


def rows_with_costs(method: str):
    """The names of the rows that have a file of costs."""
    return lambda wildcards: [row.name for row in TABLES[method].rows(wildcards.dataset) if row.cost is not None]


def settings_of_rows(method: str):
    """Each row and the digest of the settings behind it; of other methods' sections, few count."""

    def digests(wildcards) -> dict[str, str]:
        rows = [row.name for row in TABLES[method].rows(wildcards.dataset)]
        others = {*TABLES, "localization"} - {method, *TABLES[method].builds_on}
        return row_settings(config, method, wildcards.dataset, rows, others)

    return digests


def finished_tables(wildcards) -> list[str]:
    """The result tables that are there, of whatever scale and seed."""
    return sorted(str(path) for end in ("miou", "localization") for path in Path("results").glob(f"*_{end}.csv"))


def finished_contents(wildcards) -> list[str]:
    """Digests of those tables."""
    return [content_digest(path) for path in finished_tables(wildcards)]


# What a data set changes counts in its table alone. IRN's labels are those of MARS and BAS.
for method, table in {**TABLES, "irn": TABLES["mars"]}.items():
    for dataset in config.get(method, {}).get("datasets", {}):
        if dataset not in table.datasets:
            raise WorkflowError(
                f"config: {method}.datasets has {dataset!r}, but tables are made of {', '.join(table.datasets)} alone; "
                "remove it"
            )


for method, table in TABLES.items():

    rule:
        name:
            f"{method}_table"
        input:
            of_dataset(table.extras),
            f"results/{method}_{{dataset}}_training.png",
            manifest=work("{dataset}/splits/manifest.json"),
            partition=of_dataset(table.manifest),
            scores=row_files(method, "scores"),
            costs=row_files(method, "cost"),
        output:
            table=report(f"results/{method}_{{dataset}}_miou.csv", **in_report(method, "all scores", f"table_{method}")),
            page=report(f"results/{method}_{{dataset}}_miou.html", **in_report(method, "summary", f"table_{method}")),
            picture=report(
                f"results/{method}_{{dataset}}_classes.png", **in_report(method, "IoU of each class", "classes")
            ),
        log:
            logs(f"{{dataset}}/{method}_table"),
        benchmark:
            benchmarks(f"{{dataset}}/{method}_table")
        wildcard_constraints:
            dataset="|".join(table.datasets),
        localrule: True
        conda:
            "../envs/maskmill.yaml"
        resources:
            mem_mb=growing(500),
            runtime=growing(10),
        params:
            **settings_for(
                "results/result_table.py",
                method=method,
                roles=row_roles(method),
                settings=settings_of_rows(method),
                rows_with_costs=rows_with_costs(method),
                published=table.published,
                note=table.note,
                compared=of_dataset(table.compared),
                drawn=of_dataset(drawn),
            ),
        script:
            "../workflow_scripts/results/result_table.py"


# The tables are parameters, not inputs: a summary of what is there must not start what is missing.
rule summary:
    output:
        csv="results/summary.csv",
        markdown="results/summary.md",
    log:
        "logs/summary.log",
    benchmark:
        "benchmarks/summary.tsv"
    localrule: True
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        **settings_for("results/summary.py", tables=finished_tables, contents=finished_contents),
    script:
        "../workflow_scripts/results/summary.py"
