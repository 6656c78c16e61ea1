"""BAS: seeds that cover whole objects; and the chain of IRN's rules on them, which makes `bas` a provider of labels."""

BAS = f"{WORK}/{{dataset}}/bas"
BAS_IRN = merged(config["irn"], config["bas"]["irn"])


rule train_bas:
    input:
        **bas_start(),
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
    output:
        checkpoint=f"{BAS}/bas.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/train_bas.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/train_bas.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **without(config["bas"], "init", "scales", "add_cams", "irn"),
        **training(),
        code=code("bas/train_bas.py"),
    script:
        "../workflow_scripts/bas/train_bas.py"


rule bas_maps:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        cams=f"{WORK}/{{dataset}}/cams.h5",
        checkpoint=f"{BAS}/bas.safetensors",
    output:
        maps=f"{BAS}/cams/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/bas_maps/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/bas_maps/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
        gpu=config["resources"]["gpu"],
    params:
        **only(config["bas"], "scales", "add_cams"),
        code=code("bas/bas_maps.py"),
        short_side=short_side,
    script:
        "../workflow_scripts/bas/bas_maps.py"


use rule evaluate_seeds as evaluate_bas_seeds with:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("labelled_train"),
        maps=f"{BAS}/cams.h5",
    output:
        curve=f"{BAS}/seed_miou.csv",
        scores_table=f"{BAS}/seed_scores.csv",
    log:
        f"logs/{SCALE}/{{dataset}}/evaluate_bas_seeds.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/evaluate_bas_seeds.tsv"


use rule affinity_labels as bas_affinity_labels with:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        cams=f"{BAS}/cams.h5",
    output:
        maps=f"{BAS}/affinity_labels/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/bas_affinity_labels/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/bas_affinity_labels/{{scatteritem}}.tsv"
    params:
        **affinity(BAS_IRN),


use rule train_irn as train_bas_irn with:
    input:
        **irn_start(),
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        labels=f"{BAS}/affinity_labels.h5",
    output:
        checkpoint=f"{BAS}/irn.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/train_bas_irn.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/train_bas_irn.tsv"


use rule random_walk as bas_random_walk with:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        cams=f"{BAS}/cams.h5",
        checkpoint=f"{BAS}/irn.safetensors",
    output:
        maps=f"{BAS}/pseudo_labels/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/bas_random_walk/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/bas_random_walk/{{scatteritem}}.tsv"
    params:
        **walking(BAS_IRN),
