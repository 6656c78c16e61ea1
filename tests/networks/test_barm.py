"""BARM's network. Golden numbers: sizes of the released networks (ANDYZAQ/BARM) and their aggregated background."""

import pytest
import torch
from torch import nn

from maskmill.errors import InputError
from maskmill.evaluation.cost import macs, parameters
from maskmill.networks.barm import BARM, aggregate, freeze_known, load_previous, next_step, parameter_groups
from maskmill.storage.checkpoints import load_network, save_network

SMALL = {"rates": (1, 2), "width": 8}


def steps_of(first: int, *others: int) -> list[list[int]]:
    sizes, steps = [first, *others], []
    for number, size in enumerate(sizes):
        start = 1 + sum(sizes[:number])
        steps.append(list(range(start, start + size)))
    return steps


def released(*sizes: int) -> BARM:
    with torch.device("meta"):
        return BARM("resnet101", steps_of(*sizes))


def small(*sizes: int) -> BARM:
    torch.manual_seed(0)
    return BARM("sample_cnn", steps_of(*sizes), **SMALL)


@pytest.mark.parametrize(
    ("sizes", "total"),
    [
        ((15,), 58_629_712),
        ((15, *5 * [1]), 61_583_962),
        ((10, *10 * [1]), 64_536_927),
        ((100, *10 * [5]), 64_570_337),
    ],
)
def test_networks_have_the_released_size(sizes, total):
    network = released(*sizes)
    assert parameters(network) == total
    assert parameters(network.backbone) == 42_500_160


@pytest.mark.parametrize(
    ("sizes", "billions"), [((15,), "71.70"), ((15, *5 * [1]), "74.92"), ((10, *10 * [1]), "78.13")]
)
def test_networks_cost_what_the_released_ones_cost(sizes, billions):
    assert f"{macs(released(*sizes), 513, 513) / 1e9:.2f}" == billions


def test_maps_are_at_stride_16():
    with torch.device("meta"):
        output = released(15, 1, 1)(torch.empty(2, 3, 513, 513))
        assert released(15)(torch.empty(2, 3, 129, 129)).logits.shape == (2, 16, 9, 9)
    assert output.logits.shape == (2, 18, 33, 33)
    assert [z.shape[1] for z in output.scores] == [16, 2, 2]
    assert all(g.shape == (2, 256, 33, 33) for g in output.features)


# Aggregation


def scores() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, channels, 3, 4, dtype=torch.float64, requires_grad=True) for channels in (4, 3, 2)]


def test_inference_adds_residuals_below_zero():
    z = scores()
    y = aggregate(z, learning=False)
    expected = z[0][:, 0] + z[1][:, 0].clamp(max=0) + z[2][:, 0].clamp(max=0)
    torch.testing.assert_close(y[:, 0], expected)
    torch.testing.assert_close(y[:, 1:], torch.cat([z[0][:, 1:], z[1][:, 1:], z[2][:, 1:]], dim=1))


def test_learning_adds_the_last_residual_as_it_is():
    z = scores()
    y = aggregate(z, learning=True)
    torch.testing.assert_close(y[:, 0], z[0][:, 0] + z[1][:, 0].clamp(max=0) + z[2][:, 0])
    assert (z[2][:, 0] > 0).any(), "a clamp would be seen"


def test_background_has_a_gradient_through_the_last_residual_alone():
    z = scores()
    aggregate(z, learning=True)[:, 0].sum().backward()
    assert (z[0].grad == 0).all() and (z[1].grad == 0).all()
    assert (z[2].grad[:, 0] == 1).all() and (z[2].grad[:, 1:] == 0).all()


def test_other_channels_have_their_own_gradient():
    z = scores()
    aggregate(z, learning=True)[:, 1:].sum().backward()
    for scores_of_group in z:
        assert (scores_of_group.grad[:, 0] == 0).all() and (scores_of_group.grad[:, 1:] == 1).all()


def test_the_first_step_learns_its_background():
    z = scores()[0]
    aggregate([z], learning=True).sum().backward()
    assert (z.grad == 1).all()


def test_a_network_aggregates_for_learning_in_training_mode_alone():
    network, x = next_step(small(2), [3]), torch.rand(2, 3, 32, 32)
    network.aspp.project[1].p = 0.0
    nn.init.constant_(network.heads[-1].bias, 5.0)  # residuals above zero, which inference leaves out
    learning, inference = network.train()(x).logits, network.eval()(x).logits
    assert (learning[:, 0] > inference[:, 0] + 1).any()
    torch.testing.assert_close(learning[:, 1:], inference[:, 1:])


# The next step


def trained(*sizes: int) -> BARM:
    """A network whose norms have statistics and values of their own."""
    network = small(*sizes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.uniform_(0.5, 1.5)
    return network.eval()


def test_a_new_group_starts_as_the_first_ear_without_its_statistics():
    previous = trained(2, 1)
    network = next_step(previous, [4, 5])
    assert network.arguments["steps"] == [[1, 2], [3], [4, 5]]
    first, new = network.ears[0], network.ears[2]
    assert torch.equal(new[0].weight, first[0].weight) and torch.equal(new[1].weight, first[1].weight)
    assert torch.equal(new[1].bias, first[1].bias)
    assert (new[1].running_mean == 0).all() and (new[1].running_var == 1).all()
    assert torch.equal(next_step(previous, [4], copy_statistics=True).ears[2][1].running_var, first[1].running_var)


def test_a_new_head_starts_at_random_with_the_released_spread():
    with torch.device("cpu"):
        head = BARM("sample_cnn", [list(range(1, 300))], rates=(1,), width=256).heads[0]
    assert head.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.02)
    assert head.bias.abs().max().item() == pytest.approx(1 / 16, rel=0.05)


def test_the_next_step_starts_with_all_that_the_previous_one_learned():
    previous, x = trained(2, 1), torch.rand(1, 3, 32, 32)
    network = next_step(previous, [4]).eval()
    with torch.no_grad():
        before, after = previous(x), network(x)
    for old, new in zip(before.scores, after.scores, strict=False):
        assert torch.equal(old, new)
    assert torch.equal(before.logits[:, 1:], after.logits[:, 1:4])


def test_norms_of_a_later_step_neither_follow_batches_nor_learn():
    network = next_step(trained(2), [3]).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.rand(4, 3, 32, 32)).logits.sum().backward()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and not any(module.training for module in norms)
    assert not any(parameter.requires_grad for module in norms for parameter in module.parameters())
    assert network.aspp.project[1].training, "dropout is on"
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_backbone_statistics_follow_slowly():
    network = small(2)
    assert {m.momentum for m in network.backbone.modules() if isinstance(m, nn.BatchNorm2d)} == {0.01}
    assert {m.momentum for m in network.ears.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


def test_a_single_image_trains():
    small(2).train()(torch.rand(1, 3, 32, 32)).logits.sum().backward()


def test_new_parts_aspp_and_old_parts_have_rates_of_their_own():
    network = next_step(small(2, 1), [4])
    groups = parameter_groups(network, lr_new=1e-2, lr_aspp=1e-3, lr_old=1e-4, weight_decay=1e-4)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    names = {name: rates.get(id(p)) for name, p in network.named_parameters() if p.requires_grad}
    for name, rate in names.items():
        new = name.startswith(("ears.2", "heads.2"))
        assert rate == (1e-2 if new else 1e-3 if name.startswith("aspp.") else 1e-4), name
    assert len(rates) == len(names), "frozen parameters are in no group"


def test_groups_without_anything_to_learn_are_left_out():
    network = next_step(small(2), [3])
    for part in (network.backbone, network.aspp, network.ears[0], network.heads[0]):
        part.requires_grad_(False)
    groups = parameter_groups(network, lr_new=1e-2, lr_aspp=1e-3, lr_old=1e-4, weight_decay=0)
    assert [group["lr"] for group in groups] == [1e-2]


def test_a_frozen_network_learns_its_new_group_alone():
    network = next_step(small(2, 1), [4])
    freeze_known(network)
    learned = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert learned == {"ears.2.0.weight", "heads.2.weight", "heads.2.bias"}


# Checkpoints


def test_checkpoint_gives_the_same_logits(tmp_path):
    network, x = next_step(trained(2), [3]).eval(), torch.rand(1, 3, 33, 47)
    save_network(tmp_path / "network.safetensors", network)
    with torch.no_grad():
        assert torch.equal(load_network(tmp_path / "network.safetensors", BARM)(x).logits, network(x).logits)


def test_a_previous_network_of_another_class_order_is_refused(tmp_path):
    path = tmp_path / "step0.safetensors"
    save_network(path, small(2))
    assert load_previous(path, [(1, 2), (3,)]).arguments["steps"] == [[1, 2]]
    with pytest.raises(InputError, match=r"step0\.safetensors: learned the classes \[\[1, 2\]\], not \[\[2, 1\]\]"):
        load_previous(path, [(2, 1), (3,)])
    with pytest.raises(InputError, match=r"learned the classes \[\[1, 2\]\], not \[\[1, 2\], \[3\]\]"):
        load_previous(path, [(1, 2), (3,), (4,)])
