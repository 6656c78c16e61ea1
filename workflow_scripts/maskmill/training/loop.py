"""The one training loop.

Every random number of a run is a function of (seed, iteration), never of what happened before: a run that is killed
and resumed sees the same batches, crops and dropout masks, and ends in the same weights as one that is not.
"""

import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from maskmill.errors import InputError, Paused
from maskmill.networks.norms import share_statistics
from maskmill.processes import end_with_parent, keep_freed_memory
from maskmill.progress import MININTERVAL
from maskmill.storage.checkpoints import load_tensors, save_network, save_tensors
from maskmill.training.ema import EMA
from maskmill.training.losses import total

if TYPE_CHECKING:
    from lightning_fabric import Fabric

logger = logging.getLogger(__name__)

CHECK_EVERY = 10  # iterations; reading a loss makes a GPU wait

Step = Callable[[nn.Module, dict[str, Any]], dict[str, Tensor]]
Index = int | tuple[int, int]  # of an example: of one list, or of each of two
Stored = Callable[[int], dict[str, np.ndarray]]


def train(
    network: nn.Module,
    step: Step,
    optimizer: torch.optim.Optimizer,
    schedule: Callable[[int], float],
    dataset: "RandomDataset | PairedDataset",
    *,
    checkpoint: str | Path,
    run: str,
    iterations: int,
    batch_size: int,
    seed: int,
    period: int | None = None,
    stored: Stored | None = None,
    ema: EMA | None = None,
    max_norm: float | None = None,
    state: nn.Module | None = None,
    result: nn.Module | None = None,
    accelerator: str = "auto",
    devices: int = 1,
    precision: str = "auto",
    workers: int = 0,
    max_minutes: float | None = None,
    save_minutes: float = 5,
) -> None:
    """Train `network` and save it to `checkpoint`.

    A resume state lies beside the checkpoint while training runs; a later call with the same `run` continues from it
    and ends in the same weights, bit for bit on a CPU. TensorBoard logs go to `tensorboard/` beside the checkpoint.

    Args:
        step: maps (network, batch) to named scalar losses; their sum is minimised. `batch["iteration"]` counts from 0.
        schedule: factor on every group's learning rate at an iteration counted from 0.
        dataset: `dataset.sample(index, rng)` gives one example as a dict of tensors or scalars. Where the data set has
            `lengths`, of two lists, `index` is a pair: one index into each list.
        run: identifies everything that shapes the result (settings, code, inputs); a resume state of another run is
            ignored.
        batch_size: images per iteration, over all devices: each of n devices sees every n-th of them.
        period: iterations after which the same batches, crops included, repeat; None: they never do.
        stored: function that returns what is stored for the batch of an iteration (below `period`), as arrays of
            `batch_size` rows by name; each example of the batch gets its row of each array.
        ema: follows the network after every iteration.
        max_norm: length that gradients are shortened to, over all parameters together.
        state: what else `step` carries from one iteration to the next, in its buffers; each process has its own, but
            batch norms that learn share their statistics.
        result: what is saved; default `network`.
        accelerator: auto, cpu or gpu. `devices`: GPUs, or processes on a CPU; `precision`: Fabric's names, or auto
            (bf16-mixed on GPUs that have it, 32-true elsewhere).
        max_minutes: time after which the training pauses; it keeps the resume state, and the next call goes on.
        save_minutes: time between resume states.

    Raises:
        InputError: a loss is not finite; there are fewer GPUs than `devices`; or the batch cannot be shared evenly.
        Paused: the run stopped at `max_minutes`.
    """
    if batch_size % devices:
        raise InputError(f"{checkpoint}: {devices} devices cannot share a batch of {batch_size}; change resources.gpu")
    fabric = _fabric(accelerator, devices, precision)
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    others = {"ema": None if ema is None else ema.module, "state": state}
    start = _resume(checkpoint, run, network, optimizer, others)
    if devices > 1:
        share_statistics(network)
        if state is not None:
            share_statistics(state)
    model, optimizer = fabric.setup(network, optimizer)
    for module in others.values():
        if module is not None:
            module.to(fabric.device)
    batch_numbers = [iteration % (period or iterations) for iteration in range(start, iterations)]
    ranks = {"rank": fabric.global_rank, "world_size": fabric.world_size}
    pin = fabric.device.type == "cuda"
    if fabric.device.type == "cpu":
        keep_freed_memory()
    batches = draw_batches(
        dataset, batch_size, seed, batch_numbers, workers=workers, stored=stored, pin_memory=pin, **ranks
    )
    report = _Report(Path(checkpoint), start, iterations, enabled=fabric.is_global_zero)
    started = saved = time.monotonic()
    network.train()

    for iteration, batch in zip(range(start, iterations), batches, strict=True):
        torch.manual_seed(_seed(seed, iteration, fabric.global_rank))
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * schedule(iteration)
        losses = step(model, {**fabric.to_device(batch), "iteration": iteration})
        loss = total(losses.values())
        if iteration % CHECK_EVERY == 0:
            _check_finite(checkpoint, iteration, losses)
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        if max_norm is not None:
            fabric.clip_gradients(model, optimizer, max_norm=max_norm)
        optimizer.step()
        if ema is not None:
            ema.update(network, iteration + 1)
        report(iteration + 1, losses, optimizer.param_groups[0]["lr"])

        now, last = time.monotonic(), iteration + 1 == iterations
        paused = max_minutes is not None and now - started >= 60 * max_minutes and not last
        if max_minutes is not None:
            paused = fabric.broadcast(paused)  # all processes stop at one iteration, or one would wait for ever
        if (paused or now - saved >= 60 * save_minutes) and not last and fabric.is_global_zero:
            _check_finite(checkpoint, iteration, losses)
            _save_resume(checkpoint, run, iteration + 1, network, optimizer, others)
            saved = now
        if paused:
            fabric.barrier()  # until the state is saved
            raise Paused(
                f"{checkpoint}: paused at iteration {iteration + 1} of {iterations} after {max_minutes} minutes "
                "(training.max_minutes or the job's time limit); run the same command again to go on"
            )
    report.close()
    if start < iterations:
        _check_finite(checkpoint, iteration, losses)
    if fabric.is_global_zero:
        save_network(checkpoint, network if result is None else result)
        resume_path(checkpoint).unlink(missing_ok=True)
    fabric.barrier()


class RandomDataset(Protocol):
    """What the loop draws examples from."""

    def __len__(self) -> int: ...

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        """One example, in which all randomness comes from `rng`."""


class PairedDataset(Protocol):
    """What the loop draws examples of two lists from; it goes through each list in an order of its own."""

    lengths: tuple[int, int]

    def __len__(self) -> int: ...

    def sample(self, index: tuple[int, int], rng: np.random.Generator) -> dict: ...


def batch_indices(count: int, batch_size: int, seed: int, iteration: int, which: int = 0) -> list[int]:
    """Indices of one batch: successive slices of an endless chain of permutations of range(count).

    `which` of several lists has a chain of its own.
    """
    positions = range(iteration * batch_size, (iteration + 1) * batch_size)
    return [int(_permutation(count, seed, position // count, which)[position % count]) for position in positions]


@lru_cache(maxsize=4)
def _permutation(count: int, seed: int, epoch: int, which: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch, which] if which else [seed, epoch]).permutation(count)


def resume_path(checkpoint: str | Path) -> Path:
    """The file with the state of an unfinished run."""
    return Path(f"{checkpoint}.resume")


def draw_batches(
    dataset: RandomDataset | PairedDataset,
    batch_size: int,
    seed: int,
    iterations: Sequence[int],
    *,
    workers: int = 0,
    stored: Stored | None = None,
    pin_memory: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader:
    """The batches that a training with this seed sees at the given iterations, or the part of one of its processes.

    Raises:
        InputError: the data set has no images; later, the shared memory is too small for the batches of the workers.
    """
    if not len(dataset):
        raise InputError("the training split has no images; look at its list in splits/")
    keys = _Keys(dataset, batch_size, seed, iterations, rank, world_size)
    return _Loader(
        _Keyed(dataset, seed, stored),
        batch_sampler=keys,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_begin_worker,
    )


class _Loader(DataLoader):
    """Tells an error of a worker in one line, without the worker's traceback; names the shared memory where that ends a
    worker: containers often have 64 MB of it."""

    def __iter__(self):
        try:
            yield from super().__iter__()
        except InputError as error:
            raise InputError(str(error).strip().split(f"{InputError.__name__}: ")[-1]) from None
        except RuntimeError as error:
            message = f"{error} {error.__cause__}"  # the cause tells of a worker that the system ended
            if not any(text in message for text in ("shared memory", "Bus error", "</torch_")):
                raise
            size = shutil.disk_usage("/dev/shm").total >> 20
            raise InputError(
                f"training.workers is {self.num_workers}, but the shared memory /dev/shm ({size:,} MB) is too small "
                "for their batches; give the container more (docker run --shm-size 8g), or set training.workers to 0"
            ) from None


class _Keyed(Dataset):
    """Turns (index, iteration, position) into an example, so that workers need no state."""

    def __init__(self, dataset: RandomDataset | PairedDataset, seed: int, stored: Stored | None):
        self.dataset: Any = dataset
        self.seed, self.stored = seed, stored

    def __getitems__(self, keys: list[tuple[Index, int, int]]) -> list[dict]:
        """The examples of a batch, whose keys have one iteration."""
        arrays = self.stored(keys[0][1]) if self.stored is not None else {}
        return [self[key] | {name: rows[key[2]] for name, rows in arrays.items()} for key in keys]

    def __getitem__(self, key: tuple[Index, int, int]) -> dict:
        index, iteration, position = key
        return self.dataset.sample(index, np.random.default_rng([self.seed, 1, iteration, position]))


class _Keys:
    """The batches of one process, as lists of (index, iteration, position)."""

    def __init__(self, dataset, batch_size, seed, iterations, rank, world_size):
        self.dataset, self.batch_size, self.seed, self.iterations = dataset, batch_size, seed, iterations
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[list[tuple[Index, int, int]]]:
        for iteration in self.iterations:
            batch = enumerate(indices_of(self.dataset, self.batch_size, self.seed, iteration))
            yield [(i, iteration, p) for p, i in batch if p % self.world_size == self.rank]


def indices_of(dataset: RandomDataset | PairedDataset, batch_size: int, seed: int, iteration: int) -> Sequence[Index]:
    """The indices that `dataset.sample` gets for the examples of one batch."""
    if not hasattr(dataset, "lengths"):
        return batch_indices(len(dataset), batch_size, seed, iteration)
    lists = enumerate(dataset.lengths)
    return list(zip(*(batch_indices(n, batch_size, seed, iteration, k) for k, n in lists), strict=True))


def _begin_worker(number: int) -> None:
    end_with_parent()


def _check_finite(checkpoint: str | Path, iteration: int, losses: dict[str, Tensor]) -> None:
    values = {name: value.item() for name, value in losses.items()}
    if not all(map(math.isfinite, values.values())):
        terms = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        raise InputError(
            f"{checkpoint}: the loss is not finite at iteration {iteration + 1} ({terms}); lower the learning rate"
        )


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class _OneProcess:
    """What the loop uses of Fabric, for one process on a CPU in 32 bits: importing Fabric would take two seconds."""

    device = torch.device("cpu")
    global_rank, world_size, is_global_zero = 0, 1, True

    def setup(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        return network, optimizer

    def to_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        return batch

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def clip_gradients(self, network: nn.Module, optimizer: torch.optim.Optimizer, *, max_norm: float) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(parameters, max_norm, error_if_nonfinite=True)

    def broadcast(self, value: bool) -> bool:
        return value

    def barrier(self) -> None:
        """Nobody is waited for."""


def _fabric(accelerator: str, devices: int, precision: Any) -> "Fabric | _OneProcess":
    gpus = torch.cuda.device_count()
    if accelerator == "gpu" and not gpus:
        raise InputError("config: training.accelerator is gpu, but there is none here; set it to auto or cpu")
    on_gpu = gpus > 0 and accelerator != "cpu"
    if on_gpu and devices > gpus:
        raise InputError(f"config: resources.gpu is {devices}, but only {gpus} can be seen here; make it smaller")
    if precision == "auto":
        precision = "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32-true"
    if not on_gpu and devices == 1 and precision == "32-true":
        return _OneProcess()
    return _launched(on_gpu, devices, precision)


def _launched(on_gpu: bool, devices: int, precision: Any) -> "Fabric":
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment
    from lightning_fabric.strategies import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator="gpu" if on_gpu else "cpu",
        devices=devices,
        # An iteration may have several forward passes; every process keeps its own running statistics.
        strategy=DDPStrategy(broadcast_buffers=False) if devices > 1 else "auto",
        precision=precision,
        # It starts the processes itself, also in a job of SLURM's, which is one task with several GPUs.
        plugins=LightningEnvironment(),
    )
    fabric.launch()
    return fabric


def _save_resume(checkpoint, run, iteration, network, optimizer, others) -> None:
    tensors: dict[str, Tensor] = {}
    for part, module in {"network": network, **others}.items():
        if module is not None:
            tensors |= {f"{part}.{name}": value for name, value in module.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        # A momentum buffer is absent until its parameter's first step.
        tensors |= {f"optimizer.{number}.{key}": value for key, value in state.items() if value is not None}
    save_tensors(resume_path(checkpoint), tensors, {"run": run, "iteration": iteration})


def _resume(checkpoint, run, network, optimizer, others) -> int:
    """Load the state of an unfinished run, if it has the same `run`. Returns the iteration to start from."""
    path = resume_path(checkpoint)
    if not path.exists():
        return 0
    tensors, header = load_tensors(path)
    if header["run"] != run:
        logger.info("%s belongs to other settings, code or inputs: starting anew", path)
        return 0
    for part, module in {"network": network, **others}.items():
        if module is not None:
            module.load_state_dict(_part(tensors, f"{part}."))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, "optimizer.").items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    logger.info("resuming %s at iteration %d", checkpoint, header["iteration"])
    return header["iteration"]


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


class _Report:
    """Progress bar and TensorBoard log of the main process."""

    def __init__(self, checkpoint: Path, start: int, iterations: int, *, enabled: bool):
        self.enabled = enabled
        if not enabled:
            return
        from torch.utils.tensorboard import SummaryWriter  # a second to import: not in every stage that predicts

        self.writer = SummaryWriter(checkpoint.parent / "tensorboard" / checkpoint.stem, purge_step=start)
        self.bar = tqdm(
            total=iterations,
            initial=start,
            desc=checkpoint.stem,
            unit="it",
            mininterval=MININTERVAL,
        )

    def __call__(self, iteration: int, losses: dict[str, Tensor], lr: float) -> None:
        if not self.enabled:
            return
        self.bar.update()
        if iteration % CHECK_EVERY == 1:
            self.bar.set_postfix_str(" ".join(f"{k} {v.item():.3f}" for k, v in losses.items()), refresh=False)
            for name, value in losses.items():
                self.writer.add_scalar(f"loss/{name}", value.item(), iteration)
            self.writer.add_scalar("lr", lr, iteration)

    def close(self) -> None:
        if self.enabled:
            self.bar.close()
            self.writer.close()
