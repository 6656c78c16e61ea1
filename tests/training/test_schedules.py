"""Schedules against other implementations."""

import math

import pytest
import torch
from timm.scheduler import CosineLRScheduler

from maskmill.training.schedules import warmup_cosine, warmup_then_cosine


@pytest.mark.parametrize("warmup", [0, 66])
def test_warmup_cosine_equals_timms_scheduler_at_all_steps(warmup):
    """With the rates of GroupViT's release."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.6e-3)
    theirs = CosineLRScheduler(
        optimizer, t_initial=1000, lr_min=4e-5, warmup_t=warmup, warmup_lr_init=4e-6, t_in_epochs=False
    )
    ours = warmup_cosine(1000, warmup, 4e-6 / 1.6e-3, 4e-5 / 1.6e-3)
    for step in range(1000):
        theirs.step_update(step)
        assert 1.6e-3 * ours(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=0, abs=1e-12)


def test_zerosegs_cosine_begins_behind_the_warmup_as_in_mae():
    """MAE's `adjust_learning_rate`: 80 epochs of which 20 warm up, four iterations each."""

    def maes(epoch):
        if epoch < 20:
            return epoch / 20
        return 0.5 * (1 + math.cos(math.pi * (epoch - 20) / (80 - 20)))

    ours = warmup_then_cosine(4 * 80, 4 * 20)
    assert [ours(step) for step in range(320)] == pytest.approx([maes(step / 4) for step in range(320)])
    assert ours(0) == 0 and ours(80) == 1 and ours(200) == pytest.approx(0.5)


def test_a_training_of_a_warmup_alone_has_rates_too():
    assert [warmup_then_cosine(2, 2)(step) for step in range(2)] == [0, 0.5]
