"""MGD: a deep and a wide teacher by cross pseudo supervision, light students that learn from both."""

MGD = f"{PARTITION}/mgd"
MGD_TEACHER = f"{MGD}/teacher_{{teacher}}/network.safetensors"
# L_I compares logits with the deep teacher's, L_R features with the wide one's.
MGD_CACHE = ("wide_labels", "relation", "deep_labels", "pooled")


rule train_cps_teacher:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        labelled=f"{PARTITION}/labelled.txt",
        unlabelled=f"{PARTITION}/unlabelled.txt",
        weights=mgd_weights("teachers", "teacher"),
    output:
        checkpoint=MGD_TEACHER,
    log:
        f"logs/{SCALE}/{{dataset}}/train_cps_teacher/{{protocol}}_{{part}}_{{teacher}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/train_cps_teacher/{{protocol}}_{{part}}_{{teacher}}.tsv"
    wildcard_constraints:
        teacher="deep|wide",
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(64000),
        runtime=2880,
        gpu=config["resources"]["gpu"],
    params:
        **varied("mgd", "augmentation", "cutmix", "pairing", "optimizer", "weight_decay", "cps_weight"),
        **varied("mgd", "new_factor", "warm_up_epochs", "statistics"),
        **training(),
        code=code("few_masks/train_cps_teacher.py"),
        network=mgd_network("teachers", "teacher", "network"),
        lr=mgd_network("teachers", "teacher", "lr"),
        epochs=mgd_teacher_epochs,
        batch_size=setting("mgd", "teacher_batch_size"),
        ohem=mgd_ohem("teacher"),
    script:
        "../workflow_scripts/few_masks/train_cps_teacher.py"


rule cache_batches:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        labelled=f"{PARTITION}/labelled.txt",
        unlabelled=f"{PARTITION}/unlabelled.txt",
        wide=f"{MGD}/teacher_wide/network.safetensors",
        deep=f"{MGD}/teacher_deep/network.safetensors",
    output:
        **{name: f"{MGD}/cache/{name}/{{scatteritem}}.h5" for name in MGD_CACHE},
    log:
        f"logs/{SCALE}/{{dataset}}/cache_batches/{{protocol}}_{{part}}/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/cache_batches/{{protocol}}_{{part}}/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]  # crops are made as for a training
    resources:
        mem_mb=growing(16000),
        runtime=growing(480),
        gpu=config["resources"]["gpu"],
    params:
        **varied("mgd", "augmentation", "cutmix", "pairing", "batch_size"),
        **varied("mgd", "teacher_batchnorm", "padding_counts", "min_confidence"),
        **training(),
        code=code("few_masks/cache_batches.py"),
        epochs=mgd_cached_epochs,
    script:
        "../workflow_scripts/few_masks/cache_batches.py"


rule train_supervised_student:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        labelled=f"{PARTITION}/labelled.txt",
        unlabelled=f"{PARTITION}/unlabelled.txt",
        weights=mgd_weights("students", "student"),
    output:
        checkpoint=f"{MGD}/{{student}}_supervised/network.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/train_supervised_student/{{protocol}}_{{part}}_{{student}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/train_supervised_student/{{protocol}}_{{part}}_{{student}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **varied("mgd", "augmentation", "optimizer", "new_factor", "weight_decay", "batch_size"),
        **training(),
        code=code("few_masks/train_supervised.py"),
        epochs=mgd_epochs,
        architecture="DeepLabV3PlusMGD",
        decay_norms=False,
        network=mgd_network("students", "student", "network"),
        lr=mgd_network("students", "student", "lr"),
        ohem=mgd_ohem("student"),
    script:
        "../workflow_scripts/few_masks/train_supervised.py"


rule train_mgd_student:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        labelled=f"{PARTITION}/labelled.txt",
        unlabelled=f"{PARTITION}/unlabelled.txt",
        wide=f"{MGD}/teacher_wide/network.safetensors",
        deep=f"{MGD}/teacher_deep/network.safetensors",
        stores=mgd_stores([f"{MGD}/cache/{name}.h5" for name in MGD_CACHE]),
        weights=mgd_weights("students", "student"),
    output:
        checkpoint=f"{MGD}/{{student}}_{{mode}}/network.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/train_mgd_student/{{protocol}}_{{part}}_{{student}}_{{mode}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/train_mgd_student/{{protocol}}_{{part}}_{{student}}_{{mode}}.tsv"
    wildcard_constraints:
        mode="cached|online",
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(64000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **varied("mgd", "augmentation", "cutmix", "pairing", "optimizer", "weight_decay", "batch_size"),
        **varied("mgd", "new_factor", "teacher_batchnorm", "extra_passes", "images_per_device", "padding_counts"),
        **varied("mgd", "min_confidence"),
        **training(),
        code=code("few_masks/train_mgd_student.py"),
        epochs=mgd_epochs,
        cached_epochs=lambda wildcards: mgd_cached_epochs(wildcards) if wildcards.mode == "cached" else None,
        network=mgd_network("students", "student", "network"),
        lr=mgd_network("students", "student", "lr"),
        lambda_1=mgd_network("students", "student", "lambda_1"),
        lambda_2=mgd_network("students", "student", "lambda_2"),
        ohem=mgd_ohem("student"),
    script:
        "../workflow_scripts/few_masks/train_mgd_student.py"
