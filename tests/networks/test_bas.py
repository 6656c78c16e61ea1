"""BAS's networks. Golden numbers: one float64 run of the released networks with parameters of `rule_q` and `rule_f`."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from fills import rule_f, rule_q, rule_x
from maskmill.errors import InputError
from maskmill.evaluation.cost import parameters
from maskmill.methods.bas import (
    activation,
    area,
    background_activation,
    localization_losses,
    logits,
    multi_label,
    seed_losses,
    selected_map,
)
from maskmill.networks.backbones import build_backbone
from maskmill.networks.bas import BASLocalizer, BASSeeds, frozen_call, parameter_groups
from maskmill.networks.weights import convert
from maskmill.storage.checkpoints import load_network, save_network, save_tensors

pytestmark = pytest.mark.slow


def numbers(values: torch.Tensor) -> list[float]:
    return [values.mean().item(), values.abs().mean().item(), values.flatten()[0].item(), values.flatten()[-1].item()]


def positive(mean: float, first: float, last: float) -> list[float]:
    """`numbers` of a tensor without negative values."""
    return [mean, mean, first, last]


def near(expected):
    return pytest.approx(expected, rel=1e-9, abs=0)


def gradient_norms(loss: torch.Tensor, weights: list[torch.Tensor]) -> list[float | None]:
    gradients = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
    return [None if g is None else g.norm().item() for g in gradients]


def same(found: list[float | None], expected: list[float | None]) -> None:
    """Equal gradient norms; None where a loss does not depend on a tensor."""
    assert [value is None for value in found] == [value is None for value in expected]
    assert [v for v in found if v is not None] == near([v for v in expected if v is not None])


# --- parameters and shapes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "count"),
    [("vgg16", 29_999_312), ("resnet50", 53_870_032), ("mobilenet_v1", 23_210_192), ("inception_v3", 51_686_768)],
)
def test_localisers_have_the_released_parameters_and_grids(backbone, count):
    with torch.device("meta"):
        network = BASLocalizer(backbone, 200).eval()
        z, maps, scores = network.predict(torch.empty(2, 3, 224, 224))
    assert parameters(network) == count
    assert z.shape == (2, 200)
    assert maps.shape == (2, 200, 28, 28)
    assert scores.shape == (2, 200, 14, 14)


def test_the_seed_network_has_the_released_parameters():
    with torch.device("meta"):
        assert parameters(BASSeeds("resnet50", 20)) == 23_733_312


@pytest.mark.parametrize(("backbone", "stride", "cells"), [("efficientnet_lite0", 16, 4), ("sample_cnn", 8, 8)])
def test_light_seed_networks_give_maps_and_scores_on_one_grid(backbone, stride, cells):
    with torch.device("meta"):
        network = BASSeeds(backbone, 20, output_stride=stride)
        branches = network(torch.empty(2, 3, 64, 64), torch.zeros(2, dtype=torch.long))
        assert network.cam(torch.empty(1, 3, 64, 96)).shape == (20, cells, cells * 3 // 2)
    assert branches.scores.shape == branches.erased.shape == (2, 20, cells, cells)
    assert branches.foreground.shape == (2, 1, cells, cells)


def test_unknown_backbone_is_named():
    with pytest.raises(InputError, match="unknown backbone 'resnet101' of BAS; choose one of vgg16"):
        BASLocalizer("resnet101", 20)


# --- 8a: seeds, ResNet-50, 20 classes -----------------------------------------------------------------------------

TAGS = torch.zeros(2, 20, dtype=torch.bool)
TAGS[0, [3, 7]] = TAGS[1, [0, 2, 12]] = True


@pytest.fixture(scope="module")
def seeds():
    return BASSeeds("resnet50", 20).double()


def seed_weights(network: BASSeeds) -> list[torch.Tensor]:
    """Generator, layer3.5.conv3, layer4.2.conv3, classifier."""
    layer3, layer4 = network.f1[3], network.f2[0]
    return [network.generator.weight, layer3[5].conv3.weight, layer4[2].conv3.weight, network.f2[1].weight]


def check_seeds(network, drawn, *, s, s_b, area_each, losses, norms) -> None:
    """One step of `network` on rule X against the reference: activations, L_mcls, L_frg, L_bas, L_ac, total, and the
    gradient norms of the losses named in `norms`."""
    drawn = torch.tensor(drawn)
    branches = network(rule_x(2, 3, 64, 64), drawn)
    assert activation(branches.scores, drawn).tolist() == near(s)
    assert activation(branches.erased, drawn).tolist() == near(s_b)
    assert area(branches.foreground).tolist() == near(area_each)
    terms = seed_losses(*branches, drawn, TAGS)
    terms["frg"], terms["ac"] = terms["frg"] / 0.2, terms["ac"] / 1.2
    assert [terms[name].item() for name in ("mcls", "frg", "bas", "ac")] == near(losses[:4])
    total = terms["mcls"] + 0.2 * terms["frg"] + terms["bas"] + 1.2 * terms["ac"]
    assert total.item() == near(losses[4])
    for name, expected in norms.items():
        same(gradient_norms(total if name == "total" else terms[name], seed_weights(network)), expected)


F_EVAL = {
    (3, 0): {
        "s": [1.2121955943e-05, 1.59008343163e-05],
        "s_b": [6.06086724686e-06, 7.95030403752e-06],
        "area_each": [0.500008209853, 0.500006444674],
        "losses": [7.27998662434, 2.99572527496, 0.499628688836, 0.500007327264, 8.97876916089],
        "norms": {
            "total": [0.00625488856985, 4.77376236107e-06, 2.61579438233e-05, 0.00848005000949],
            "mcls": [None, 3.4837492821e-06, 2.61579438233e-05, 0.00848005000949],
            "frg": [3.87979163987e-07, 2.07099663569e-10, None, None],
            "bas": [0.0279616655393, 1.49329587353e-05, None, None],
            "ac": [0.0255422138927, 1.41712274613e-05, None, None],
        },
    },
    (7, 12): {
        "s": [-3.10180975859e-06, -3.8740443751e-06],
        "s_b": [-1.55088896179e-06, -1.93704674128e-06],
        "area_each": [0.500003733341, 0.499994566587],
        "losses": [7.27998662434, 2.99573402473, 0, 0.499999149964, 8.47913240924],
        "norms": {
            "total": [0.0306506757205, 4.08139463761e-06, 2.61579438233e-05, 0.00848005000949],
            "bas": [0, 0, None, None],
        },
    },
}


@pytest.mark.parametrize("drawn", F_EVAL)
def test_seed_losses_and_gradients_are_the_reference_ones_with_weights_of_rank_two(seeds, drawn):
    check_seeds(rule_f(seeds).eval(), drawn, **F_EVAL[drawn])


MCLS_EVAL = [None, 26.5093984252, 44.8061902326, 506.233695912]
Q_EVAL = {
    "S > S_b > 0 in both images": {
        "drawn": (7, 2),
        "s": [5.78896392537, 2.64977323205],
        "s_b": [0.900915732109, 2.05134551067],
        "area_each": [0.790733751188, 0.378937812986],
        "losses": [22.1215572225, 3.4740046128, 0.464892654727, 0.584835782087, 23.9830537383],
        "norms": {
            "total": [29.9657099344, 26.5558720562, 44.8061902326, 506.233695912],
            "mcls": MCLS_EVAL,
            "frg": [101.138464723, 3.40189830797, None, None],
            "bas": [18.1480870572, 0.584532242023, None, None],
            "ac": [19.2985858127, 0.616628699712, None, None],
        },
    },
    "S_b > S > 0 in image 1": {
        "drawn": (7, 0),
        "s": [5.78896392537, 0.431007166273],
        "s_b": [0.900915732109, 0.517842674156],
        "area_each": [0.790733751188, 0.0863256527844],
        "losses": [22.1215572225, 3.32308674355, 0.577813209943, 0.438529701986, 23.8902234236],
        "norms": {
            "total": [12.488550688, 26.5174525138, 44.8061902326, 506.233695912],
            "bas": [15.3112460689, 0.482598046571, None, None],
        },
    },
    "S < 0 < S_b in image 1": {
        "drawn": (7, 12),
        "s": [5.78896392537, -0.0397174974428],
        "s_b": [0.900915732109, 0.0335970413385],
        "area_each": [0.790733751188, 0.6843421255],
        "losses": [22.1215572225, 5.61646053459, 0.577813209943, 0.737537938344, 24.7077080654],
        "norms": {
            "total": [52.814225366, 26.5448982366, 44.8061902326, 506.233695912],
            "bas": [15.3112460689, 0.482598046571, None, None],
        },
    },
    "S_b < 0 in image 0": {
        "drawn": (3, 2),
        "s": [-2.58748504872, 2.64977323205],
        "s_b": [-1.48073397092, 2.05134551067],
        "area_each": [0.419845641382, 0.378937812986],
        "losses": [22.1215572225, 4.99798801719, 0.387079444784, 0.399391727184, 23.9875043434],
        "norms": {
            "total": [61.2744505033, 26.6765778708, 44.8061902326, 506.233695912],
            "bas": [9.74262837494, 0.323917279995, None, None],
        },
    },
}


@pytest.mark.parametrize("case", Q_EVAL)
def test_seed_losses_and_gradients_are_the_reference_ones_with_stored_statistics(seeds, case):
    check_seeds(rule_q(seeds).eval(), **Q_EVAL[case])


Q_TRAIN = {
    "image 0 constant": {
        "drawn": (3, 2),
        "s": [0.240661355409, 0.806805754873],
        "s_b": [0.25131367724, 0.650587006716],
        "area_each": [0.491275049823, 0.597266035335],
        "losses": [6.90367740845, 2.83887462136, 0.903186885272, 0.544270542579, 9.02776386909],
        "norms": {
            "total": [10.1441999812, 0.952248506094, 1.12591013921, 24.5944667442],
            "mcls": [None, 0.921363523261, 1.12591013921, 24.5944667442],
            "frg": [3.40661921298, 0.0810650502123, None, None],
            "bas": [7.33422695869, 0.218802069247, None, None],
            "ac": [7.25222270482, 0.0880088679209, None, None],
        },
    },
    "image 1 constant": {
        "drawn": (3, 0),
        "s": [0.240661355409, 0.419582981417],
        "s_b": [0.190861169205, 0.517811779501],
        "area_each": [0.491275049823, 0.485251406794],
        "losses": [6.90367740845, 2.97020583835, 0.896534709425, 0.488263228309, 8.98016915951],
        "norms": {
            "total": [26.5956877037, 1.19494893813, 1.12591013921, 24.5944667442],
            "bas": [22.6795818672, 0.739290782447, None, None],
        },
    },
    "both constant": {
        "drawn": (7, 2),
        "s": [0.285554749238, 0.806805754873],
        "s_b": [0.292596849003, 0.810541079456],
        "area_each": [0.590347816334, 0.597266035335],
        "losses": [6.90367740845, 2.7707048921, 1, 0.593806925834, 9.17038669787],
        "norms": {
            "total": [8.3372052847, 0.927814151911, 1.12591013921, 24.5944667442],
            "bas": [0, 0, None, None],
        },
    },
}


@pytest.mark.parametrize("case", Q_TRAIN)
def test_seed_losses_and_gradients_are_the_reference_ones_with_batch_statistics(seeds, case):
    check_seeds(rule_q(seeds).train(), **Q_TRAIN[case])


def test_the_erased_branch_leaves_no_trace_in_the_batch_statistics(seeds):
    network = rule_q(seeds).train()
    norm = network.f2[0][2].bn3
    norm.num_batches_tracked.zero_()
    network(rule_x(2, 3, 64, 64), torch.tensor([3, 2]))
    assert numbers(norm.running_mean) == near([0.0018640899008, 0.0437564512579, 0.032792417967, -0.108793675776])
    assert numbers(norm.running_var) == near(positive(0.972438613427, 0.978840166897, 1.01020118956))
    assert norm.num_batches_tracked == 1


SEED_OUTPUTS = {
    "weights of rank two": {
        "features": positive(0.00135848936199, 0.00127662422022, 0),
        "maps": positive(0.499999859658, 0.500011812119, 0.500002074953),
        "ends": [0.499984963311, 0.500014825655],
        "z": [1.43927514636e-08, 1.12782724736e-05, 1.56388424148e-05, -1.75791131208e-05],
        "first": [1.56388424148e-05, -8.20929699016e-06, -2.43210567424e-06],
    },
    "stored statistics": {
        "features": positive(3.00216167442, 3.35387751432, 1.47101153124),
        "maps": positive(0.52373396737, 0.000652135113716, 0.807676348923),
        "ends": [3.31744241737e-06, 0.999999903145],
        "z": [1.00240413544, 3.99207300457, 0.483549873131, -3.21043620456],
        "first": [0.483549873131, 1.56466021372, 2.65288320729],
    },
    "batch statistics": {
        "features": positive(0.741980677939, 0.541045911438, 0.405133211402),
        "maps": positive(0.524666415529, 0.902752271681, 0.595232072538),
        "ends": [0.033600961609, 0.991084488475],
        "z": [0.0886342403888, 0.439682728089, 0.377642623415, -0.585102763585],
        "first": [0.377642623415, 0.108832441324, 0.749884499954],
    },
}


@pytest.mark.parametrize("case", SEED_OUTPUTS)
def test_maps_and_logits_of_the_seed_network_are_the_reference_ones(seeds, case):
    fill = rule_f if case == "weights of rank two" else rule_q
    network, expected = fill(seeds).train(case == "batch statistics"), SEED_OUTPUTS[case]
    with torch.no_grad():
        features = network.f1(rule_x(2, 3, 64, 64))
        maps, z = network.generator(features).sigmoid(), logits(network.f2(features))
    assert numbers(features) == near(expected["features"])
    assert numbers(maps) == near(expected["maps"])
    assert [maps.min().item(), maps.max().item()] == near(expected["ends"])
    assert numbers(z) == near(expected["z"])
    assert z[0, :3].tolist() == near(expected["first"])


def test_an_images_seeds_are_its_maps_and_those_of_its_mirror_image(seeds):
    network, x = rule_q(seeds).eval(), rule_x(2, 3, 64, 64)
    with torch.no_grad():
        maps, cam = network.maps(x), network.cam(x[:1])
        mirrored = network.maps(x[:1].flip(-1))[0]
    # The reference run took two unrelated images for an image and its mirror image.
    assert numbers(maps[0] + maps[1].flip(-1)) == near(positive(1.04746793474, 0.738246735943, 1.57807093927))
    torch.testing.assert_close(cam, maps[0] + mirrored.flip(-1))


def test_multi_label_loss_is_the_reference_one():
    z = 2 * torch.sin(0.7 * torch.arange(1, 41, dtype=torch.float64)).view(2, 20)
    assert multi_label(z, TAGS).item() == near(10.339115165)


# --- 8b, 8c: localisation, 200 classes ----------------------------------------------------------------------------


def check_localiser(
    network, weights, labels, *, m_f, s, s_b, bas, area_each, losses, totals, norms, score_2, saturated=1.0
) -> None:
    """One step on rule X against the reference: L_cls, L_frg, L_bas, L_ac; `totals` maps (alpha, beta) to the total and
    its gradient norms; `norms` are those of single losses; `score_2` describes the logits that L_frg sees, `m_f` the
    foreground."""
    labels = torch.tensor(labels)
    branches = network(rule_x(2, 3, 224, 224), labels)
    assert numbers(branches.foreground) == near(positive(*m_f))
    assert activation(branches.scores, labels).tolist() == near(s)
    assert activation(branches.erased, labels).tolist() == near(s_b)
    assert background_activation(branches.scores, branches.erased, labels, saturated=saturated).tolist() == near(bas)
    assert area(branches.foreground).tolist() == near(area_each)
    pooled = nn.functional.avg_pool2d(branches.foreground, 2)
    assert numbers(logits(branches.scores * pooled)) == near(score_2)
    terms = localization_losses(*branches, labels, alpha=1, beta=1, saturated=saturated)
    assert [terms[name].item() for name in ("cls", "frg", "bas", "ac")] == near(losses)
    for (alpha, beta), (total, expected) in totals.items():
        weighted = localization_losses(*branches, labels, alpha=alpha, beta=beta, saturated=saturated)
        assert sum(weighted.values()).item() == near(total)
        same(gradient_norms(sum(weighted.values()), weights), expected)
    for name, expected in norms.items():
        same(gradient_norms(terms[name], weights), expected)


def localiser_weights(network: BASLocalizer, before: nn.Module, behind: nn.Module) -> list[torch.Tensor]:
    """Generator, its bias, first convolution of the head, last convolutions before F and before the head."""
    return [network.generator.weight, network.generator.bias, network.f2[1][0].weight, before.weight, behind.weight]


@pytest.fixture(scope="module")
def vgg():
    return rule_q(BASLocalizer("vgg16", 200).double())


VGG = {
    "S > S_b > 0 in both images": {
        "labels": [3, 0],
        "m_f": (0.466815059659, 0.578267716638, 0.668767353794),
        "s": [1.04743026975, 1.60174824547],
        "s_b": [0.713867000687, 0.797153405021],
        "bas": [0.681541305888, 0.497677086458],
        "area_each": [0.395809196692, 0.537820922627],
        "score_2": [0.00448636393104, 0.301849081305, 0.585906787877, 0.0745813768316],
        "losses": [4.27836673643, 4.75514051753, 0.589609196173, 0.466815059659],
        "totals": {
            (0.0, 0.9): (5.2881094863, [1.52556521616, 0.00919799362124, 33.113238498, 31.0287306804, 35.6632625346]),
            (1.0, 1.0): (10.0899315098, [11.4950131521, 0.156560573567, 48.3305681064, 46.8946756408, 52.2413469578]),
        },
        "norms": {
            "bas": [9.56621822369, 0.142989571211, None, 8.63763085949, None],
            "frg": [11.4028241821, 0.16804284363, 15.3875645759, 18.0816061992, 16.7421656882],
            "ac": [9.60507641185, 0.157182575748, None, 8.55552901427, None],
        },
    },
    "S_b > S > 0 in image 0": {
        "labels": [121, 43],
        "m_f": (0.524227985602, 0.538913692491, 0.738073257357),
        "s": [0.0285863272414, 0.0307665708277],
        "s_b": [0.0442876567677, 0.0141142467109],
        "bas": [0, 0.458752527296],
        "area_each": [0.224069781106, 0.824386190099],
        "score_2": [0.00388782071742, 0.349254838843, 0.313349858617, 0.100530265122],
        "losses": [5.57327954501, 5.3955806216, 0.229376263648, 0.524227985602],
        "totals": {
            (0.0, 0.9): (6.2744609957, [23.9231974328, 0.112907025645, 36.068394713, 43.042324836, 34.2214034544])
        },
        "norms": {"bas": [21.3896209199, 0.0282310932655, None, 27.4222631082, None]},
    },
    "S and S_b < 0 in both images": {
        "labels": [17, 101],
        "m_f": (0.54694331511, 0.474019983189, 0.464020360547),
        "s": [-0.619580244696, -0.81598538116],
        "s_b": [-0.224323200461, -0.552819258692],
        "bas": [0, 0],
        "area_each": [0.684811649818, 0.409074980402],
        "score_2": [0.00492853632619, 0.368166455202, 1.13673201076, 0.0610657314344],
        "losses": [6.32073880697, 5.77355103696, 0, 0.54694331511],
        "totals": {
            (0.0, 0.9): (6.81298779057, [8.31391367267, 0.137350975148, 33.3629656098, 38.799820689, 36.7057312846])
        },
        "norms": {"bas": [0, 0, None, 0, None]},
    },
}


@pytest.mark.parametrize("case", VGG)
def test_losses_and_gradients_of_vgg_are_the_reference_ones(vgg, case):
    conv4_3, conv5_3 = vgg.f1[-1][4], vgg.f2[0][1][4]
    check_localiser(vgg, localiser_weights(vgg, conv4_3, conv5_3), **VGG[case], saturated=0.0)


def test_maps_of_vgg_are_the_reference_ones(vgg):
    x = rule_x(2, 3, 224, 224)
    with torch.no_grad():
        features = vgg.f1(x)
        z, maps, _ = vgg.eval().predict(x)
    assert numbers(features) == near(positive(0.600602505945, 0.177482118358, 0))
    assert numbers(maps) == near(positive(0.52297491021, 0.338718524023, 0.302472239417))
    assert [maps.min().item(), maps.max().item()] == near([0.00939043697019, 0.995715734845])
    assert numbers(z) == near([0.00871677513851, 0.664513497251, 1.58885356549, 0.134382229706])
    assert_selected(
        maps,
        z,
        [3, 0],
        {
            1: (0.466815059659, 0.578267716638, 0.668767353794),
            5: (0.417155588266, 0.434495989184, 0.542962262821),
            80: (0.539722807029, 0.521961520582, 0.521051695941),
            200: (0.52297491021, 0.515230457574, 0.50854760247),
        },
    )


def assert_selected(maps, z, labels, expected) -> None:
    for k, values in expected.items():
        chosen = selected_map(maps, z, torch.tensor(labels), k)
        assert chosen.shape == (2, 28, 28)
        assert numbers(chosen) == near(positive(*values)), k


@pytest.fixture(scope="module")
def resnet():
    return BASLocalizer("resnet50", 200).double()


def resnet_weights(network):
    return localiser_weights(network, network.f1[3][5].conv3, network.f2[0][1][2].conv3)


RESNET_TRAIN = {
    "S > S_b > 0 in both images": {
        "labels": [49, 182],
        "m_f": (0.488846060889, 0.735599853806, 0.418217504338),
        "s": [0.873349117787, 0.851059200405],
        "s_b": [0.776761207179, 0.826179947436],
        "bas": [0.889405144478, 0.97076670734],
        "area_each": [0.480919349678, 0.4967727721],
        "score_2": [0.0137057516271, 0.163747316098, 0.290201898475, 0.0937714161905],
        "losses": [4.54043098337, 4.90351822041, 0.930085925909, 0.488846060889],
        "totals": {
            (0.5, 1.5): (8.65554511082, [11.813553823, 0.158614352594, 28.9029708193, 0.302185386072, 0.348134433596]),
            (1.0, 1.0): (
                10.8628811906,
                [6.40683231229, 0.0532682151071, 34.6127727106, 0.346040998754, 0.417870018424],
            ),
        },
        "norms": {
            "bas": [6.00332708524, 0.0484831959162, None, 0.173628930004, None],
            "frg": [6.81416560259, 0.105623134612, 11.4476079468, 0.105435021653, 0.142172843777],
            "ac": [8.81121891421, 0.14347020096, None, 0.0290498666923, None],
        },
    },
    "S_b > S > 0 in image 0": {
        "labels": [123, 50],
        "m_f": (0.572286192641, 0.0632977679218, 0.322967467801),
        "s": [0.0873137752395, 0.0845927332271],
        "s_b": [0.117387436107, 0.0490304833152],
        "bas": [1, 0.57960625752],
        "area_each": [0.560866841761, 0.583705543521],
        "score_2": [0.016448248886, 0.186582488701, 0.316009801755, 0.12529010026],
        "losses": [5.31668188823, 5.29363089635, 0.78980312876, 0.572286192641],
        "totals": {
            (0.5, 1.5): (9.61172975413, [32.2516945537, 0.389525082222, 29.6396119329, 1.04777450536, 0.353092701913])
        },
        "norms": {"bas": [28.4032276897, 0.198828983621, None, 1.00854041886, None]},
    },
}


@pytest.mark.parametrize("case", RESNET_TRAIN)
def test_losses_and_gradients_of_resnet_are_the_reference_ones(resnet, case):
    network = rule_q(resnet).train()
    check_localiser(network, resnet_weights(network), **RESNET_TRAIN[case])


def test_losses_and_gradients_of_resnet_with_stored_statistics_are_the_reference_ones(resnet):
    network = rule_q(resnet).eval()
    check_localiser(
        network,
        resnet_weights(network),
        labels=[49, 182],
        m_f=(0.847489992673, 0.0179465148415, 0.980014270863),
        s=[11.3648034432, 15.8156736477],
        s_b=[3.64764143325, 2.25081140781],
        bas=[0.320959482343, 0.142315240977],
        area_each=[0.78794458521, 0.907035400137],
        score_2=[0.0641788528374, 4.49840015319, 1.8938383193, -5.64330272591],
        losses=[11.4337593257, 9.67481883729, 0.23163736166, 0.847489992673],
        totals={
            (0.5, 1.5): (17.774041095, [227.043781695, 0.497980110254, 1348.47589498, 29.6255316851, 46.5171902033])
        },
        norms={"bas": [50.3909208894, 0.108906818202, None, 1.9141203227, None]},
    )


def test_losses_of_resnet_with_weights_of_rank_two_are_the_reference_ones(resnet):
    """No case for 1e-9: here the last bit of one pixel moves M_f by 1e-8 of itself, S and S_b by 1e-5, and gradient
    norms by a tenth, so that those of the reference say nothing."""
    labels = torch.tensor([110, 110])
    with torch.no_grad():
        scores, foreground, erased = rule_f(resnet).train()(rule_x(2, 3, 224, 224), labels)
    assert numbers(foreground) == pytest.approx(positive(0.500247870799, 0.507952175702, 0.497603941729), rel=1e-7)
    assert area(foreground).tolist() == pytest.approx([0.500052421471, 0.500443320127], rel=1e-7)
    s, s_b = activation(scores, labels).tolist(), activation(erased, labels).tolist()
    assert s == pytest.approx([0.000408303962035, 0.000422892012005], rel=1e-4)
    assert s_b == pytest.approx([0.000409686023873, 0.000419540791096], rel=1e-4)
    pooled = nn.functional.avg_pool2d(foreground, 2)
    score_2 = [2.7463589678e-07, 0.000131392912725, 0.000186765971551, 7.68393380804e-06]
    assert numbers(logits(scores * pooled)) == pytest.approx(score_2, rel=1e-3)
    assert background_activation(scores, erased, labels).tolist() == pytest.approx([1, 0.992052010126], rel=1e-4)
    terms = localization_losses(scores, foreground, erased, labels, alpha=0.5, beta=1.5)
    assert terms["cls"].item() == pytest.approx(5.29790236138, rel=1e-8)
    assert terms["frg"].item() == pytest.approx(0.5 * 5.29811000008, rel=1e-8)
    assert sum(terms.values()).item() == pytest.approx(9.69335517268, rel=1e-5)


def test_maps_of_resnet_are_the_reference_ones(resnet):
    with torch.no_grad():
        z, maps, _ = rule_q(resnet).eval().predict(rule_x(2, 3, 224, 224))
    assert_selected(
        maps,
        z,
        [49, 182],
        {
            1: (0.847489992673, 0.0179465148415, 0.980014270863),
            5: (0.552175912536, 0.505392267652, 0.689571178953),
            80: (0.545467677257, 0.495051079586, 0.549940207334),
            200: (0.538178517373, 0.53412561867, 0.527794899258),
        },
    )


@pytest.fixture(scope="module")
def resnet_step(resnet):
    """One step with labels 49 and 182: F, M, the scores f2(F), and the last norm after it."""
    network, features = rule_q(resnet).train(), []
    norm = network.f2[0][1][2].bn3
    norm.num_batches_tracked.zero_()
    watch = network.f1.register_forward_hook(lambda module, inputs, output: features.append(output))
    with torch.no_grad():
        scores = network(rule_x(2, 3, 224, 224), torch.tensor([49, 182])).scores
        maps = network.generator(*features).sigmoid()
    watch.remove()
    return *features, maps, scores, copy.deepcopy(norm)


def test_maps_of_resnet_with_batch_statistics_are_the_reference_ones(resnet_step):
    features, maps, scores, _ = resnet_step
    assert numbers(features) == near(positive(0.709704079027, 3.31113712752, 0.56086800434))
    assert numbers(maps) == near(positive(0.522988365012, 0.691938218237, 0.214813955082))
    assert [maps.min().item(), maps.max().item()] == near([4.50165436704e-05, 0.999878783301])
    assert numbers(logits(scores)) == near([0.028652664261, 0.328093334995, 0.589223514487, 0.19786481856])


def test_one_step_counts_one_batch_in_resnets_statistics(resnet_step):
    norm = resnet_step[-1]
    assert numbers(norm.running_mean) == near([0.00177158598322, 0.0418462072909, 0.0344153438086, -0.110874933412])
    assert numbers(norm.running_var) == near(positive(0.972779844517, 0.95578091381, 0.984147185692))
    assert norm.num_batches_tracked == 1


# --- the copy, the groups, the checkpoint -------------------------------------------------------------------------


def test_the_frozen_copy_computes_what_the_module_does_and_nothing_of_it_moves():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)).train()
    x = torch.rand(5, 3, 8, 8, requires_grad=True)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    frozen = frozen_call(module, x)
    frozen.square().sum().backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert x.grad.abs().sum() > 0
    torch.testing.assert_close(frozen, copy.deepcopy(module)(x))


@pytest.mark.parametrize("network", [BASSeeds("sample_cnn", 5), BASLocalizer("sample_cnn", 5, head_width=8)])
def test_groups_hold_every_parameter_once_with_the_released_rates(network):
    groups = parameter_groups(network, lr=1e-3, weight_decay=5e-4)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(rates) == len(list(network.parameters()))
    named = {name: rates[id(p)] for name, p in network.named_parameters()}
    assert named["generator.weight"] == pytest.approx(1e-2)
    assert {rate for name, rate in named.items() if name.startswith("f1") and "weight" in name} == {1e-3}
    assert {rate for name, rate in named.items() if name.startswith("f1") and "bias" in name} == {2e-3}
    last = "f2.1.weight" if isinstance(network, BASSeeds) else "f2.1.4.weight"
    assert named[last] == pytest.approx(1e-2)
    assert named.get("generator.bias", 2e-2) == named.get("f2.1.0.bias", 2e-2) == pytest.approx(2e-2)
    assert all(group["weight_decay"] == 5e-4 for group in groups)


def test_the_official_seed_groups_leave_all_53_biases_of_the_norms_as_they_are():
    with torch.device("meta"):
        network = BASSeeds("resnet50", 20)
    groups = parameter_groups(network, lr=0.005, weight_decay=1e-4, bias_factor=0)
    assert sum(len(group["params"]) for group in groups if group["lr"] == 0) == 53
    assert {group["lr"] for group in groups} == {0, 0.005, 0.05}


def test_the_final_relu_of_the_cvpr_release_makes_scores_positive():
    network = BASLocalizer("sample_cnn", 5, head_width=8, final_relu=True).eval()
    plain = BASLocalizer("sample_cnn", 5, head_width=8).eval()
    plain.load_state_dict(network.state_dict())
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        scores = plain.predict(x)[2]
        assert scores.min() < 0
        assert torch.equal(network.predict(x)[2], scores.relu())


def test_new_layers_start_as_released():
    vgg, other = BASLocalizer("vgg16", 20, head_width=64), BASLocalizer("sample_cnn", 20, head_width=64)
    assert vgg.f2[1][0].weight.std().item() == pytest.approx(0.02, rel=0.02)
    bound = (6 / (9 * (128 + 64))) ** 0.5  # Xavier's, for 128 channels into 64
    assert other.f2[1][0].weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert not other.generator.bias.any() and not other.f2[1][4].bias.any()
    for layer in (vgg.generator, *(vgg.f2[1][at] for at in (0, 2, 4))):  # the release draws anew the weights alone
        bound = layer.weight[0].numel() ** -0.5  # of torch's biases, which are uniform
        assert layer.bias.abs().max() <= bound and layer.bias.std().item() == pytest.approx(bound / 3**0.5, rel=0.4)


@pytest.mark.parametrize("kind", [BASSeeds, BASLocalizer])
def test_a_checkpoint_rebuilds_the_network(kind, tmp_path):
    network = kind("sample_cnn", 5, **({"cut": 2} if kind is BASSeeds else {})).eval()
    save_network(tmp_path / "bas.safetensors", network)
    rebuilt, x = load_network(tmp_path / "bas.safetensors", kind), torch.randn(2, 3, 32, 32)
    assert torch.equal(rebuilt.maps(x), network.maps(x))


@pytest.mark.parametrize("cut", [2, 4])
def test_seeds_start_from_a_trained_backbone(cut):
    trained, network = build_backbone("sample_cnn").eval(), BASSeeds("sample_cnn", 5, cut=cut).eval()
    network.load_stages(trained.stages)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(network.f1(x), trained(x)[cut - 1])
    assert torch.equal(network.f2[:-1](network.f1(x)), trained(x)[4])


def test_maps_cut_earlier_are_finer_and_see_less():
    """One pixel reaches 31 pixels of the fourth stage's map of sample_cnn, 7 of the second one's."""
    reach = {}
    for cut in (2, 4):
        network = BASSeeds("sample_cnn", 5, output_stride=8, cut=cut).eval()
        image = torch.rand(1, 3, 96, 96, requires_grad=True)
        features = network.f1(image)
        middle = features.shape[-1] // 2
        features[0, :, middle, middle].sum().backward()
        reach[cut] = features.shape[-1], int(image.grad.abs().sum(dim=(0, 1, 2)).count_nonzero())
        assert network.maps(image).shape[-1] == features.shape[-1]
    assert reach == {2: (24, 7), 4: (12, 31)}


def test_new_layers_of_the_seed_network_start_by_xaviers_rule():
    torch.manual_seed(0)
    network = BASSeeds("sample_cnn", 20)
    for layer in (network.generator, network.f2[-1]):
        outputs, inputs, *kernel = layer.weight.shape
        bound = (6 / ((inputs + outputs) * kernel[0] * kernel[1])) ** 0.5
        assert 0.98 * bound < layer.weight.abs().max() <= bound


def test_frozen_stages_and_norms_stay_while_the_generator_learns():
    network = BASSeeds("sample_cnn", 5, cut=4, frozen_stages=3, frozen_batchnorm=True).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    branches = network(torch.randn(4, 3, 32, 32), torch.arange(4))
    sum(branch.sum() for branch in branches).backward()
    learning = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert not any(name.startswith(("f1.0.", "f1.1.", "f1.2.")) for name in learning)
    assert {"generator.weight", "f2.1.weight"} < learning
    assert any(name.startswith("f1.3.") for name in learning) and any(name.startswith("f2.0.") for name in learning)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_the_generator_may_learn_slower_than_the_classifier():
    network = BASSeeds("sample_cnn", 5)
    groups = parameter_groups(network, lr=1e-3, weight_decay=0, new_factor=4, generator_factor=0.5)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert rates[id(network.generator.weight)] == 5e-4 and rates[id(network.f2[1].weight)] == 4e-3


def test_torchvisions_weights_fit_inception(tmp_path):
    published = torchvision.models.inception_v3(aux_logits=True, init_weights=False).state_dict()
    torch.save(published, tmp_path / "published.pth")
    save_tensors(tmp_path / "weights.safetensors", convert("inception_v3", tmp_path / "published.pth"), {})
    network = BASLocalizer("inception_v3", 20, head_width=8, pretrained=str(tmp_path / "weights.safetensors"))
    first, last = network.f1[0].conv.weight, network.f2[0][2].branch_pool.conv.weight
    assert torch.equal(first, published["Conv2d_1a_3x3.conv.weight"])
    assert torch.equal(last, published["Mixed_7c.branch_pool.conv.weight"])


@pytest.mark.parametrize("backbone", ["mobilenet_v1", "inception_v3"])
def test_weights_of_another_network_are_refused(backbone, tmp_path):
    save_tensors(tmp_path / "weights.safetensors", {"a": torch.zeros(1)}, {})
    with pytest.raises(InputError, match="weights do not fit"):
        BASLocalizer(backbone, 20, pretrained=str(tmp_path / "weights.safetensors"))


def test_without_labels_there_are_the_scores_alone():
    torch.manual_seed(0)
    network, images = BASLocalizer("sample_cnn", 3, head_width=8).eval(), torch.randn(2, 3, 64, 64)
    assert torch.equal(network(images), network(images, torch.tensor([0, 2])).scores)
