"""Train MixReorg on image-text pairs, or its baseline GroupViT, which is the same without `mixing`.

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
from maskmill.training.optimizers import decayed_weights
from maskmill.training.run import TrainingRun
from maskmill.training.schedules import iterations_of, warmup_cosine
from maskmill.workflow import stage


def main(
    shards: list[str],
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
    warmup_epochs: float,
    run: TrainingRun,
    stem: list[str] = (),
) -> None:
    """Train MixReorg or GroupViT.

    Args:
        shards: tar files of image-text pairs.
        own_words: whether the vocabulary is the captions' words; false: CLIP's.
        prompt: sentence around the noun of a noun prompt, with {} in the noun's place.
        augmentation: keyword arguments of `TimmAugmentation`.
        nouns: noun prompts: `prompts` per caption, `nltk_data` (folder of NLTK's tagger; null: a list of words) and
            `soft_targets` (whether images whose captions name the same things share the contrastive target).
        mixing: keyword arguments of the mixing, as in config.yaml's `mixreorg.mixing`; null: GroupViT.
        lr: learning rate after the warm-up.
        lr_start, lr_end: learning rates at the start of the warm-up and at the end of the training.
        weight_decay: weight decay of the weights of layers; norms and biases do not decay.
        decay_scalars: whether parameters without dimensions, such as the temperature, decay too.
        max_norm: length that gradients are shortened to, over all parameters together.
        warmup_epochs: epochs of the warm-up.
        stem: checkpoint of the small image-text model, whose backbone the stem starts from; none: random weights.
    """
    pairs = Shards(shards)
    if mixing is not None:
        check_mixing(mixing, run.batch_size, run.devices, network["encoder"]["depths"][0])
    logging.info("%d pairs of %d shards", len(pairs), len(shards))
    torch.manual_seed(run.seed)
    captions = [caption for shard in pairs.samples for _, _, _, caption, _ in shard]
    words = vocabulary([prompt.replace("{}", ""), *captions]) if own_words else None
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
    iterations = run.length(images)
    warmup = iterations_of(warmup_epochs, len(images), run.batch_size, iterations)
    groups = decayed_weights(model.parameters(), weight_decay=weight_decay, scalars=decay_scalars, lr=lr)
    run.train(
        Pretraining(model, soft_targets=nouns["soft_targets"], mixing=mixing),
        lambda objective, batch: objective(batch),
        groups,
        images,
        schedule=warmup_cosine(iterations, warmup, lr_start / lr, lr_end / lr),
        optimizer="adamw",
        result=model,
        max_norm=max_norm,
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
