"""Students: the plain baseline on a provider's labels, and MARS's on the debiased ones, with one budget."""


def labels_of(variant: str) -> str:
    """The pseudo labels a student variant learns from."""
    folder = "{provider}" if variant == "baseline" else "mars/{provider}"
    return f"{WORK}/{{dataset}}/{folder}/pseudo_labels.h5"


rule train_student:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        labels=labels_of("baseline"),
        weights=pretrained(config["student"]["network"]["backbone"], config["student_pretrained"]),
    output:
        checkpoint=f"{WORK}/{{dataset}}/students/{{provider}}/baseline/student.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/train_student/{{provider}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/train_student/{{provider}}.tsv"
    params:
        code=code("train_student.py"),
        student=config["student"],
        **training(),
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=32000,
        runtime=1440,
        gpu=config["resources"]["gpu"],
    script:
        "../workflow_scripts/train_student.py"


rule train_mars_student:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        labels=labels_of("mars"),
        weights=pretrained(config["student"]["network"]["backbone"], config["student_pretrained"]),
    output:
        checkpoint=f"{WORK}/{{dataset}}/students/{{provider}}/{{variant}}/student.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/train_mars_student/{{provider}}_{{variant}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/train_mars_student/{{provider}}_{{variant}}.tsv"
    wildcard_constraints:
        variant="complement|mars",
    params:
        code=code("train_mars_student.py"),
        student=config["student"],
        **config["mars"]["teacher"],
        crf=config["crf"]["deeplab"],
        **training(),
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=32000,
        runtime=1440,
        gpu=config["resources"]["gpu"],
    script:
        "../workflow_scripts/train_mars_student.py"
