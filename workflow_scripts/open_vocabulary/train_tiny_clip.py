"""Train a small image-text model on captioned images: ZeroSeg's teacher where no CLIP is at hand.

In: shards of pairs, with their indices; published weights of the backbone, if it is to start from them. Out: a
checkpoint of `TinyCLIP`. Params: `single_nouns`, whether only images whose captions name a single thing are seen (spec
open_vocabulary 9.4).
"""

import logging

import torch
from torch.utils.data import Subset

from maskmill.data.captioned import CaptionedImages, TimmAugmentation
from maskmill.data.captions import find_nouns, imagenet_templates
from maskmill.data.shards import Shards
from maskmill.errors import InputError
from maskmill.methods.group_vit import contrastive_loss, multi_label_loss
from maskmill.networks.clip import TinyCLIP
from maskmill.training.loop import train
from maskmill.training.optimizers import build_optimizer
from maskmill.training.schedules import iterations_of, warmup_cosine
from maskmill.workflow import stage


def main(
    shards: list[str],
    checkpoint: str,
    network: dict,
    single_nouns: bool,
    area: list[float],
    lr: float,
    weight_decay: float,
    epochs: float,
    batch_size: int,
    training: dict,
    weights: list[str] = (),
    max_iterations: int | None = None,
    seed: int = 0,
    run: str = "by hand",
) -> None:
    pairs = Shards(shards)
    if single_nouns:
        pairs = of_single_nouns(pairs)
    torch.manual_seed(seed)
    model = TinyCLIP(**network, pretrained=next(iter(weights), None))
    images = CaptionedImages(
        pairs,
        TimmAugmentation(model.mean, model.std, crop=model.image_size, area=area),
        model.tokenizer,
        find_nouns,
        prompts=1,
        templates=imagenet_templates(),
        same_nouns=True,
    )

    def step(model, batch):
        vectors, texts = model(batch["image"], batch["text"].flatten(0, 1))
        texts = texts.unflatten(0, batch["text"].shape[:2])  # each image's caption and noun prompt
        return {
            "contrastive": contrastive_loss(vectors, texts[:, 0], model.scale, batch["key"]),
            "multi_label": multi_label_loss(vectors, texts[:, 1:], model.scale),
        }

    iterations = iterations_of(epochs, len(images), batch_size, max_iterations)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [{"params": learned, "lr": lr, "weight_decay": weight_decay}]
    train(
        model,
        step,
        build_optimizer(groups, name="adamw"),
        warmup_cosine(iterations, min(30, iterations), 0.0, 0.0),
        images,
        checkpoint=checkpoint,
        run=run,
        iterations=iterations,
        batch_size=batch_size,
        seed=seed,
        **training,
    )


def of_single_nouns(pairs: Shards) -> Subset:
    """The pairs whose captions name a single thing.

    Raises:
        InputError: there are none.
    """
    captions = [caption for shard in pairs.samples for _, _, _, caption, _ in shard]
    chosen = [index for index, caption in enumerate(captions) if len(find_nouns(caption)) == 1]
    if not chosen:
        raise InputError(
            f"config: tiny_clip.single_nouns: none of {len(captions)} captions names a single thing; set it to false"
        )
    logging.info("%d of %d captions name a single thing", len(chosen), len(captions))
    return Subset(pairs, chosen)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
