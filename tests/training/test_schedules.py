"""Schedules against other implementations."""

import pytest
import torch
from timm.scheduler import CosineLRScheduler

from maskmill.training.schedules import warmup_cosine


@pytest.mark.parametrize("warmup", [0, 66])
def test_warmup_cosine_equals_timms_scheduler_at_all_steps(warmup):
    """P12 of spec open_vocabulary, with the rates of 1.6."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.6e-3)
    theirs = CosineLRScheduler(
        optimizer, t_initial=1000, lr_min=4e-5, warmup_t=warmup, warmup_lr_init=4e-6, t_in_epochs=False
    )
    ours = warmup_cosine(1000, warmup, 4e-6 / 1.6e-3, 4e-5 / 1.6e-3)
    for step in range(1000):
        theirs.step_update(step)
        assert 1.6e-3 * ours(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=0, abs=1e-12)
