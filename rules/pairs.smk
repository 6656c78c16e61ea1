"""Images with captions, or without, for open-vocabulary pre-training: drawn, listed or downloaded, then packed in shards."""

PAIRS = f"{WORK}/pairs/{{source}}/{{scatteritem}}"


localrules:
    download_pairs,


rule draw_pairs:
    output:
        shard="work/sample/pairs/scenes/{scatteritem}.tar",
        index="work/sample/pairs/scenes/{scatteritem}.json",
    log:
        "logs/sample/pairs/draw_pairs/{scatteritem}.log",
    benchmark:
        "benchmarks/sample/pairs/draw_pairs/{scatteritem}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        **config["pairs"]["scenes"],
        code=code("open_vocabulary/draw_pairs.py"),
    script:
        "../workflow_scripts/open_vocabulary/draw_pairs.py"


rule caption_tags:
    input:
        index=f"{WORK}/{config['pairs']['tags']['dataset']}/index.csv",
        ids=f"{WORK}/{config['pairs']['tags']['dataset']}/splits/train.txt",
    output:
        pairs=f"{WORK}/pairs/tags/{{scatteritem}}.csv",
    log:
        f"logs/{SCALE}/pairs/caption_tags/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/pairs/caption_tags/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        **config["pairs"]["tags"],
        code=code("open_vocabulary/caption_tags.py"),
        names=class_words("zeroseg", config["pairs"]["tags"]["dataset"]),
    script:
        "../workflow_scripts/open_vocabulary/caption_tags.py"


rule list_images:
    output:
        pairs=f"{WORK}/pairs/imagenet/{{scatteritem}}.csv",
    log:
        f"logs/{SCALE}/pairs/list_images/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/pairs/list_images/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        code=code("data/list_images.py"),
        root=config["pairs"]["imagenet"]["root"],
    script:
        "../workflow_scripts/data/list_images.py"


# No digest of the code: dead links are not asked for again after an edit.
rule download_pairs:
    output:
        pairs=f"{WORK}/pairs/{{source}}/{{scatteritem}}.csv",
        report=f"{WORK}/pairs/{{source}}/{{scatteritem}}_report.json",
    log:
        f"logs/{SCALE}/pairs/download_pairs/{{source}}_{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/pairs/download_pairs/{{source}}_{{scatteritem}}.tsv"
    wildcard_constraints:
        source="cc3m|cc12m",
    conda:
        "../envs/maskmill.yaml"
    threads: 16
    resources:
        mem_mb=growing(8000),
        runtime=growing(2880),
    params:
        links=lambda wildcards: config["pairs"][wildcards.source]["list"],
        columns=lambda wildcards: config["pairs"][wildcards.source]["columns"],
        folder=lambda wildcards: f"downloads/pairs/{wildcards.source}",
    script:
        "../workflow_scripts/open_vocabulary/download_pairs.py"


rule pack_pairs:
    input:
        pairs=f"{PAIRS}.csv",
    output:
        shard=f"{PAIRS}.tar",
        index=f"{PAIRS}.json",
    log:
        f"logs/{SCALE}/pairs/pack_pairs/{{source}}_{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/pairs/pack_pairs/{{source}}_{{scatteritem}}.tsv"
    wildcard_constraints:
        source="tags|imagenet|cc3m|cc12m",
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        code=code("open_vocabulary/pack_pairs.py"),
        captioned=lambda wildcards: wildcards.source != "imagenet",
    script:
        "../workflow_scripts/open_vocabulary/pack_pairs.py"
