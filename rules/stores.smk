"""Stores of label maps, whatever method makes them: their shards are joined, their labels are scored.

This file comes after all rules that write shards.
"""

import re

# The names of the stores that rules write in shards. Snakemake has put the wildcard's constraint behind its name.
OUTPUTS = [file for rule in workflow.rules for file in rule.output]
STORES = {match[1] for file in OUTPUTS if (match := re.search(r"(\w+)/\{scatteritem\b[^/]*\.h5$", file))}


def evaluated_ids(wildcards) -> str:
    """Predictions are scored on their own split, pseudo labels on the training images that have masks."""
    folder = Path(wildcards.store).parent.name
    return work(f"{wildcards.dataset}/splits/{folder if folder in ROLES else 'labelled_train'}.txt")


def scoring(store: str) -> Scoring:
    """How a store's labels are scored, by the folder of its method."""
    return SCORINGS.get(store.split("/")[0], Scoring())


rule merge_maps:
    input:
        shards=gather.images(work("{{store}}/{scatteritem}.h5")),
    output:
        maps=work("{store}.h5"),
    log:
        logs("merge_maps/{store}"),
    benchmark:
        benchmarks("merge_maps/{store}")
    wildcard_constraints:
        store=f".*/({'|'.join(sorted(STORES))})",
    localrule: True
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        **settings_for("data/merge_maps.py"),
    script:
        "../workflow_scripts/data/merge_maps.py"


rule evaluate:
    input:
        index=work("{dataset}/index.csv"),
        ids=evaluated_ids,
        maps=work("{dataset}/{store}.h5"),
        foreground=lambda wildcards: scoring(wildcards.store).foreground(wildcards.dataset, wildcards.store),
    output:
        scores_table=work("{dataset}/{store}_scores.csv"),
        confusion_table=work("{dataset}/{store}_confusion.csv"),
    log:
        logs("{dataset}/evaluate/{store}"),
    benchmark:
        benchmarks("{dataset}/evaluate/{store}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        **settings_for(
            "results/evaluate.py",
            "evaluation",
            classes=averaged_classes,
            background=lambda wildcards: scoring(wildcards.store).background(wildcards.dataset),
            boundary=lambda wildcards: scoring(wildcards.store).boundary,
            left_out=lambda wildcards: scoring(wildcards.store).left_out(wildcards.dataset),
        ),
    script:
        "../workflow_scripts/results/evaluate.py"
