"""Train a small image-text model on captioned images: ZeroSeg's teacher where no CLIP is at hand.

In: shards of pairs, with their indices; optionally the backbone's weights. Out: a checkpoint of `TinyCLIP`.
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
from maskmill.training.run import TrainingRun
from maskmill.training.schedules import warmup_cosine
from maskmill.workflow import stage

WARM_UP = 30  # iterations


def main(
    shards: list[str],
    network: dict,
    single_nouns: bool,
    area: list[float],
    lr: float,
    weight_decay: float,
    run: TrainingRun,
    weights: list[str] = (),
) -> None:
    """Train the image-text model.

    Args:
        shards: tar files of image-text pairs.
        single_nouns: whether to train only on images whose captions name a single thing; false: on all images.
        area: smallest and largest share of an image's area that a random crop has.
        lr: learning rate after the warm-up.
    """
    pairs = Shards(shards)
    if single_nouns:
        pairs = of_single_nouns(pairs)
    torch.manual_seed(run.seed)
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

    iterations = run.length(images)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [{"params": learned, "lr": lr, "weight_decay": weight_decay}]
    schedule = warmup_cosine(iterations, min(WARM_UP, iterations), 0.0, 0.0)
    run.train(model, step, groups, images, schedule=schedule, optimizer="adamw")


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
