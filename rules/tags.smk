"""Labels from image tags: a classifier, its class activation maps (CAMs), and the pseudo labels of IRN."""

# The maps of which seeds are scored and affinity labels made, and whether there is a second set of maps.
FULL_SEEDS = config["cams"]["seed_maps"] == "official"
SEEDS = "full_cams" if FULL_SEEDS else "cams"
IRN_START = starting_points(
    "imagenet" if config["irn"]["pretrained"] else "classifier", config["irn"]["network"]["backbone"]
)


rule train_classifier:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
        weights=pretrained(config["classifier"]["network"]["backbone"], config["classifier"]["pretrained"]),
    output:
        checkpoint=work("{dataset}/classifier/classifier.safetensors"),
    log:
        logs("{dataset}/train_classifier"),
    benchmark:
        benchmarks("{dataset}/train_classifier")
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(16000),
        runtime=720,
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("tags/train_classifier.py", "classifier"),
    script:
        "../workflow_scripts/tags/train_classifier.py"


rule cams:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
        checkpoint=work("{dataset}/classifier/classifier.safetensors"),
    output:
        **({"full_maps": work("{dataset}/full_cams/{scatteritem}.h5")} if FULL_SEEDS else {}),
        maps=work("{dataset}/cams/{scatteritem}.h5"),
    log:
        logs("{dataset}/cams/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/cams/{scatteritem}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("tags/cams.py", "cams"),
    script:
        "../workflow_scripts/tags/cams.py"


rule evaluate_seeds:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("labelled_train"),
        maps=work(f"{{dataset}}/{SEEDS}.h5"),
    output:
        curve=work("{dataset}/seed_miou.csv"),
        scores_table=work("{dataset}/seed_scores.csv"),
    log:
        logs("{dataset}/evaluate_seeds"),
    benchmark:
        benchmarks("{dataset}/evaluate_seeds")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        **settings_for("tags/evaluate_seeds.py", "cams", "evaluation", classes=averaged_classes),
    script:
        "../workflow_scripts/tags/evaluate_seeds.py"


rule affinity_labels:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
        cams=work(f"{{dataset}}/{SEEDS}.h5"),
    output:
        maps=work("{dataset}/affinity_labels/{scatteritem}.h5"),
    log:
        logs("{dataset}/affinity_labels/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/affinity_labels/{scatteritem}")
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_crf"]
    resources:
        mem_mb=growing(2000),
        runtime=growing(120),
    params:
        **settings_for("tags/affinity_labels.py", "irn", crf=config["crf"]["irn"]),
    script:
        "../workflow_scripts/tags/affinity_labels.py"


rule train_irn:
    input:
        **IRN_START,
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
        labels=work("{dataset}/affinity_labels.h5"),
    output:
        checkpoint=work("{dataset}/irn/irn.safetensors"),
    log:
        logs("{dataset}/train_irn"),
    benchmark:
        benchmarks("{dataset}/train_irn")
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(16000),
        runtime=720,
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("tags/train_irn.py", "irn"),
    script:
        "../workflow_scripts/tags/train_irn.py"


rule random_walk:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
        cams=work("{dataset}/cams.h5"),
        checkpoint=work("{dataset}/irn/irn.safetensors"),
    output:
        maps=work("{dataset}/irn/pseudo_labels/{scatteritem}.h5"),
    log:
        logs("{dataset}/random_walk/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/random_walk/{scatteritem}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("tags/random_walk.py", "irn"),
    script:
        "../workflow_scripts/tags/random_walk.py"
