"""Prediction, dense CRF, evaluation; and the joining of shards, which every per-image stage shares."""

STUDENT = f"{WORK}/{{dataset}}/students/{{provider}}/{{variant}}"


rule predict:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=predicted_ids,
        checkpoint=f"{STUDENT}/student.safetensors",
    output:
        maps=temp(f"{STUDENT}/{{split}}/probabilities/{{scatteritem}}.h5"),
        labels=f"{STUDENT}/{{split}}/argmax/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/predict/{{provider}}_{{variant}}_{{split}}/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/predict/{{provider}}_{{variant}}_{{split}}/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **config["prediction"],
        code=code("mars/predict.py"),
        short_side=short_side,
    script:
        "../workflow_scripts/mars/predict.py"


rule crf_predictions:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=predicted_ids,
        probabilities=f"{STUDENT}/{{split}}/probabilities/{{scatteritem}}.h5",
    output:
        maps=f"{STUDENT}/{{split}}/predictions/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/crf_predictions/{{provider}}_{{variant}}_{{split}}/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/crf_predictions/{{provider}}_{{variant}}_{{split}}/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_crf"]
    resources:
        mem_mb=growing(2000),
        runtime=growing(120),
    params:
        code=code("mars/crf_predictions.py"),
        crf=config["crf"]["deeplab"],
        short_side=short_side,
    script:
        "../workflow_scripts/mars/crf_predictions.py"


localrules:
    merge_maps,


rule merge_maps:
    input:
        shards=gather.images(f"{WORK}/{{{{store}}}}/{{scatteritem}}.h5"),
    output:
        maps=f"{WORK}/{{store}}.h5",
    log:
        f"logs/{SCALE}/merge_maps/{{store}}.log",
    benchmark:
        f"benchmarks/{SCALE}/merge_maps/{{store}}.tsv"
    wildcard_constraints:
        store=r".*/(cams|affinity_labels|pseudo_labels|features|logits|argmax|predictions|(wide_|deep_)?labels|confidence"
        r"|pooled|relation)",
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        code=code("data/merge_maps.py"),
    script:
        "../workflow_scripts/data/merge_maps.py"


rule evaluate:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=evaluated_ids,
        maps=f"{WORK}/{{dataset}}/{{store}}.h5",
        foreground=without_background,
    output:
        scores_table=f"{WORK}/{{dataset}}/{{store}}_scores.csv",
        confusion_table=f"{WORK}/{{dataset}}/{{store}}_confusion.csv",
    log:
        f"logs/{SCALE}/{{dataset}}/evaluate/{{store}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/evaluate/{{store}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        code=code("results/evaluate.py"),
        classes=averaged_classes,
        counted=config["evaluation"]["counted"],
        background=background_counts,
        boundary=lambda wildcards: wildcards.store.startswith("partitions/"),
        left_out=left_out_classes,
    script:
        "../workflow_scripts/results/evaluate.py"
