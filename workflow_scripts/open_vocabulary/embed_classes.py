"""Encode the classes' prompts with the text encoder of GroupViT, or of ZeroSeg's teacher.

In: a checkpoint of `GroupViT`, or the teacher's weights.
Out: the classes' vectors. The mean over prompts is taken before vectors are scaled to unit length.
Source: the zero-shot inference of NVlabs/GroupViT.
"""

import torch

from maskmill.methods.zero_shot import class_vectors
from maskmill.networks.open_vocabulary import check_prompts, load_texts, save_classes
from maskmill.workflow import stage


@torch.inference_mode()
def main(
    checkpoint: str, vectors: str, names: dict[int, str], templates: list[str], teacher: str | None = None
) -> None:
    """Encode the prompts of all classes.

    Args:
        checkpoint: safetensors file of a trained `GroupViT`; with `teacher`, file with the weights of the teacher.
        names: mask id to the name of the class in prompts.
        templates: prompts, with {} in the place of the name.
        teacher: image-text model of `checkpoint`: tiny or the name of a model of open_clip; null: it is a GroupViT.
    """
    network = load_texts(checkpoint, teacher)
    classes = list(names.values())
    check_prompts(network.tokenizer, classes, templates)
    of_classes = class_vectors(lambda texts: network.text_features(network.tokenizer(texts)), classes, templates)
    save_classes(vectors, of_classes, network.scale, classes, list(map(int, names)))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
