"""What one of MGD's teachers says of a student's batches, for students that read it instead of running the teacher.

In: index, both id lists, the teacher. Out: map stores, one map a batch, under its iteration: `labels` uint8
[B, 2, crop, crop] of the labelled and the mixed crops, 255 where left out, and of the mixed ones the `pooled` logits
float32 [B, K] or the `relation` of the features float32 [B, 49, 49]. Batches are those that a student with this seed,
batch size and augmentation draws (spec 2.4); the attributes `labelled` and `unlabelled` of a map name x_l and x_0.
"""

from contextlib import ExitStack

import torch

import stage
from maskmill.data.catalog import find_dataset
from maskmill.data.index import read_index, shard
from maskmill.data.semi_supervised import crops_of, mgd_images
from maskmill.methods.mgd import ask, freeze_teacher
from maskmill.networks.deeplab_mgd import DeepLabV3PlusMGD
from maskmill.networks.device import inference_device
from maskmill.progress import progress
from maskmill.storage.caches import batch_name
from maskmill.storage.checkpoints import load_network
from maskmill.storage.maps import create_maps
from maskmill.training.loop import draw_batches, indices_of
from maskmill.training.schedules import iterations_of


@torch.inference_mode()
def main(
    dataset: str,
    index: str,
    labelled: str,
    unlabelled: str,
    checkpoint: str,
    label_maps: str,
    augmentation: dict,
    cutmix: dict,
    pairing: str,
    teacher_batchnorm: str,
    padding_counts: bool,
    min_confidence: float,
    epochs: float,
    batch_size: int,
    training: dict,
    pooled_maps: str | None = None,
    relation_maps: str | None = None,
    max_iterations: int | None = None,
    seed: int = 0,
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
) -> None:
    every, num_classes = read_index(index), find_dataset(dataset, index).num_classes
    device = inference_device(training.get("accelerator", "auto"))  # that of the students
    teacher = freeze_teacher(load_network(checkpoint, DeepLabV3PlusMGD), batchnorm=teacher_batchnorm).to(device)
    mean, std = teacher.backbone.mean, teacher.backbone.std
    crops = {"augmentation": augmentation, "cutmix": cutmix, "pairing": pairing, "short_side": short_side}
    images = mgd_images(every, labelled, unlabelled, num_classes, mean, std, **crops)
    iterations = shard(range(iterations_of(epochs, len(images), batch_size, max_iterations)), scatteritem)
    batches = draw_batches(images, batch_size, seed, iterations, workers=training.get("workers", 0))
    asked = {"teacher_batchnorm": teacher_batchnorm, "padding_counts": padding_counts, "min_confidence": min_confidence}
    parameters = crops | asked | {"seed": seed, "batch_size": batch_size}
    origin = {"producer": "cache_batches", "parameters": parameters, "inputs": [checkpoint, labelled, unlabelled]}
    with ExitStack() as stack:
        labels = stack.enter_context(create_maps(label_maps, "batch_label", **origin))
        pooled = pooled_maps and stack.enter_context(create_maps(pooled_maps, "logits", **origin))
        relation = relation_maps and stack.enter_context(create_maps(relation_maps, "relation", **origin))
        drawn = progress(zip(iterations, batches, strict=True), f"batches {scatteritem}", "batch", len(iterations))
        for iteration, batch in drawn:
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
            said = ask(teacher, *crops_of(batch, padding_counts), min_confidence=min_confidence)
            number, names = batch_name(iteration), _names(images, indices_of(images, batch_size, seed, iteration))
            both = torch.stack([said.labelled, said.mixed], dim=1)
            labels.write(number, both.byte().cpu().numpy(), **names)
            if pooled:
                pooled.write(number, said.pooled.cpu().numpy(), **names)
            if relation:
                relation.write(number, said.relation.cpu().numpy(), **names)


def _names(images, indices):
    return {
        "labelled": [images.labelled[i].image_id for i, _ in indices],
        "unlabelled": [images.unlabelled[i].image_id for _, i in indices],
    }


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
