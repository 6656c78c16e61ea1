"""What every training takes, whatever it trains: `TrainingRun`, and the images that most of them draw from."""

from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any

from torch import nn

from maskmill.data.datasets import TrainingImages
from maskmill.data.index import Record
from maskmill.data.transforms import Augmentation
from maskmill.errors import InputError
from maskmill.training.loop import PairedDataset, RandomDataset, Step, train
from maskmill.training.optimizers import build_optimizer
from maskmill.training.schedules import iterations_of, poly


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """How long, with which optimiser, on what, and where to: a parameter `run: TrainingRun` of a training's `main`.

    Attributes:
        checkpoint: safetensors file that the trained network is saved to.
        batch_size: images per iteration, over all devices.
        epochs: passes over the images.
        drop_last: whether the last, incomplete batch of an epoch is no iteration; otherwise it is one, and images of
            the next epoch fill the batch.
        iterations: length of the training; default: as many as `epochs` have.
        optimizer: keyword arguments of `build_optimizer`, such as {name: adamw}; null: those of the method.
        max_iterations: cap on the length, for tests; null: none.
        seed: seed of every random number: initial weights, order of images, crops.
        run_id: identifies settings, code and inputs: an interrupted training resumes only if it is the same.
        accelerator: auto, cpu or gpu.
        devices: GPUs, or processes on a CPU, that share each batch.
        precision: Lightning Fabric's name, or auto: bf16-mixed on GPUs that have it, else 32-true.
        workers: processes that load images.
        max_minutes: time after which the training pauses, to be resumed by the same command; null: never.
        save_minutes: time between the states that a training resumes from.
    """

    checkpoint: str
    batch_size: int
    epochs: float | None = None
    drop_last: bool = True
    iterations: int | None = None
    optimizer: dict | None = None
    max_iterations: int | None = None
    seed: int = 0
    run_id: str = "by hand"
    accelerator: str = "auto"
    devices: int = 1
    precision: str = "auto"
    workers: int = 0
    max_minutes: float | None = None
    save_minutes: float = 5

    def length(self, images: Sized) -> int:
        """Iterations of a training on these images.

        Raises:
            InputError: neither epochs nor iterations are given.
        """
        if self.iterations is not None:
            return self.iterations if self.max_iterations is None else min(self.iterations, self.max_iterations)
        if self.epochs is None:
            raise InputError("a training needs --epochs or --iterations")
        return iterations_of(self.epochs, len(images), self.batch_size, self.max_iterations, drop_last=self.drop_last)

    def train(
        self,
        network: nn.Module,
        step: Step,
        groups: list[dict],
        images: RandomDataset | PairedDataset,
        *,
        schedule: Callable[[int], float] | None = None,
        optimizer: str = "sgd",
        **options: Any,
    ) -> None:
        """Train `network` and save it to `checkpoint`.

        Args:
            network, step: as `maskmill.training.loop.train` takes them.
            groups: parameter groups with learning rates and weight decays of their own.
            images: what the loop draws examples from.
            schedule: factor on the learning rates at an iteration; default: poly with power 0.9.
            optimizer: name of the method's optimiser; a `name` in the field `optimizer` replaces it.
            options: further keyword arguments of `maskmill.training.loop.train`.
        """
        iterations = self.length(images)
        train(
            network,
            step,
            build_optimizer(groups, **{"name": optimizer, **(self.optimizer or {})}),
            schedule or poly(iterations),
            images,
            checkpoint=self.checkpoint,
            run=self.run_id,
            iterations=iterations,
            batch_size=self.batch_size,
            seed=self.seed,
            accelerator=self.accelerator,
            devices=self.devices,
            precision=self.precision,
            workers=self.workers,
            max_minutes=self.max_minutes,
            save_minutes=self.save_minutes,
            **options,
        )


def training_images(records: list[Record], augmentation: dict, network: nn.Module, **options: Any) -> TrainingImages:
    """Random crops of images, normalised as a network wants them.

    Args:
        augmentation: keyword arguments of `Augmentation`.
        network: a backbone or another module with `mean` and `std`.
        options: `num_classes`, `labels` and `short_side` of `TrainingImages`.
    """
    return TrainingImages(records, Augmentation(**augmentation), network.mean, network.std, **options)
