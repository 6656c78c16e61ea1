"""Vectors of classes in the space of texts of GroupViT, or of ZeroSeg's teacher (spec open_vocabulary 1.8, step 2).

In: a checkpoint of `GroupViT`, or the teacher's weights. Out: the classes' vectors, names and mask ids. Params:
`names`, mask id to what stands in the prompt; `templates`, with {} in the name's place; `teacher`, see `load_teacher`,
if it is one.
"""

import torch

from maskmill.errors import InputError
from maskmill.methods.zero_shot import class_vectors
from maskmill.networks.open_vocabulary import load_texts, save_classes
from maskmill.workflow import stage


@torch.inference_mode()
def main(
    checkpoint: str, vectors: str, names: dict[int, str], templates: list[str], teacher: str | None = None
) -> None:
    network = load_texts(checkpoint, teacher)
    classes = list(names.values())
    twice = next((name for name in classes if classes.count(name) > 1), None)
    if twice:
        raise InputError(f"config: two classes are called {twice!r} in the prompts; give each a name of its own")
    of_classes = class_vectors(lambda texts: network.text_features(network.tokenizer(texts)), classes, templates)
    save_classes(vectors, of_classes, network.scale, classes, list(map(int, names)))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
