"""What MGD's teachers say of a student's batches, for students that read it instead of running them beside.

In: index, both id lists, both teachers. Out: map stores, one map a batch: `wide_labels` and `deep_labels` uint8
[B, 2, crop, crop] of the labelled and the mixed crops, 255 where left out, and of the mixed ones the `relation` of the
wide teacher's features float32 [B, 49, 49] and the deep one's `pooled` logits float32 [B, K]. Batches are those that a
student with this seed, batch size and augmentation draws (spec 2.4); attributes of a map name its images x_l and x_0.
"""

import torch

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
from maskmill.workflow import stage


@torch.inference_mode()
def main(
    dataset: str,
    index: str,
    labelled: str,
    unlabelled: str,
    wide: str,
    deep: str,
    wide_labels: str,
    relation: str,
    deep_labels: str,
    pooled: str,
    augmentation: dict,
    cutmix: dict,
    pairing: str,
    teacher_batchnorm: str,
    padding_counts: bool,
    min_confidence: float,
    epochs: float,
    batch_size: int,
    training: dict,
    max_iterations: int | None = None,
    seed: int = 0,
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
) -> None:
    every, num_classes = read_index(index), find_dataset(dataset, index).num_classes
    device = inference_device(training.get("accelerator", "auto"))  # that of the students
    loaded = [load_network(path, DeepLabV3PlusMGD) for path in (wide, deep)]
    teachers = [freeze_teacher(teacher, batchnorm=teacher_batchnorm).to(device) for teacher in loaded]
    mean, std = teachers[0].backbone.mean, teachers[0].backbone.std
    crops = {"augmentation": augmentation, "cutmix": cutmix, "pairing": pairing, "short_side": short_side}
    images = mgd_images(every, labelled, unlabelled, num_classes, mean, std, **crops)
    iterations = shard(range(iterations_of(epochs, len(images), batch_size, max_iterations)), scatteritem)
    batches = draw_batches(images, batch_size, seed, iterations, workers=training.get("workers", 0))
    asked = {"teacher_batchnorm": teacher_batchnorm, "padding_counts": padding_counts, "min_confidence": min_confidence}
    parameters = crops | asked | {"seed": seed, "batch_size": batch_size}
    about = {"producer": "cache_batches", "parameters": parameters}
    from_wide, from_deep = ({"inputs": [teacher, labelled, unlabelled], **about} for teacher in (wide, deep))
    with (
        create_maps(wide_labels, "batch_label", **from_wide) as labels_of_wide,
        create_maps(relation, "relation", **from_wide) as relations,
        create_maps(deep_labels, "batch_label", **from_deep) as labels_of_deep,
        create_maps(pooled, "logits", **from_deep) as pooled_logits,
    ):
        drawn = progress(zip(iterations, batches, strict=True), f"batches {scatteritem}", "batch", len(iterations))
        for iteration, batch in drawn:
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
            seen = crops_of(batch, padding_counts)
            of_wide, of_deep = (ask(teacher, *seen, min_confidence=min_confidence) for teacher in teachers)
            number, names = batch_name(iteration), _names(images, indices_of(images, batch_size, seed, iteration))
            for store, array in (
                (labels_of_wide, _labels(of_wide)),
                (relations, of_wide.relation),
                (labels_of_deep, _labels(of_deep)),
                (pooled_logits, of_deep.pooled),
            ):
                store.write(number, array.cpu().numpy(), **names)


def _labels(said):
    return torch.stack([said.labelled, said.mixed], dim=1).byte()


def _names(images, indices):
    return {
        "labelled": [images.labelled[i].image_id for i, _ in indices],
        "unlabelled": [images.unlabelled[i].image_id for _, i in indices],
    }


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
