"""Students: the plain baseline on a provider's labels, and MARS's on the debiased ones, with one budget."""


rule train_student:
    input:
        **student_start(),
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        labels=labels_of("baseline"),
    output:
        checkpoint=f"{WORK}/{{dataset}}/students/{{provider}}/baseline/student.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/train_student/{{provider}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/train_student/{{provider}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **training(),
        code=code("mars/train_student.py"),
        student=config["student"],
    script:
        "../workflow_scripts/mars/train_student.py"


rule train_mars_student:
    input:
        **student_start(),
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        labels=labels_of("mars"),
    output:
        checkpoint=f"{WORK}/{{dataset}}/students/{{provider}}/{{variant}}/student.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/train_mars_student/{{provider}}_{{variant}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/train_mars_student/{{provider}}_{{variant}}.tsv"
    wildcard_constraints:
        variant="complement|mars",
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **config["mars"]["teacher"],
        **training(),
        code=code("mars/train_mars_student.py"),
        student=config["student"],
        crf=config["crf"]["deeplab"],
    script:
        "../workflow_scripts/mars/train_mars_student.py"
