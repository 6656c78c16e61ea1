"""MARS: from biased to debiased pseudo labels."""


rule image_centroids:
    input:
        ids=ids_of("train"),
        features=f"{WORK}/{{dataset}}/uss/features.h5",
        labels=f"{WORK}/{{dataset}}/{{provider}}/pseudo_labels.h5",
    output:
        centroids=f"{WORK}/{{dataset}}/mars/{{provider}}/centroids/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/image_centroids/{{provider}}/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/image_centroids/{{provider}}/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        **only(config["mars"], "k_foreground", "k_background", "samples", "kmeans", "few_samples"),
        code=code("mars/image_centroids.py"),
        seed=config["seed"],
    script:
        "../workflow_scripts/mars/image_centroids.py"


rule debiased_centroids:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        shards=gather.images(f"{WORK}/{{{{dataset}}}}/mars/{{{{provider}}}}/centroids/{{scatteritem}}.h5"),
    output:
        debiased=f"{WORK}/{{dataset}}/mars/{{provider}}/debiased_centroids.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/debiased_centroids/{{provider}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/debiased_centroids/{{provider}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        **only(config["mars"], "alpha", "normalise_centroids"),
        code=code("mars/debiased_centroids.py"),
    script:
        "../workflow_scripts/mars/debiased_centroids.py"


rule debias_labels:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        features=f"{WORK}/{{dataset}}/uss/features.h5",
        labels=f"{WORK}/{{dataset}}/{{provider}}/pseudo_labels.h5",
        debiased=f"{WORK}/{{dataset}}/mars/{{provider}}/debiased_centroids.h5",
    output:
        maps=f"{WORK}/{{dataset}}/mars/{{provider}}/pseudo_labels/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/debias_labels/{{provider}}/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/debias_labels/{{provider}}/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_crf"]
    resources:
        mem_mb=growing(2000),
        runtime=growing(120),
    params:
        **only(config["mars"], "refine", "background", "gamma", "rescale"),
        code=code("mars/debias_labels.py"),
        crf=config["crf"]["deeplab"],
        short_side=short_side,
    script:
        "../workflow_scripts/mars/debias_labels.py"
