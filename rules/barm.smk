"""BARM: classes learned step by step. Step t starts from step t-1; `joint` learns all classes up to t at once."""

BARM = f"{WORK}/{{dataset}}/barm/{{task}}/{{scheme}}"
BARM_VARIANTS = ["finetune", "frozen", "barm"]


rule class_presence:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
    output:
        presence=f"{WORK}/{{dataset}}/barm/class_presence.txt",
    log:
        f"logs/{SCALE}/{{dataset}}/class_presence.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/class_presence.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: 4
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        code=code("data/class_presence.py"),
    script:
        "../workflow_scripts/data/class_presence.py"


# One rule a task, for the number of lists is its own.
for dataset, task in barm_tasks():

    rule:
        name:
            f"steps_{dataset}_{task}"
        input:
            presence=f"{WORK}/{dataset}/barm/class_presence.txt",
        output:
            lists=[step_list(dataset, task, "{scheme}", t) for t in range(len(barm_steps(dataset, task)))],
            manifest_file=f"{WORK}/{dataset}/barm/{task}/{{scheme}}/steps/manifest.json",
        log:
            f"logs/{SCALE}/{dataset}/incremental_steps/{task}_{{scheme}}.log",
        benchmark:
            f"benchmarks/{SCALE}/{dataset}/incremental_steps/{task}_{{scheme}}.tsv"
        conda:
            "../envs/maskmill.yaml"
        resources:
            mem_mb=growing(500),
            runtime=growing(10),
        params:
            code=code("barm/incremental_steps.py"),
            steps=barm_steps(dataset, task),
        script:
            "../workflow_scripts/barm/incremental_steps.py"


# Step 0 of all variants, and the baseline that learns all classes at once.
rule train_joint:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        lists=lists_up_to,
        weights=pretrained(config["barm"]["network"]["backbone"], config["barm"]["pretrained"]),
    output:
        checkpoint=f"{BARM}/joint/step{{t}}/network.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/train_joint/{{task}}_{{scheme}}_{{t}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/train_joint/{{task}}_{{scheme}}_{{t}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=2880,
        gpu=config["resources"]["gpu"],
    params:
        **varied("barm", "network", "augmentation", "optimizer", "weight_decay", "first"),
        **training(),
        code=code("barm/train_joint.py"),
        steps=classes_up_to,
        lengths=joint_lengths,
    script:
        "../workflow_scripts/barm/train_joint.py"


rule train_step:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=f"{BARM}/steps/step{{t}}.txt",
        previous=previous_step,
    output:
        checkpoint=f"{BARM}/{{variant}}/step{{t}}/network.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/train_step/{{task}}_{{scheme}}_{{variant}}_{{t}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/train_step/{{task}}_{{scheme}}_{{variant}}_{{t}}.tsv"
    wildcard_constraints:
        variant="|".join(BARM_VARIANTS),
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **varied("barm", "copy_statistics", "parity_mode", "threshold", "augmentation", "optimizer", "weight_decay"),
        **varied("barm", "later"),
        **training(),
        code=code("barm/train_step.py"),
        steps=classes_up_to,
    script:
        "../workflow_scripts/barm/train_step.py"


rule evaluate_step:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("val"),
        checkpoint=f"{BARM}/{{variant}}/step{{t}}/network.safetensors",
    output:
        scores_table=f"{BARM}/{{variant}}/step{{t}}/{{eval_policy}}_scores.csv",
        confusion_table=f"{BARM}/{{variant}}/step{{t}}/{{eval_policy}}_confusion.csv",
    log:
        f"logs/{SCALE}/{{dataset}}/evaluate_step/{{task}}_{{scheme}}_{{variant}}_{{t}}_{{eval_policy}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/evaluate_step/{{task}}_{{scheme}}_{{variant}}_{{t}}_{{eval_policy}}.tsv"
    wildcard_constraints:
        variant="|".join(["joint", *BARM_VARIANTS]),
        eval_policy="crop513|full",
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        code=code("barm/evaluate_step.py"),
        short_side=short_side,
        steps=classes_up_to,
        counted=config["evaluation"]["counted"],
    script:
        "../workflow_scripts/barm/evaluate_step.py"


rule describe_steps:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        lists=step_lists,
        checkpoints=of_steps(["barm"], "network.safetensors"),
    output:
        steps_table=report(
            "results/barm_{dataset}_{task}_{scheme}_steps.csv", **shown("barm", "steps of {task}, {scheme}", "steps")
        ),
    log:
        f"logs/{SCALE}/{{dataset}}/describe_steps/{{task}}_{{scheme}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/describe_steps/{{task}}_{{scheme}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        code=code("barm/describe_steps.py"),
        threshold=setting("barm", "threshold"),
        size=lambda wildcards: setting("barm", "augmentation")(wildcards)["crop"],
        short_side=short_side,
        steps=task_classes,
    script:
        "../workflow_scripts/barm/describe_steps.py"


rule forgetting:
    input:
        scores=of_steps(BARM_VARIANTS, f"{config['barm']['eval_policy']}_scores.csv"),
    output:
        matrix="results/barm_{dataset}_{task}_{scheme}_forgetting.csv",
        picture=report(
            "results/barm_{dataset}_{task}_{scheme}_forgetting.png",
            **shown("barm", "forgetting in {task}, {scheme}", "forgetting"),
        ),
    log:
        f"logs/{SCALE}/{{dataset}}/forgetting/{{task}}_{{scheme}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/forgetting/{{task}}_{{scheme}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        code=code("barm/forgetting.py"),
        steps=task_classes,
        variants=BARM_VARIANTS,
        scale=SCALE,
    script:
        "../workflow_scripts/barm/forgetting.py"
