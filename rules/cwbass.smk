"""CW-BASS: a supervised teacher, its labels and confidence, a student that weighs them; and the student's ablations."""

CWBASS = f"{PARTITION}/cwbass"
CWBASS_TEACHER = f"{CWBASS}/supervised/network.safetensors"
CWBASS_CACHE = ("labels", "confidence")


rule train_supervised:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        labelled=f"{PARTITION}/labelled.txt",
        unlabelled=f"{PARTITION}/unlabelled.txt",
        weights=cwbass_weights,
    output:
        checkpoint=CWBASS_TEACHER,
    log:
        f"logs/{SCALE}/{{dataset}}/train_supervised/{{protocol}}_{{part}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/train_supervised/{{protocol}}_{{part}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **varied(
            "cwbass",
            "network",
            "augmentation",
            "optimizer",
            "lr",
            "new_factor",
            "weight_decay",
            "epochs",
            "batch_size",
        ),
        **training(),
        code=code("few_masks/train_supervised.py"),
        architecture="DeepLabV3Plus",
    script:
        "../workflow_scripts/few_masks/train_supervised.py"


rule cache_labels:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=f"{PARTITION}/unlabelled.txt",
        checkpoint=CWBASS_TEACHER,
    output:
        label_maps=f"{CWBASS}/cache/labels/{{scatteritem}}.h5",
        confidence_maps=f"{CWBASS}/cache/confidence/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/cache_labels/{{protocol}}_{{part}}/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/cache_labels/{{protocol}}_{{part}}/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **varied_in("cwbass", "labelling", "scales", "flip"),
        code=code("few_masks/cache_labels.py"),
        short_side=short_side,
    script:
        "../workflow_scripts/few_masks/cache_labels.py"


rule train_cwbass:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        labelled=f"{PARTITION}/labelled.txt",
        unlabelled=f"{PARTITION}/unlabelled.txt",
        teacher=cwbass_teacher(CWBASS_TEACHER),
        labels=cwbass_teacher(f"{CWBASS}/cache/labels.h5"),
        confidence=cwbass_teacher(f"{CWBASS}/cache/confidence.h5"),
        weights=cwbass_weights,
    output:
        checkpoint=f"{CWBASS}/{{ablation}}/network.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/train_cwbass/{{protocol}}_{{part}}_{{ablation}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/train_cwbass/{{protocol}}_{{part}}_{{ablation}}.tsv"
    wildcard_constraints:
        ablation="|".join(config["cwbass"]["ablations"]),
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **varied(
            "cwbass", "variant", "network", "augmentation", "strong", "optimizer", "lr", "new_factor", "weight_decay"
        ),
        **varied("cwbass", "epochs", "batch_size", "threshold", "adaptive_threshold", "lambda_u", "ramp_epochs", "ema"),
        **training(),
        code=code("few_masks/train_cwbass.py"),
        loss=cwbass_loss,
    script:
        "../workflow_scripts/few_masks/train_cwbass.py"
