"""Semi-supervised learning: which images have masks, and what its methods share."""

PARTITION = f"{WORK}/{{dataset}}/partitions/{{protocol}}/{{part}}"


rule partition:
    input:
        given_lists,
        ids=ids_of("train"),
        high_quality=ids_of("labelled_train"),
    output:
        labelled=f"{PARTITION}/labelled.txt",
        unlabelled=f"{PARTITION}/unlabelled.txt",
        manifest_file=f"{PARTITION}/manifest.json",
    log:
        f"logs/{SCALE}/{{dataset}}/partition/{{protocol}}_{{part}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/partition/{{protocol}}_{{part}}.tsv"
    wildcard_constraints:
        dataset="|".join(config["partitions"]),
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        code=code("few_masks/partition.py"),
        sources=list_sources,
        sha256=lambda wildcards: config["partitions"][wildcards.dataset]["sha256"],
    script:
        "../workflow_scripts/few_masks/partition.py"


rule partition_own:
    input:
        ids=f"{WORK}/{OWN}/splits/train.txt",
        with_masks=f"{WORK}/{OWN}/splits/labelled_train.txt",
    output:
        labelled=f"{partition_of(OWN)}/labelled.txt",
        unlabelled=f"{partition_of(OWN)}/unlabelled.txt",
        manifest_file=f"{partition_of(OWN)}/manifest.json",
    log:
        f"logs/{SCALE}/{OWN}/partition_own.log",
    benchmark:
        f"benchmarks/{SCALE}/{OWN}/partition_own.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        code=code("few_masks/partition_own.py"),
    script:
        "../workflow_scripts/few_masks/partition_own.py"


rule predict_labels:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("{split}"),
        checkpoint=f"{PARTITION}/{{method}}/{{row}}/network.safetensors",
    output:
        maps=f"{PARTITION}/{{method}}/{{row}}/{{split}}/argmax/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/predict_labels/{{protocol}}_{{part}}_{{method}}_{{row}}_{{split}}/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/predict_labels/{{protocol}}_{{part}}_{{method}}_{{row}}_{{split}}/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        code=code("results/predict_labels.py"),
        short_side=short_side,
        window=window,
    script:
        "../workflow_scripts/results/predict_labels.py"


rule measure_cost:
    input:
        checkpoint=f"{PARTITION}/{{method}}/{{row}}/network.safetensors",
    output:
        cost_table=f"{PARTITION}/{{method}}/{{row}}/cost.csv",
    log:
        f"logs/{SCALE}/{{dataset}}/measure_cost/{{protocol}}_{{part}}_{{method}}_{{row}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/measure_cost/{{protocol}}_{{part}}_{{method}}_{{row}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
        gpu=config["resources"]["gpu"],
    params:
        code=code("results/measure_cost.py"),
        size=crop_of,
    script:
        "../workflow_scripts/results/measure_cost.py"
