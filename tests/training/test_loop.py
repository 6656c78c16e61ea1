"""The training loop: resumable with the same result, stops on NaN, pauses on time."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from maskmill.errors import InputError
from maskmill.storage.checkpoints import load_network, load_tensors
from maskmill.training import loop
from maskmill.training.ema import EMA
from maskmill.training.loop import batch_indices, draw_batches, indices_of, resume_path, train
from maskmill.training.run import TrainingRun
from maskmill.training.schedules import iterations_of, poly


class Net(nn.Module):
    """Batch norm and dropout, so that buffers and random masks count."""

    def __init__(self, width=8):
        super().__init__()
        self.arguments = {"width": width}
        self.layers = nn.Sequential(
            nn.Linear(4, width), nn.BatchNorm1d(width), nn.Dropout(0.5), nn.ReLU(), nn.Linear(width, 1)
        )

    def forward(self, x):
        return self.layers(x)


class Points:
    def __len__(self):
        return 13

    def sample(self, index, rng):
        return {"x": torch.tensor(rng.normal(size=4) + index, dtype=torch.float32)}


class Pairs:
    """Examples of two lists; keeps the indices that were drawn."""

    lengths = (3, 5)

    def __init__(self):
        self.drawn = []

    def __len__(self):
        return 5

    def sample(self, index, rng):
        self.drawn.append(index)
        return {"x": torch.zeros(4)}


class Count(nn.Module):
    """What a step carries on: the sum of all iterations' numbers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(()))


class Killed(BaseException):
    pass


def fit(
    path,
    *,
    dataset=None,
    killed_at=None,
    optimizer="sgd",
    ema=True,
    save="ema",
    run="run",
    iterations=20,
    note=lambda batch: None,
    **options,
):
    torch.manual_seed(0)
    network, state = Net(), Count()
    teacher = EMA(network, decay=0.9) if ema else None
    optimizers = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
        "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    }
    calls = iter(range(10**6))

    def step(model, batch):
        if next(calls) == killed_at:
            raise Killed
        note(batch)
        state.total += batch["iteration"]
        return {"square": model(batch["x"]).square().mean() * (1 + state.total / 1000)}

    train(
        network,
        step,
        optimizers[optimizer](network.parameters()),
        poly(iterations),
        dataset or Points(),
        ema=teacher,
        state=state,
        result=teacher.module if ema and save == "ema" else None,
        checkpoint=path,
        run=run,
        iterations=iterations,
        batch_size=4,
        seed=3,
        **{"save_minutes": 0, **options},
    )


def bits(path):
    return {name: value.numpy().tobytes() for name, value in load_tensors(path)[0].items()}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("ema", [True, False])
def test_killed_and_resumed_run_ends_in_the_same_bits(tmp_path, optimizer, ema):
    fit(tmp_path / "whole", optimizer=optimizer, ema=ema)
    for killed_at in (7, 5):
        with pytest.raises(Killed):
            fit(tmp_path / "resumed", optimizer=optimizer, ema=ema, killed_at=killed_at)
    assert load_tensors(resume_path(tmp_path / "resumed"))[1]["iteration"] == 12
    fit(tmp_path / "resumed", optimizer=optimizer, ema=ema)
    assert bits(tmp_path / "resumed") == bits(tmp_path / "whole")
    assert not resume_path(tmp_path / "resumed").exists()


def test_number_of_loader_workers_does_not_matter(tmp_path):
    fit(tmp_path / "none")
    fit(tmp_path / "two", workers=2)
    assert bits(tmp_path / "none") == bits(tmp_path / "two")


def test_resume_state_of_another_run_is_ignored(tmp_path):
    fit(tmp_path / "whole")
    with pytest.raises(Killed):
        fit(tmp_path / "other", run="other settings", killed_at=7)
    fit(tmp_path / "other")
    assert bits(tmp_path / "other") == bits(tmp_path / "whole")


def test_pause_at_max_minutes_keeps_the_state_and_the_next_calls_finish(tmp_path):
    fit(tmp_path / "whole", iterations=3)
    for iteration in (1, 2):
        with pytest.raises(InputError, match=f"paused at iteration {iteration} of 3 .*run the same command again"):
            fit(tmp_path / "paused", iterations=3, max_minutes=1e-9, save_minutes=60)
    fit(tmp_path / "paused", iterations=3, max_minutes=1e-9, save_minutes=60)
    assert bits(tmp_path / "paused") == bits(tmp_path / "whole")


def test_minutes_decide_when_the_state_is_saved_and_when_the_training_pauses(tmp_path, monkeypatch):
    """Every iteration takes a minute."""
    minutes, saved = iter(range(5, 20)), []
    monkeypatch.setattr("maskmill.training.loop.time", SimpleNamespace(monotonic=lambda: 60.0 * next(minutes)))
    state = resume_path(tmp_path / "net")

    def note(batch):
        saved.append(load_tensors(state)[1]["iteration"] if state.exists() else 0)

    with pytest.raises(InputError, match="paused at iteration 7 of 10"):
        fit(tmp_path / "net", iterations=10, save_minutes=2, max_minutes=7, note=note)
    assert saved == [0, 0, 2, 2, 4, 4, 6] and load_tensors(state)[1]["iteration"] == 7


def test_loss_that_is_not_finite_stops_and_leaves_no_checkpoint(tmp_path):
    network = Net()

    def step(model, batch):
        return {"bad": model(batch["x"]).sum() * float("nan")}

    with pytest.raises(InputError, match=r"not finite at iteration 1 \(bad nan\); lower the learning rate"):
        train(
            network,
            step,
            torch.optim.SGD(network.parameters(), lr=0.1),
            poly(5),
            Points(),
            checkpoint=tmp_path / "net",
            run="run",
            iterations=5,
            batch_size=4,
            seed=0,
        )
    assert not (tmp_path / "net").exists()


def test_missing_gpu_is_named(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(InputError, match="accelerator is gpu"):
        fit(tmp_path / "net", accelerator="gpu")


def test_tensorboard_log_is_written(tmp_path):
    fit(tmp_path / "net")
    assert list((tmp_path / "tensorboard" / "net").glob("events.*"))


def test_tensorboard_has_the_losses_and_the_rate_of_every_tenth_iteration(tmp_path, monkeypatch):
    written = []

    class Writer:
        def __init__(self, *_, **__):
            self.close = lambda: None
            self.add_scalar = lambda *numbers: written.append(numbers)

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", Writer)
    fit(tmp_path / "net", iterations=12)
    assert [(name, iteration) for name, _, iteration in written] == [
        *(("loss/square", 1), ("lr", 1)),
        *(("loss/square", 11), ("lr", 11)),
    ]
    assert [value for name, value, _ in written if name == "lr"] == [0.01, 0.01 * poly(12)(10)]
    assert all(value > 0 for _, value, _ in written)


def test_each_group_learns_at_its_rate_times_the_schedule(tmp_path):
    """A loss whose gradient is 1 moves every parameter by the sum of the rates."""
    network = nn.Linear(4, 1)
    network.arguments = {}
    weight, bias = network.weight.detach().clone(), network.bias.detach().clone()
    groups = [{"params": [network.weight], "lr": 0.5}, {"params": [network.bias], "lr": 2.0}]
    train(
        network,
        lambda model, batch: {"sum": model(torch.ones(1, 4)).sum()},
        torch.optim.SGD(groups),
        lambda iteration: (1, 0.5, 0.25)[iteration],
        Points(),
        checkpoint=tmp_path / "network.safetensors",
        run="run",
        iterations=3,
        batch_size=4,
        seed=0,
        accelerator="cpu",
    )
    torch.testing.assert_close(weight - network.weight, torch.full((1, 4), 0.5 * 1.75))
    torch.testing.assert_close(bias - network.bias, torch.tensor([2.0 * 1.75]))


def test_saved_network_is_the_result_where_one_is_named(tmp_path):
    fit(tmp_path / "ema")
    fit(tmp_path / "student", save="student")
    fit(tmp_path / "plain", ema=False)
    assert bits(tmp_path / "student") == bits(tmp_path / "plain") != bits(tmp_path / "ema")
    assert isinstance(load_network(tmp_path / "ema", Net), Net)


def test_batches_run_through_every_image_before_one_comes_again():
    drawn = [index for iteration in range(13) for index in batch_indices(13, 4, seed=1, iteration=iteration)]
    for epoch in range(4):
        assert sorted(drawn[13 * epoch : 13 * (epoch + 1)]) == list(range(13))
    assert drawn[:13] != drawn[13:26]


def test_of_two_lists_each_is_gone_through_in_an_order_of_its_own(tmp_path):
    pairs = Pairs()
    fit(tmp_path / "pairs", dataset=pairs, iterations=15)
    first, second = ([index[which] for index in pairs.drawn] for which in (0, 1))
    for drawn, length in ((first, 3), (second, 5)):
        epochs = [drawn[start : start + length] for start in range(0, 60, length)]
        assert all(sorted(epoch) == list(range(length)) for epoch in epochs) and epochs[0] != epochs[1]
    equal = Pairs()
    equal.lengths = (5, 5)
    fit(tmp_path / "equal", dataset=equal, iterations=15)
    assert len(set(equal.drawn)) > 5, "lists of one length do not keep to the same partners"


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_can_be_drawn_without_a_training_and_out_of_order(workers):
    in_order = [batch["x"] for batch in draw_batches(Points(), 4, 1, range(6))]
    some = [batch["x"] for batch in draw_batches(Points(), 4, 1, [4, 1], workers=workers)]
    assert all(torch.equal(*pair) for pair in zip(some, (in_order[4], in_order[1]), strict=True))
    means = in_order[4].mean(dim=1) - torch.tensor(indices_of(Points(), 4, 1, 4))
    assert means.abs().max() < 2, "a point lies around its index"


def test_batches_come_again_and_what_was_stored_for_them_comes_along(tmp_path):
    batches = []

    def note(batch):
        batches.append((batch["x"].clone(), batch["stored"].tolist()))

    again = {"iterations": 7, "note": note, "period": 3, "stored": lambda i: {"stored": 10 * i + np.arange(4)}}
    with pytest.raises(Killed):
        fit(tmp_path / "net", killed_at=5, **again)
    fit(tmp_path / "net", **again)
    assert len(batches) == 7
    drawn = [batch["x"] for batch in draw_batches(Points(), 4, 3, range(3))]
    for iteration, (points, stored) in enumerate(batches):
        assert torch.equal(points, drawn[iteration % 3])
        assert stored == [10 * (iteration % 3) + position for position in range(4)]


def test_each_process_gets_what_was_stored_for_its_own_examples():
    for rank, expected in enumerate(([0, 2], [1, 3])):
        ours = {"rank": rank, "world_size": 2}
        (batch,) = draw_batches(Points(), 4, 0, [2], stored=lambda i: {"stored": np.arange(4)}, **ours)
        assert batch["stored"].tolist() == expected


def test_a_process_may_have_a_single_example_of_each_batch():
    ours = {"rank": 1, "world_size": 2}
    (batch,) = draw_batches(Points(), 2, 0, [3], stored=lambda i: {"stored": 10 * i + np.arange(2)}, **ours)
    assert batch["stored"].tolist() == [31]


@pytest.mark.parametrize(
    ("gpus", "bf16", "asked", "launched"),
    [
        (0, False, ("auto", 1, "auto"), None),
        (0, False, ("cpu", 1, "bf16-mixed"), (False, 1, "bf16-mixed")),
        (0, False, ("auto", 2, "auto"), (False, 2, "32-true")),
        (1, True, ("auto", 1, "auto"), (True, 1, "bf16-mixed")),
        (1, False, ("gpu", 1, "auto"), (True, 1, "32-true")),
        (2, True, ("auto", 2, "32-true"), (True, 2, "32-true")),
        (2, True, ("cpu", 1, "auto"), None),
        (2, True, ("cpu", 3, "auto"), (False, 3, "32-true")),
    ],
)
def test_gpus_are_used_where_there_are_some_and_a_single_process_on_a_cpu_needs_no_fabric(
    gpus, bf16, asked, launched, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
    monkeypatch.setattr(loop, "_launched", lambda *options: options)
    fabric = loop._fabric(*asked)
    assert isinstance(fabric, loop._OneProcess) if launched is None else fabric == launched


def test_more_devices_than_there_are_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="gpu is 2, but only 1 can be seen here"):
        loop._fabric("auto", 2, "auto")


def test_iterations_of_irn_are_those_of_the_released_code():
    assert iterations_of(5, 10_582, 16) == 3_305
    assert iterations_of(3, 10_582, 32) == 990
    assert iterations_of(3, 10_582, 32, limit=2) == 2
    assert iterations_of(1, 3, 16) == 1


def test_iterations_of_bas_on_cub_are_those_of_the_released_loader():
    """`WSOL/train.py` keeps an epoch's last batch, of 10 images: 188 iterations an epoch."""
    loader = torch.utils.data.DataLoader(range(5994), batch_size=32)
    assert iterations_of(120, 5994, 32, drop_last=False) == 120 * len(loader) == 22_560
    assert iterations_of(120, 5994, 32) == 22_440
    assert iterations_of(80, 5994, 32, drop_last=False) == 15_040
    run = TrainingRun(checkpoint="none", batch_size=32, epochs=120, drop_last=False)
    assert run.length(range(5994)) == 22_560 and run.length(range(5984)) == 22_440


def test_ema_follows_theta_as_the_reference_run():
    """MARS reference formulas: theta0 = 1, s = cos(0.3 k) at step k, decay 0.999."""
    network = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(network.weight)
    ema = EMA(network, decay=0.999)
    for k in range(1, 11):
        nn.init.constant_(network.weight, np.cos(0.3 * k))
        ema.update(network, k)
        if k == 1:
            assert ema.module.weight.item() == pytest.approx(0.999955336489, abs=1e-12)
    assert ema.module.weight.item() == pytest.approx(0.989499546004, abs=1e-12)


def test_the_moving_average_counts_iterations_from_one_also_when_a_run_goes_on(tmp_path, monkeypatch):
    counted = []
    monkeypatch.setattr(EMA, "update", lambda ema, network, iteration: counted.append(iteration))
    with pytest.raises(Killed):
        fit(tmp_path / "net", iterations=4, killed_at=2)
    assert counted == [1, 2]
    fit(tmp_path / "net", iterations=4)
    assert counted == [1, 2, 3, 4]


def test_ema_ramp_of_rs_epm():
    ema = EMA(nn.Linear(1, 1), decay=0.9999, ramp=2000)
    assert ema.decay_at(2000) == pytest.approx(0.9999 * (1 - np.exp(-1)))
    assert EMA(nn.Linear(1, 1), decay=0.999).decay_at(1) == 0.999


def test_ema_of_cwbass_releases():
    """v1 copies running statistics; v2 has min(1 - 1/(t + 1), 0.996) with t counted from 0."""
    network = nn.BatchNorm1d(1)
    ema = EMA(network, decay=0.9, buffers="copied")
    nn.init.constant_(network.weight, 2.0)
    network.running_mean.fill_(5.0)
    ema.update(network, 1)
    assert ema.module.weight.item() == pytest.approx(0.9 * 1 + 0.1 * 2)
    assert ema.module.running_mean.item() == 5.0
    v2 = EMA(network, decay=0.996, warm_up=True)
    assert [v2.decay_at(t) for t in (1, 2, 250, 10_000)] == [0, 0.5, 0.996, 0.996]


def test_poly_schedule_of_mgd():
    """Base 0.01, 100 iterations, at 0, 50 and 99; the golden numbers of the released code are float32."""
    rates = np.array([0.01 * poly(100)(t) for t in (0, 50, 99)], np.float32)
    np.testing.assert_array_equal(rates, np.array([0.01, 0.00535886731, 0.000158489323], np.float32))


def test_a_long_gradient_is_shortened_over_all_parameters_together(tmp_path):
    network = nn.Linear(4, 1)
    network.arguments = {}
    before = torch.cat([p.detach().flatten().clone() for p in network.parameters()])
    train(
        network,
        lambda model, batch: {"square": 1000 * model(batch["x"]).square().mean()},
        torch.optim.SGD(network.parameters(), lr=1.0),
        lambda iteration: 1.0,
        Points(),
        max_norm=0.25,
        checkpoint=tmp_path / "network.safetensors",
        run="run",
        iterations=1,
        batch_size=4,
        seed=0,
        accelerator="cpu",
    )
    after = torch.cat([p.detach().flatten() for p in network.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.25, rel=1e-4)


def test_a_gradient_that_is_not_finite_is_not_shortened(tmp_path):
    """The loss is 0, and the slope of the root is infinite there."""
    network = nn.Linear(4, 1)
    network.arguments = {}
    with pytest.raises(RuntimeError, match="non-finite"):
        train(
            network,
            lambda model, batch: {"root": (0 * model(batch["x"])).sum().sqrt()},
            torch.optim.SGD(network.parameters(), lr=1.0),
            lambda iteration: 1.0,
            Points(),
            max_norm=0.25,
            checkpoint=tmp_path / "network.safetensors",
            run="run",
            iterations=1,
            batch_size=4,
            seed=0,
            accelerator="cpu",
        )


class EndsWorkers:
    """Examples whose worker ends as one does that finds no room in the shared memory."""

    def __init__(self, end):
        self.end = end

    def __len__(self):
        return 4

    def sample(self, index, rng):
        self.end()


def broken_image():
    raise InputError("photos/a.jpg: cannot be read (truncated); replace it")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_one_line_also_where_a_worker_reads_it(workers):
    with pytest.raises(InputError) as error:
        next(iter(draw_batches(EndsWorkers(broken_image), 2, 0, range(1), workers=workers)))
    assert str(error.value) == "photos/a.jpg: cannot be read (truncated); replace it"


def no_room():
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_0>: No space left on device (28)")


def bus_error():
    os.kill(os.getpid(), signal.SIGBUS)


@pytest.mark.slow
@pytest.mark.parametrize("end", [no_room, bus_error])
def test_a_shared_memory_that_is_too_small_is_one_line_with_the_setting(end):
    with pytest.raises(
        InputError, match=r"training\.workers is 1, but the shared memory /dev/shm \([\d,]+ MB\) is too"
    ):
        list(draw_batches(EndsWorkers(end), 2, 0, [0], workers=1))


def test_another_error_of_a_worker_is_not_put_down_to_the_shared_memory():
    def other():
        raise RuntimeError("out of range")

    with pytest.raises(RuntimeError, match="out of range"):
        list(draw_batches(EndsWorkers(other), 2, 0, [0], workers=1))
