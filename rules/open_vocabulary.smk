"""What the open-vocabulary methods share: names in prompts, their background, and a small image-text model."""

from maskmill.data.catalog import averaged_ids

TINY_CLIP = work("pairs/tiny_clip/network.safetensors")


def prompt_names(method: str):
    """What stands in the prompts for a data set's scored classes, by mask id."""

    def names(wildcards) -> dict[int, str]:
        scored = averaged_ids(DATASETS[wildcards.dataset], averaged_classes(wildcards))
        words = class_words(method, wildcards.dataset)
        return {i: word for i, word in words.items() if scored is None or i in scored}

    return names


def finds_background(method: str):
    """Whether a method tells a data set's background from its classes, by a threshold."""
    return lambda dataset: section(method, dataset)["threshold"] is not None


def chance(method: str) -> dict:
    """The parameters of labels drawn at random among a data set's scored classes."""
    names, background = prompt_names(method), finds_background(method)
    return settings_for(
        "open_vocabulary/predict_chance.py",
        class_ids=lambda wildcards: list(names(wildcards)),
        background=lambda wildcards: background(wildcards.dataset),
    )


def foreground_store(dataset: str, store: str) -> list[str]:
    """The store of the same labels without the background's threshold."""
    method, *row, split, _ = store.split("/")
    inner = [] if "image_level" in row else ["foreground"]
    return [work(str(Path(dataset, method, *row, *inner, split, "argmax.h5")))]


def threshold_picture(method: str):
    """The picture of a table's threshold curves; none where no threshold finds the background."""

    def pictures(dataset: str) -> list[str]:
        return [f"results/{method}_{dataset}_curves.png"] if finds_background(method)(dataset) else []

    return pictures


def first_stem(method: str) -> list[str]:
    """What a network's stem starts from: the small image-text model, or nothing."""
    return [TINY_CLIP] if config[method]["stem_init"] == "tiny_clip" else []


rule train_tiny_clip:
    input:
        pair_files(config["tiny_clip"]["pairs"], ".json"),
        shards=pair_files(config["tiny_clip"]["pairs"], ".tar"),
        weights=pretrained(config["tiny_clip"]["network"]["backbone"], config["tiny_clip"]["pretrained"]),
    output:
        checkpoint=TINY_CLIP,
    log:
        logs("train_tiny_clip"),
    benchmark:
        benchmarks("train_tiny_clip")
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(8000),
        runtime=240,
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("open_vocabulary/train_tiny_clip.py", "tiny_clip"),
    script:
        "../workflow_scripts/open_vocabulary/train_tiny_clip.py"
