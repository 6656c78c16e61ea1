"""DeepLab v2: variants of its head trained on true masks, and the dense CRF with a searched setting."""

DEEPLAB = f"{WORK}/{{dataset}}/deeplab/{{variant}}"
DEEPLAB_SCORES = {
    row: f"{WORK}/{{dataset}}/deeplab/{variant}/val/{store}_scores.csv"
    for variant in config["deeplab"]["variants"]
    for row, store in ((variant, "argmax"), (f"{variant}+crf", "predictions"))
}


rule convert_caffe_weights:
    input:
        caffemodel=caffe_weights(),
    output:
        weights=f"{WORK}/weights/caffe/{{backbone}}.safetensors",
    log:
        f"logs/{SCALE}/convert_caffe_weights/{{backbone}}.log",
    benchmark:
        f"benchmarks/{SCALE}/convert_caffe_weights/{{backbone}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(10),
    params:
        code=code("deeplab/convert_caffe_weights.py"),
    script:
        "../workflow_scripts/deeplab/convert_caffe_weights.py"


rule train_deeplab:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        weights=deeplab_weights(),
    output:
        checkpoint=f"{DEEPLAB}/network.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/train_deeplab/{{variant}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/train_deeplab/{{variant}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **without(config["deeplab"], "variants", "init", "caffe_weights", "crf", "crf_search"),
        **training(),
        code=code("deeplab/train_deeplab.py"),
        head=deeplab_head,
    script:
        "../workflow_scripts/deeplab/train_deeplab.py"


rule predict_logits:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=deeplab_ids,
        checkpoint=f"{DEEPLAB}/network.safetensors",
    output:
        maps=f"{DEEPLAB}/{{split}}/logits/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/predict_logits/{{variant}}_{{split}}/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/predict_logits/{{variant}}_{{split}}/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        code=code("deeplab/predict_logits.py"),
        short_side=short_side,
    script:
        "../workflow_scripts/deeplab/predict_logits.py"


rule label_logits:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=deeplab_ids,
        logits=f"{DEEPLAB}/{{split}}/logits/{{scatteritem}}.h5",
    output:
        maps=f"{DEEPLAB}/{{split}}/argmax/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/label_logits/{{variant}}_{{split}}/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/label_logits/{{variant}}_{{split}}/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(60),
    params:
        code=code("deeplab/label_logits.py"),
        short_side=short_side,
    script:
        "../workflow_scripts/deeplab/label_logits.py"


rule crf_logits:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=deeplab_ids,
        logits=f"{DEEPLAB}/{{split}}/logits/{{scatteritem}}.h5",
        setting=[f"{WORK}/{{dataset}}/deeplab/crf_setting.json"] if config["deeplab"]["crf"] == "search" else [],
    output:
        maps=f"{DEEPLAB}/{{split}}/predictions/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/crf_logits/{{variant}}_{{split}}/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/crf_logits/{{variant}}_{{split}}/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_crf"]
    resources:
        mem_mb=growing(300 * config["resources"]["threads_crf"]),
        runtime=growing(120),
    params:
        code=code("deeplab/crf_logits.py"),
        crf=config["crf"]["deeplab"],
        short_side=short_side,
    script:
        "../workflow_scripts/deeplab/crf_logits.py"


rule select_search_images:
    input:
        ids=ids_of(config["deeplab"]["crf_search"]["split"]),
    output:
        selected=f"{WORK}/{{dataset}}/deeplab/crf_search.txt",
    log:
        f"logs/{SCALE}/{{dataset}}/select_search_images.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/select_search_images.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(300),
        runtime=growing(10),
    params:
        code=code("deeplab/select_search_images.py"),
        images=config["deeplab"]["crf_search"]["images"],
    script:
        "../workflow_scripts/deeplab/select_search_images.py"


rule crf_search:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=f"{WORK}/{{dataset}}/deeplab/crf_search.txt",
        logits=f"{WORK}/{{dataset}}/deeplab/{config['deeplab']['crf_search']['variant']}/crf_search/logits.h5",
    output:
        setting_file=f"{WORK}/{{dataset}}/deeplab/crf_setting.json",
        table=f"{WORK}/{{dataset}}/deeplab/crf_search.csv",
    log:
        f"logs/{SCALE}/{{dataset}}/crf_search.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/crf_search.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_crf"]
    resources:
        mem_mb=growing(300 * config["resources"]["threads_crf"]),
        runtime=growing(480),
    params:
        **only(config["deeplab"]["crf_search"], "coarse", "fine_steps"),
        code=code("deeplab/crf_search.py"),
        crf={**config["crf"]["deeplab"], **config["deeplab"]["crf_search"]["fixed"]},
        classes=averaged_classes,
        short_side=short_side,
    script:
        "../workflow_scripts/deeplab/crf_search.py"
