"""DeepLab v2: variants of its head trained on true masks, and the dense CRF with a searched setting."""

DEEPLAB = work("{dataset}/deeplab/{variant}")
DEEPLAB_VARIANTS = config["deeplab"]["variants"]


def deeplab_rows(dataset: str) -> list[Row]:
    """Each variant without and with the CRF."""
    return [
        Row(name, work(f"{dataset}/deeplab/{variant}/val/{store}_scores.csv"))
        for variant in DEEPLAB_VARIANTS
        for name, store in ((variant, "argmax"), (f"{variant}+crf", "predictions"))
    ]


def deeplab_extras(dataset: str) -> list[str]:
    """The picture of the search for the CRF's setting."""
    return [f"results/deeplab_{dataset}_crf_search.png"] if config["deeplab"]["crf"] == "search" else []


def deeplab_trainings(dataset: str) -> list[str]:
    """The checkpoints behind the table."""
    return [work(f"{dataset}/deeplab/{variant}/network.safetensors") for variant in DEEPLAB_VARIANTS]


TABLES["deeplab"] = Table(
    title="DeepLab v2 (Chen et al., TPAMI 2017)",
    datasets=list(DATASETS),
    rows=deeplab_rows,
    compared=lambda dataset: [["largefov", "aspp_l", "aspp_l+crf"]],
    trainings=deeplab_trainings,
    extras=deeplab_extras,
)


def deeplab_head(wildcards) -> dict:
    """Rates and scales of a variant of DeepLab v2."""
    return DEEPLAB_VARIANTS[wildcards.variant]


def deeplab_ids(wildcards) -> str:
    """The id list of the images to predict: a split, or the images that the CRF's setting is searched on."""
    folder = "deeplab" if wildcards.split == "crf_search" else "splits"
    return work(f"{wildcards.dataset}/{folder}/{wildcards.split}.txt")


def deeplab_weights() -> list[str]:
    """What DeepLab's backbone starts from: nothing, published weights, or the user's .caffemodel."""
    backbone, init = config["deeplab"]["network"]["backbone"], config["deeplab"]["init"]
    if init != "none" and backbone.endswith("_caffe"):
        return [work(f"weights/caffe/{backbone}.safetensors")]
    return pretrained(backbone, init != "none")


rule convert_caffe_weights:
    input:
        caffemodel=config["deeplab"]["caffe_weights"] or [],
    output:
        weights=work("weights/caffe/{backbone}.safetensors"),
    log:
        logs("convert_caffe_weights/{backbone}"),
    benchmark:
        benchmarks("convert_caffe_weights/{backbone}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(10),
    params:
        **settings_for("deeplab/convert_caffe_weights.py"),
    script:
        "../workflow_scripts/deeplab/convert_caffe_weights.py"


rule train_deeplab:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
        weights=deeplab_weights(),
    output:
        checkpoint=f"{DEEPLAB}/network.safetensors",
    log:
        logs("{dataset}/train_deeplab/{variant}"),
    benchmark:
        benchmarks("{dataset}/train_deeplab/{variant}")
    wildcard_constraints:
        variant="|".join(DEEPLAB_VARIANTS),
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("deeplab/train_deeplab.py", "deeplab", head=deeplab_head),
    script:
        "../workflow_scripts/deeplab/train_deeplab.py"


rule predict_logits:
    input:
        index=work("{dataset}/index.csv"),
        ids=deeplab_ids,
        checkpoint=f"{DEEPLAB}/network.safetensors",
    output:
        maps=f"{DEEPLAB}/{{split}}/logits/{{scatteritem}}.h5",
    log:
        logs("{dataset}/predict_logits/{variant}_{split}/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/predict_logits/{variant}_{split}/{scatteritem}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("deeplab/predict_logits.py"),
    script:
        "../workflow_scripts/deeplab/predict_logits.py"


rule label_logits:
    input:
        index=work("{dataset}/index.csv"),
        ids=deeplab_ids,
        logits=f"{DEEPLAB}/{{split}}/logits/{{scatteritem}}.h5",
    output:
        maps=f"{DEEPLAB}/{{split}}/argmax/{{scatteritem}}.h5",
    log:
        logs("{dataset}/label_logits/{variant}_{split}/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/label_logits/{variant}_{split}/{scatteritem}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(60),
    params:
        **settings_for("deeplab/label_logits.py"),
    script:
        "../workflow_scripts/deeplab/label_logits.py"


rule crf_logits:
    input:
        index=work("{dataset}/index.csv"),
        ids=deeplab_ids,
        logits=f"{DEEPLAB}/{{split}}/logits/{{scatteritem}}.h5",
        setting=[work("{dataset}/deeplab/crf_setting.json")] if config["deeplab"]["crf"] == "search" else [],
    output:
        maps=f"{DEEPLAB}/{{split}}/predictions/{{scatteritem}}.h5",
    log:
        logs("{dataset}/crf_logits/{variant}_{split}/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/crf_logits/{variant}_{split}/{scatteritem}")
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_crf"]
    resources:
        mem_mb=growing(300 * config["resources"]["threads_crf"]),
        runtime=growing(120),
    params:
        **settings_for("deeplab/crf_logits.py", crf=config["crf"]["deeplab"]),
    script:
        "../workflow_scripts/deeplab/crf_logits.py"


rule select_search_images:
    input:
        ids=ids_of(config["deeplab"]["crf_search"]["split"]),
    output:
        selected=work("{dataset}/deeplab/crf_search.txt"),
    log:
        logs("{dataset}/select_search_images"),
    benchmark:
        benchmarks("{dataset}/select_search_images")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(300),
        runtime=growing(10),
    params:
        **settings_for("deeplab/select_search_images.py", "deeplab.crf_search"),
    script:
        "../workflow_scripts/deeplab/select_search_images.py"


rule crf_search:
    input:
        index=work("{dataset}/index.csv"),
        ids=work("{dataset}/deeplab/crf_search.txt"),
        logits=work(f"{{dataset}}/deeplab/{config['deeplab']['crf_search']['variant']}/crf_search/logits.h5"),
    output:
        setting_file=work("{dataset}/deeplab/crf_setting.json"),
        table=work("{dataset}/deeplab/crf_search.csv"),
    log:
        logs("{dataset}/crf_search"),
    benchmark:
        benchmarks("{dataset}/crf_search")
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_crf"]
    resources:
        mem_mb=growing(300 * config["resources"]["threads_crf"]),
        runtime=growing(480),
    params:
        **settings_for(
            "deeplab/crf_search.py",
            "deeplab.crf_search",
            crf=config["crf"]["deeplab"] | config["deeplab"]["crf_search"]["fixed"],
            classes=averaged_classes,
        ),
    script:
        "../workflow_scripts/deeplab/crf_search.py"


rule draw_crf_search:
    input:
        tried=work("{dataset}/deeplab/crf_search.csv"),
    output:
        picture=report(
            "results/deeplab_{dataset}_crf_search.png",
            **in_report("deeplab", "search for the CRF's setting", "crf_search"),
        ),
    log:
        logs("{dataset}/draw_crf_search"),
    benchmark:
        benchmarks("{dataset}/draw_crf_search")
    localrule: True
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        **settings_for("deeplab/draw_crf_search.py"),
    script:
        "../workflow_scripts/deeplab/draw_crf_search.py"
