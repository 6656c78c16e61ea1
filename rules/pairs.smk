"""Images, with or without captions, for open-vocabulary pre-training: their sources, and how they become shards."""

from maskmill.data.sample_scenes import stand_in_ids

PAIRS = work("pairs/{source}/{scatteritem}")
TAGGED = config["pairs"]["tags"]["dataset"]


wildcard_constraints:
    source="scenes|tags|imagenet|cc3m|cc12m",


def pair_files(sources: list[str], suffix: str) -> list[str]:
    """The shards of image-text pairs (.tar), or their indices (.json)."""
    return [path for source in sources for path in gather.images(work(f"pairs/{source}/{{scatteritem}}{suffix}"))]


def class_words(method: str, dataset: str) -> dict[int, str]:
    """Names of a data set's classes in texts, by mask id; drawn scenes have the names of their captions."""
    about = DATASETS[dataset]
    if drawn(dataset):
        ids = stand_in_ids(about)
        return {int(ids[i]): name for i, name in enumerate(DATASETS["voc"].classes) if i}
    words = section(method, dataset).get("names", {})
    return {i: words.get(name, name) for i, name in enumerate(about.classes) if i or not about.has_background}


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
        **settings_for("open_vocabulary/draw_pairs.py", "pairs.scenes"),
    script:
        "../workflow_scripts/open_vocabulary/draw_pairs.py"


rule caption_tags:
    input:
        index=work(f"{TAGGED}/index.csv"),
        ids=work(f"{TAGGED}/splits/train.txt"),
    output:
        pairs=work("pairs/tags/{scatteritem}.csv"),
    log:
        logs("pairs/caption_tags/{scatteritem}"),
    benchmark:
        benchmarks("pairs/caption_tags/{scatteritem}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        **settings_for("open_vocabulary/caption_tags.py", "pairs.tags", names=class_words("zeroseg", TAGGED)),
    script:
        "../workflow_scripts/open_vocabulary/caption_tags.py"


rule list_images:
    output:
        pairs=work("pairs/imagenet/{scatteritem}.csv"),
    log:
        logs("pairs/list_images/{scatteritem}"),
    benchmark:
        benchmarks("pairs/list_images/{scatteritem}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        **settings_for("open_vocabulary/list_images.py", "pairs.imagenet"),
    script:
        "../workflow_scripts/open_vocabulary/list_images.py"


# No digest of the code, so that an edit does not try dead links again.
rule download_pairs:
    output:
        pairs=work("pairs/{source}/{scatteritem}.csv"),
        report=work("pairs/{source}/{scatteritem}_report.json"),
    log:
        logs("pairs/download_pairs/{source}_{scatteritem}"),
    benchmark:
        benchmarks("pairs/download_pairs/{source}_{scatteritem}")
    wildcard_constraints:
        source="cc3m|cc12m",
    localrule: True
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
        min_share=lambda wildcards: config["pairs"][wildcards.source]["min_share"],
    script:
        "../workflow_scripts/open_vocabulary/download_pairs.py"


rule pack_pairs:
    input:
        pairs=f"{PAIRS}.csv",
    output:
        shard=f"{PAIRS}.tar",
        index=f"{PAIRS}.json",
    log:
        logs("pairs/pack_pairs/{source}_{scatteritem}"),
    benchmark:
        benchmarks("pairs/pack_pairs/{source}_{scatteritem}")
    wildcard_constraints:
        source="tags|imagenet|cc3m|cc12m",
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        **settings_for("open_vocabulary/pack_pairs.py", captioned=lambda wildcards: wildcards.source != "imagenet"),
    script:
        "../workflow_scripts/open_vocabulary/pack_pairs.py"
