"""Train MixReorg on image-text pairs, or without `mixing` its baseline GroupViT (spec open_vocabulary 1.5 to 1.7, 2).

In: shards of pairs, with their indices. Out: a checkpoint of `GroupViT`.
"""

import logging

import torch

from maskmill.data.captioned import CaptionedImages, TimmAugmentation
from maskmill.data.captions import imagenet_templates, noun_finder
from maskmill.data.shards import Shards
from maskmill.data.words import vocabulary
from maskmill.errors import InputError
from maskmill.methods.mixreorg import Pretraining
from maskmill.networks.clip import start_stem
from maskmill.networks.group_vit import GroupViT
from maskmill.training.loop import train
from maskmill.training.optimizers import build_optimizer, decayed_weights
from maskmill.training.schedules import iterations_of, warmup_cosine
from maskmill.workflow import stage


def main(
    shards: list[str],
    checkpoint: str,
    network: dict,
    own_words: bool,
    prompt: str,
    augmentation: dict,
    nouns: dict,
    mixing: dict | None,
    lr: float,
    lr_start: float,
    lr_end: float,
    weight_decay: float,
    decay_scalars: bool,
    max_norm: float,
    epochs: float,
    warmup_epochs: float,
    batch_size: int,
    training: dict,
    stem: list[str] = (),
    max_iterations: int | None = None,
    seed: int = 0,
    run: str = "by hand",
) -> None:
    pairs = Shards(shards)
    if mixing is not None:
        check_mixing(mixing, batch_size, training.get("devices", 1), network["encoder"]["depths"][0])
    logging.info("%d pairs of %d shards", len(pairs), len(shards))
    torch.manual_seed(seed)
    captions = [caption for shard in pairs.samples for _, _, _, caption, _ in shard]
    words = vocabulary([prompt.format(""), *captions]) if own_words else None
    model = GroupViT(**network, multi_label=nouns["prompts"] > 0, words=words)
    if stem:
        start_stem(model.encoder.stem, *stem)
    images = CaptionedImages(
        pairs,
        TimmAugmentation(model.mean, model.std, **augmentation),
        model.tokenizer,
        noun_finder(nouns["nltk_data"]),
        prompts=nouns["prompts"],
        templates=imagenet_templates() if words is None else [prompt],
        same_nouns=nouns["soft_targets"],
    )
    iterations = iterations_of(epochs, len(images), batch_size, max_iterations)
    warmup = iterations_of(warmup_epochs, len(images), batch_size, iterations)
    groups = decayed_weights(model.parameters(), weight_decay=weight_decay, scalars=decay_scalars, lr=lr)
    train(
        Pretraining(model, soft_targets=nouns["soft_targets"], mixing=mixing),
        lambda objective, batch: objective(batch),
        build_optimizer(groups, name="adamw"),
        warmup_cosine(iterations, warmup, lr_start / lr, lr_end / lr),
        images,
        result=model,
        max_norm=max_norm,
        checkpoint=checkpoint,
        run=run,
        iterations=iterations,
        batch_size=batch_size,
        seed=seed,
        **training,
    )


def check_mixing(mixing: dict, batch_size: int, devices: int, layers: int) -> None:
    """Raises InputError where groups do not divide every device's part of a batch, or no layer of the first stage
    follows the mixing."""
    if batch_size % (devices * mixing["members"]):
        times = f" times {devices} devices" if devices > 1 else ""
        raise InputError(
            f"config: mixreorg.batch_size {batch_size} is no multiple of mixing.members {mixing['members']}{times}; "
            "change one"
        )
    if mixing["mix_layer"] >= layers:
        raise InputError(
            f"config: mixreorg.mixing.mix_layer {mixing['mix_layer']} leaves no layer of the first stage behind the "
            f"mixing; give 0 to {layers - 1}"
        )


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
