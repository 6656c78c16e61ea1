"""BARM: classes learned step by step. Step t starts from step t-1; `joint` learns all classes up to t at once."""

from maskmill.data.incremental import task_steps

BARM = work("{dataset}/barm/{task}/{scheme}")
BARM_VARIANTS = ["finetune", "frozen", "barm"]


wildcard_constraints:
    task=r"[A-Za-z0-9_-]+",
    scheme="overlapped|disjoint",
    t=r"\d+",


def steps_of(dataset: str, task: str) -> list[list[int]]:
    """Class ids of each step of a task."""
    return [list(classes) for classes in task_steps(DATASETS[dataset], task, config["barm"]["protocols"])]


def step_file(dataset: str, task: str, variant: str, t: int | str, name: str, scheme: str = "") -> str:
    """A file of a variant after a step; step 0 is the same for all variants."""
    folder = work(f"{dataset}/barm/{task}/{scheme or config['barm']['scheme']}")
    return f"{folder}/{variant if int(t) else 'joint'}/step{t}/{name}"


def barm_rows(dataset: str) -> list[Row]:
    """The scores after each step of each task, then those at the end."""
    name = f"{config['barm']['eval_policy']}_scores.csv"
    on_the_way, at_the_end = [], []
    for task in config["barm"]["tasks"][dataset]:
        last = len(steps_of(dataset, task)) - 1
        on_the_way.append(Row(f"{task}/step0", step_file(dataset, task, "joint", 0, name)))
        for variant in BARM_VARIANTS:
            for t in range(1, last):
                on_the_way.append(Row(f"{task}/{variant}/step{t}", step_file(dataset, task, variant, t, name)))
        for variant in (*BARM_VARIANTS, "joint"):
            at_the_end.append(Row(f"{task}/{variant}", step_file(dataset, task, variant, last, name)))
    return on_the_way + at_the_end


def barm_compared(dataset: str) -> list[list[str]]:
    """Each task without and with BARM, and all classes at once."""
    return [[f"{task}/{row}" for row in ("finetune", "barm", "joint")] for task in config["barm"]["tasks"][dataset]]


def barm_trainings(dataset: str) -> list[str]:
    """The checkpoints behind the table, step by step."""
    paths = []
    for task in config["barm"]["tasks"][dataset]:
        last = len(steps_of(dataset, task)) - 1
        later = [(variant, t) for variant in BARM_VARIANTS for t in range(1, last + 1)]
        steps = [("joint", 0), *later, ("joint", last)]
        paths += [step_file(dataset, task, variant, t, "network.safetensors") for variant, t in steps]
    return paths


def barm_extras(dataset: str) -> list[str]:
    """Forgetting, costs and pseudo labels of each task."""
    scheme = config["barm"]["scheme"]
    return [
        f"results/barm_{dataset}_{task}_{scheme}_{name}"
        for task in config["barm"]["tasks"][dataset]
        for name in ("forgetting.csv", "steps.csv")
    ]


TABLES["barm"] = Table(
    title="BARM (ECCV 2024)",
    datasets=list(config["barm"]["tasks"]),
    rows=barm_rows,
    compared=barm_compared,
    trainings=barm_trainings,
    extras=barm_extras,
    published=config["barm"]["scheme"] == "overlapped" and config["barm"]["eval_policy"] == "crop513",
    note=f"; {config['barm']['scheme']}, {config['barm']['eval_policy']}",
)


def task_classes(wildcards) -> list[list[int]]:
    """Class ids of each step of the job's task."""
    return steps_of(wildcards.dataset, wildcards.task)


def classes_up_to(wildcards) -> list[list[int]]:
    """Class ids of the steps up to t."""
    return task_classes(wildcards)[: int(wildcards.t) + 1]


def step_list(dataset: str, task: str, scheme: str, t: int) -> str:
    """The id list of a step."""
    return work(f"{dataset}/barm/{task}/{scheme}/steps/step{t}.txt")


def step_lists(wildcards) -> list[str]:
    """The id lists of all steps of the job's task."""
    steps = range(len(task_classes(wildcards)))
    return [step_list(wildcards.dataset, wildcards.task, wildcards.scheme, t) for t in steps]


def lists_up_to(wildcards) -> list[str]:
    """The id lists of the steps up to t."""
    return step_lists(wildcards)[: int(wildcards.t) + 1]


def joint_lengths(wildcards) -> list[dict]:
    """Epochs and batch size of the steps up to t."""
    settings = section("barm", wildcards.dataset)
    recipes = [settings["later" if t else "first"] for t in range(int(wildcards.t) + 1)]
    return [{key: recipe[key] for key in ("epochs", "batch_size")} for recipe in recipes]


def previous_step(wildcards) -> str:
    """The checkpoint that a step starts from."""
    previous = int(wildcards.t) - 1
    place = (wildcards.dataset, wildcards.task, wildcards.variant, previous)
    return step_file(*place, "network.safetensors", wildcards.scheme)


def barm_weights(wildcards) -> list[str]:
    """The published weights that step 0 starts from."""
    settings = section("barm", wildcards.dataset)
    return pretrained(settings["network"]["backbone"], settings["pretrained"])


def of_steps(variants: list[str], name: str):
    """A file of each step, one variant after the other."""

    def files(wildcards):
        steps = range(len(task_classes(wildcards)))
        dataset, task, scheme = wildcards.dataset, wildcards.task, wildcards.scheme
        return [step_file(dataset, task, variant, t, name, scheme) for variant in variants for t in steps]

    return files


rule class_presence:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
    output:
        presence=work("{dataset}/barm/class_presence.txt"),
    log:
        logs("{dataset}/class_presence"),
    benchmark:
        benchmarks("{dataset}/class_presence")
    conda:
        "../envs/maskmill.yaml"
    threads: 4
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        **settings_for("barm/class_presence.py"),
    script:
        "../workflow_scripts/barm/class_presence.py"


# One rule per task, since tasks have different numbers of lists.
for dataset, task in [(dataset, task) for dataset, tasks in config["barm"]["tasks"].items() for task in tasks]:

    rule:
        name:
            f"steps_{dataset}_{task}"
        input:
            presence=work(f"{dataset}/barm/class_presence.txt"),
        output:
            lists=[step_list(dataset, task, "{scheme}", t) for t in range(len(steps_of(dataset, task)))],
            manifest_file=work(f"{dataset}/barm/{task}/{{scheme}}/steps/manifest.json"),
        log:
            logs(f"{dataset}/incremental_steps/{task}_{{scheme}}"),
        benchmark:
            benchmarks(f"{dataset}/incremental_steps/{task}_{{scheme}}")
        conda:
            "../envs/maskmill.yaml"
        resources:
            mem_mb=growing(500),
            runtime=growing(10),
        params:
            **settings_for("barm/incremental_steps.py", steps=steps_of(dataset, task)),
        script:
            "../workflow_scripts/barm/incremental_steps.py"


# Step 0 of all variants, and the baseline that learns all classes at once.
rule train_joint:
    input:
        index=work("{dataset}/index.csv"),
        lists=lists_up_to,
        weights=barm_weights,
    output:
        checkpoint=f"{BARM}/joint/step{{t}}/network.safetensors",
    log:
        logs("{dataset}/train_joint/{task}_{scheme}_{t}"),
    benchmark:
        benchmarks("{dataset}/train_joint/{task}_{scheme}_{t}")
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=2880,
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("barm/train_joint.py", "barm", "barm.first", steps=classes_up_to, lengths=joint_lengths),
    script:
        "../workflow_scripts/barm/train_joint.py"


rule train_step:
    input:
        index=work("{dataset}/index.csv"),
        ids=f"{BARM}/steps/step{{t}}.txt",
        previous=previous_step,
    output:
        checkpoint=f"{BARM}/{{variant}}/step{{t}}/network.safetensors",
    log:
        logs("{dataset}/train_step/{task}_{scheme}_{variant}_{t}"),
    benchmark:
        benchmarks("{dataset}/train_step/{task}_{scheme}_{variant}_{t}")
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
        **settings_for("barm/train_step.py", "barm", "barm.later", steps=classes_up_to),
    script:
        "../workflow_scripts/barm/train_step.py"


rule evaluate_step:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("val"),
        checkpoint=f"{BARM}/{{variant}}/step{{t}}/network.safetensors",
    output:
        scores_table=f"{BARM}/{{variant}}/step{{t}}/{{eval_policy}}_scores.csv",
        confusion_table=f"{BARM}/{{variant}}/step{{t}}/{{eval_policy}}_confusion.csv",
    log:
        logs("{dataset}/evaluate_step/{task}_{scheme}_{variant}_{t}_{eval_policy}"),
    benchmark:
        benchmarks("{dataset}/evaluate_step/{task}_{scheme}_{variant}_{t}_{eval_policy}")
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
        **settings_for("barm/evaluate_step.py", "evaluation", steps=classes_up_to),
    script:
        "../workflow_scripts/barm/evaluate_step.py"


rule describe_steps:
    input:
        index=work("{dataset}/index.csv"),
        lists=step_lists,
        checkpoints=of_steps(["barm"], "network.safetensors"),
    output:
        steps_table=report(
            "results/barm_{dataset}_{task}_{scheme}_steps.csv",
            **in_report("barm", "steps of {task}, {scheme}", "steps"),
        ),
    log:
        logs("{dataset}/describe_steps/{task}_{scheme}"),
    benchmark:
        benchmarks("{dataset}/describe_steps/{task}_{scheme}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for(
            "barm/describe_steps.py", "barm", size=setting("barm", "augmentation", "crop"), steps=task_classes
        ),
    script:
        "../workflow_scripts/barm/describe_steps.py"


rule forgetting:
    input:
        scores=of_steps(BARM_VARIANTS, f"{config['barm']['eval_policy']}_scores.csv"),
    output:
        matrix="results/barm_{dataset}_{task}_{scheme}_forgetting.csv",
        picture=report(
            "results/barm_{dataset}_{task}_{scheme}_forgetting.png",
            **in_report("barm", "forgetting in {task}, {scheme}", "forgetting"),
        ),
    log:
        logs("{dataset}/forgetting/{task}_{scheme}"),
    benchmark:
        benchmarks("{dataset}/forgetting/{task}_{scheme}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        **settings_for("barm/forgetting.py", steps=task_classes, variants=BARM_VARIANTS),
    script:
        "../workflow_scripts/barm/forgetting.py"
