"""Settings: what lies over what, defaults, and the one line that names a fault."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from snakemake.cli import parse_config
from snakemake.settings.types import ConfigSettings

from maskmill.data.catalog import DATASETS, OWN, VOC
from maskmill.errors import InputError
from maskmill.workflow.row_settings import row_settings
from maskmill.workflow.settings import (
    CHECKS,
    DATA_DEFAULTS,
    load_settings,
    merged,
    method_settings,
    part_name,
    read_yaml,
    with_words,
)

ROOT = Path(__file__).resolve().parents[2]
SCALES = ("paper", "sample", "small")
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
OVERLAYS = [*sorted((ROOT / "scales").glob("*.yaml")), *EXAMPLES, *sorted((ROOT / "tests/overlays").glob("*.yaml"))]
ANIMALS = ["cat", "cow", "dog", "horse", "person", "sheep"]


def load(text: str = "{}") -> dict:
    """The settings with changes written as YAML."""
    return load_settings(ROOT, yaml.safe_load(text))


def fault(text: str) -> str:
    """The line about what is wrong with these changes."""
    with pytest.raises(InputError) as raised:
        load(text)
    line = str(raised.value)
    assert "\n" not in line
    return line


# Layers


def test_mappings_are_merged_key_by_key_and_all_else_is_replaced():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": None, "e": {"f": 1}}
    changes = {"a": {"c": [3]}, "d": {"g": 2}, "e": None}
    assert merged(base, changes) == {"a": {"b": 1, "c": [3]}, "d": {"g": 2}, "e": None}
    assert base["a"]["c"] == [1, 2] and base["e"] == {"f": 1}, "both stay as they are"


def given(tmp_path, text: str, *words: str) -> dict:
    """What a file and --config give, as Snakemake hands it over."""
    (tmp_path / "mine.yaml").write_text(text)
    read = ConfigSettings(config=parse_config(words), configfiles=[tmp_path / "mine.yaml"], config_args=words)
    return with_words(read.overwrite_config, read.config, words)


def test_nested_values_of_the_command_line_get_their_types(tmp_path):
    words = ["mars={alpha: 0.5, normalise_centroids: true, external: null, provider: irn}", "xs=[1, 2, 1/8]", "seed=1"]
    mars = {"alpha": 0.5, "normalise_centroids": True, "external": None, "provider": "irn"}
    assert given(tmp_path, "{}", *words) == {"mars": mars, "xs": [1, 2, "1/8"], "seed": 1}


TEXTS = ["no", "12:30", "@home", "*x*", "null", "a: b", "photos #2", "1e-3", "0.5", " ", "{}", "", "C:\\photos\\new"]


def test_quoted_text_is_text_in_a_file_and_on_the_command_line(tmp_path):
    """What a user quotes is no number, no truth value and no comment, however it reads without quotes."""
    quoted = yaml.safe_dump({"mine": {"classes": TEXTS}}, default_style='"', width=1000).strip()
    assert given(tmp_path, yaml.safe_dump({"data": {"mine": {"classes": TEXTS}}})) == {
        "data": {"mine": {"classes": TEXTS}}
    }
    flow = yaml.safe_dump({"mine": {"classes": TEXTS}}, default_style='"', default_flow_style=True, width=10000).strip()
    for text in (quoted, flow):
        assert given(tmp_path, "{}", f"data={text}") == {"data": {"mine": {"classes": TEXTS}}}


def test_the_command_line_lies_over_the_files_key_by_key(tmp_path):
    text = "{mars: {alpha: 0.2, gamma: 1}, mgd: {epochs: {732: 40, 92: 9}}, bas: 3, irn: {radius: 1}}"
    words = ["mars={alpha: 0.4}", "mgd={epochs: {732: 50}}", "bas={beta: 1}", "irn=5"]
    expected = {"mars": {"alpha": 0.4, "gamma": 1}, "mgd": {"epochs": {732: 50, 92: 9}}, "bas": {"beta": 1}, "irn": 5}
    assert given(tmp_path, text, *words) == expected


@pytest.mark.parametrize("word", ["data={mine: {classes: [@home]}}", "mars={alpha: 0.5", "mars={provider: *irn}"])
def test_a_word_that_is_no_yaml_is_named(tmp_path, word):
    with pytest.raises(InputError) as raised:
        given(tmp_path, "{}", word)
    assert str(raised.value) == f"config: --config {word}: not YAML; put names with special characters in single quotes"


def test_a_scale_lies_over_the_papers_values_and_the_user_over_both():
    assert load()["scale"] == "sample" and load()["student"]["epochs"] == 7
    assert load("scale: paper")["student"]["epochs"] == 100
    settings = load("{scale: small, student: {epochs: 3}}")
    assert settings["student"]["epochs"] == 3 and settings["student"]["batch_size"] == 8
    assert settings["student"]["network"]["low_level_width"] == 48, "the paper's, which small leaves alone"


def test_a_method_has_other_settings_for_a_data_set():
    settings = load("scale: paper")
    assert method_settings(settings, "mgd", "cityscapes")["augmentation"]["crop"] == 800
    assert method_settings(settings, "mgd", "cityscapes")["students"]["light"]["lambda_2"] == 100
    assert method_settings(settings, "mgd", "voc")["augmentation"]["crop"] == 512
    assert "datasets" not in method_settings(settings, "mgd", "voc")
    assert method_settings(settings, "deeplab", "voc") == settings["deeplab"], "nothing differs between data sets"


# The files


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_file_that_is_laid_over_is_valid_and_names_keys_of_the_configuration(path):
    changes, base = read_yaml(path), load("scale: paper")
    if path.parent.name == "scales":
        assert "scale" not in changes
        changes = {"scale": path.stem} | changes
    load_settings(ROOT, changes)
    assert changes.keys() <= base.keys()
    for name, section in changes.items():
        if isinstance(section, dict):
            assert section.keys() <= base[name].keys(), name


def test_there_are_three_scales_and_the_configuration_has_none_of_their_values():
    assert sorted(path.stem for path in (ROOT / "scales").glob("*.yaml")) == list(SCALES)
    assert "scales" not in read_yaml(ROOT / "config.yaml")


def test_small_serves_any_data_set_and_the_animals_are_an_example():
    text = (ROOT / "scales/small.yaml").read_text()
    assert not [name for name in (*ANIMALS, "animals") if re.search(rf"\b{name}\b", re.sub("#.*", "", text))]
    small, animals = load("scale: small"), load((ROOT / "examples/voc_animals.yaml").read_text())
    assert small["data"]["voc"]["classes"] is None and small["pairs"]["tags"]["left_out"] == []
    assert animals["scale"] == "small" and animals["data"]["voc"]["classes"] == ANIMALS
    assert animals["barm"]["tasks"]["voc"] == ["animals"] and animals["data"]["voc"]["train_split"] == "train"


def test_an_example_adds_a_row_to_a_table():
    ablations = load((ROOT / "examples/two_settings.yaml").read_text())["cwbass"]["ablations"]
    assert [name for name, changes in ablations.items() if changes is not None] == ["cwbass", "squared"]


# Telling apart


def digests(text: str, method="mars", dataset="voc", rows=("label/mars",), others=("cwbass", "mgd")) -> list[str]:
    return list(row_settings(load(text), method, dataset, rows, others).values())


@pytest.mark.parametrize(
    "change",
    [
        "{seed: 3, shards: 2, training: {workers: 2}, resources: {gpu: 1}, gallery: {images: 2}}",
        "{data: {voc: {root: /data/VOC2012}, coco: {short_side: 64}}}",
        "{cwbass: {lr: 3}, mgd: {epochs: {732: 3, 1/8: 4}}}",
        "{mars: {ablations: []}}",
        "{irn: {datasets: {coco: {crop_size: 64}}}}",
    ],
)
def test_what_changes_no_score_is_no_other_setting(change):
    assert digests("{}") == digests(change)


@pytest.mark.parametrize(
    "change",
    [
        *("mars: {alpha: 0.2}", "max_iterations: 3", "evaluation: {counted: all}", "student_init: random"),
        *("data: {voc: {short_side: 64}}", "data: {sample: {size: 64}}", "irn: {datasets: {voc: {crop_size: 64}}}"),
    ],
)
def test_what_changes_scores_is_another_setting(change):
    assert digests("{}") != digests(change)


def test_a_row_knows_its_own_entry_alone():
    names = {"rows": ("light_cached", "mobile_cached", "teacher_deep"), "method": "mgd", "others": ()}
    before, after = digests("{}", **names), digests("mgd: {students: {mobile: null, light: {lr: 3}}}", **names)
    assert before[0] != after[0] and before[2] == after[2]
    assert before[1] != after[1] and len(set(before)) == 3
    other = digests("cwbass: {ablations: {squared: {gamma: 2}}}", method="cwbass", rows=("cwbass",), others=())
    assert other == digests("{}", method="cwbass", rows=("cwbass",), others=())


# Defaults


@pytest.mark.parametrize("scale", SCALES)
def test_every_data_set_of_the_catalog_has_all_keys(scale):
    settings = load(f"scale: {scale}")
    assert set(settings["data"]) == {*DATASETS, OWN, "sample"}
    assert all(DATA_DEFAULTS.keys() <= settings["data"][name].keys() for name in DATASETS)
    assert settings["data"]["context"] == DATA_DEFAULTS | {"short_side": 320 if scale == "small" else None}


def test_a_data_set_that_the_configuration_does_not_name_has_defaults(monkeypatch):
    monkeypatch.setitem(DATASETS, "toy", replace(VOC, name="toy"))
    assert load()["data"]["toy"] == DATA_DEFAULTS
    assert load("data: {toy: {root: /data/toy, classes: [cat]}}")["data"]["toy"]["root"] == "/data/toy"
    assert method_settings(load("cwbass: {datasets: {toy: {lr: 0.5}}}"), "cwbass", "toy")["lr"] == 0.5
    assert fault("data: {toy: {rot: /data/toy}}") == "config: unknown key 'data.toy.rot'; did you mean 'root'?"


def test_a_partition_has_no_lists_unless_they_are_given():
    lists = {"order": None, "labelled": None, "unlabelled": None, "sha256": {}}
    assert load()["partitions"]["cityscapes"] == {"protocol": "city", "part": "1/8", **lists}
    changed = load("partitions: {cityscapes: {order: train.txt}}")["partitions"]["cityscapes"]
    assert changed == {"protocol": "city", "part": "1/8", **lists, "order": "train.txt"}


def test_a_partition_has_a_name_that_is_no_path():
    assert [part_name(part) for part in ("1/8", "all", 92)] == ["1_8", "all", "92"]


# Faults


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ("scale: smal", "scale 'smal' is not one of paper, sample, small; correct --config scale=..."),
        ("scale: [small]", "scale ['small'] is not one of paper, sample, small; correct --config scale=..."),
        ("sed: 1", "unknown key 'sed'; did you mean 'seed'?"),
        ("mars: {alhpa: 0.5}", "unknown key 'mars.alhpa'; did you mean 'alpha'?"),
        ("gallery: {zzz: 1}", "unknown key 'gallery.zzz'; choose from images"),
        ("data: {vocc: {root: x}}", "unknown key 'data.vocc'; did you mean 'voc'?"),
        ("data: {min: {images: x}}", "unknown key 'data.min'; did you mean 'mine'?"),
        ("data: {voc: {overlap: file}}", "unknown key 'data.voc.overlap'; choose from "),
        ("partitions: {coco: {part: 1/8}}", "unknown key 'partitions.coco'; choose from cityscapes, voc"),
        ("barm: {tasks: {ade2k: [100-50]}}", "unknown key 'barm.tasks.ade2k'; did you mean 'ade20k'?"),
        ("mgd: {datasets: {cityscape: {lr: 1}}}", "unknown key 'mgd.datasets.cityscape'; did you mean 'cityscapes'?"),
        ("localization: {datasets: {cup: {}}}", "unknown key 'localization.datasets.cup'; did you mean 'cub'?"),
        ("p2at: {datasets: {voc: {epohcs: 3}}}", "unknown key 'p2at.datasets.voc.epohcs'; did you mean 'epochs'?"),
        ("barm: {datasets: {voc: {later: {lr: 1}}}}", "unknown key 'barm.datasets.voc.later.lr'; choose from "),
        ("mars: {kmeans: cosine}", "mars.kmeans: 'cosine' is not one of ['spherical', 'euclidean']; see rules/config"),
        ("mars: null", "mars: None is not of type 'object'; see rules/config.schema.yaml"),
        ("data: [voc]", "data: ['voc'] is not of type 'object'; see rules/config.schema.yaml"),
        ("barm: {datasets: {voc: {eval_policy: full}}}", "unknown key 'barm.datasets.voc.eval_policy'; choose from "),
        (
            "zeroseg: {variants: {chance: {match: true, multi_scale: true}}}",
            "zeroseg.variants: 'chance' should not be ",
        ),
        ("mixreorg: {thresholds: [5, 95, 5]}", "mixreorg.thresholds.0: 5 is greater than the maximum of 1; see rules/"),
        (
            "zeroseg: {templates: [a photo]}",
            r"zeroseg.templates.0: 'a photo' does not match '\\{\\}'; see rules/config",
        ),
        ("mars: {alpha: '0.5'}", "mars.alpha: '0.5' is not of type 'number'; remove its quotes; "),
        (
            "seed: 1e3",
            "seed: '1e3' is not of type 'integer'; remove its quotes; a number with an exponent needs a point",
        ),
        (
            "mars: {normalise_centroids: 'no'}",
            "mars.normalise_centroids: 'no' is not of type 'boolean'; remove its quotes",
        ),
        (
            "data: {mine: {classes: [no]}}",
            "data.mine.classes.0: False is not of type 'string'; put it in quotes, since ",
        ),
        (
            "data: {mine: {classes: [12:30]}}",
            "data.mine.classes.0: 750 is not of type 'string'; put it in quotes, since ",
        ),
        (
            "data: {mine: {images: 2023}}",
            "data.mine.images: 2023 is not of type 'string', 'null'; put it in quotes, since ",
        ),
        (
            "deeplab: {variants: {1: {rates: [1]}}}",
            "deeplab.variants: 1 is not of type 'string'; put it in quotes, since ",
        ),
        ("deeplab: {variants: {aspp: {rates: [1]}}}", "deeplab.variants.aspp: 'scales' is a required property"),
    ],
)
def test_an_unknown_key_or_a_value_that_is_not_allowed_is_named(changes, line):
    assert fault(changes).startswith(f"config: {line}")


FAULTS = {
    "check_classes": [
        ("data: {voc: {classes: [cat, hors]}}", "data.voc.classes: unknown class 'hors'; did you mean 'horse'?"),
        ("data: {mine: {classes: [background]}}", "data.mine.classes has 'background', which is mask id 0 by itself"),
    ],
    "check_tags": [
        ("pairs: {tags: {dataset: cub}}", "pairs.tags.dataset 'cub' is not one of voc, context, "),
        (
            "pairs: {tags: {left_out: [sheeps]}}",
            "pairs.tags.left_out: voc has no class 'sheeps'; did you mean 'sheep'?",
        ),
    ],
    "check_deeplab": [
        ("deeplab: {init: coco}", "deeplab.init is coco, but weights from COCO are published for Caffe's networks"),
        ("deeplab: {crf_search: {variant: aspp}}", "deeplab.crf_search.variant 'aspp' is not one of deeplab.variants"),
        (
            "{scale: paper, deeplab: {network: {backbone: vgg16_caffe}}}",
            "deeplab.caffe_weights is null, but vgg16_caffe starts from a .caffemodel of your own; give its path",
        ),
    ],
    "check_localization": [
        ("localization: {crop: 1000}", "localization.crop is larger than localization.resize; make it smaller"),
        (
            "localization: {network: {backbone: efficientnet_lite0}}",
            "localization.datasets.cub.backbones has no 'efficientnet_lite0', only ",
        ),
        (
            "localization: {network: {backbone: mobilenet_v1}, pretrained: true}",
            "localization.weights is null, but the workflow does not fetch weights of mobilenet_v1",
        ),
    ],
    "check_rows": [
        (
            "mgd: {datasets: {voc: {students: {lihgt: {lr: 3}}}}}",
            "unknown key 'mgd.datasets.voc.students.lihgt'; mgd.students has no 'lihgt', name it there",
        ),
        (
            "cwbass: {datasets: {voc: {ablations: {new: {gamma: 2}}}}}",
            "unknown key 'cwbass.datasets.voc.ablations.new'; cwbass.ablations has no 'new', name it there",
        ),
        (
            "p2at: {datasets: {voc: {variants: {xl: {lr: 1}}}}}",
            "unknown key 'p2at.datasets.voc.variants.xl'; p2at.variants has no 'xl', name it there",
        ),
    ],
    "check_p2at": [
        ("p2at: {init: cityscapes}", "p2at.init is cityscapes for Cityscapes itself; set it to imagenet or none there"),
        ("p2at: {datasets: {cityscapes: {init: cityscapes}}}", "p2at.init is cityscapes for Cityscapes itself"),
    ],
    "check_partitions": [
        ("partitions: {voc: {part: 1/3}}", "protocol voc_blended has no partition '1_3'; choose one of 1_16, "),
        ("partitions: {voc: {protocol: city}}", "voc has no partition protocol 'city'; choose one of voc_blended, "),
    ],
    "check_barm": [
        ("barm: {tasks: {voc: [15-2]}}", "voc has no class-incremental protocol '15-2'; choose one of 19-1, "),
        (
            "barm: {tasks: {voc: [pets]}, protocols: {pets: [[cat], [dgo]]}}",
            "barm.protocols.pets: unknown class 'dgo'; did you mean 'dog'?",
        ),
    ],
    "check_students": [
        (
            "mgd: {students: {tiny: {network: {backbone: resnet50}}}}",
            "mgd.students.tiny has no lambda_1, lambda_2, lr; add what it lacks",
        ),
        (
            "mgd: {students: {tiny: {network: {width: 8}, lr: 1, lambda_1: 1, lambda_2: 1}}}",
            "mgd.students.tiny has no backbone; add what it lacks",
        ),
    ],
    "check_starts": [
        (
            "bas: {network: {backbone: resnet50}}",
            "bas.network.backbone is resnet50, but bas.init is classifier: it starts from the classifier, a sample_cnn",
        ),
        (
            "student: {network: {backbone: resnet50}}",
            "student.network.backbone is resnet50, but student_init is classifier",
        ),
        (
            "irn: {network: {backbone: resnet50}}",
            "irn.network.backbone is resnet50, but irn.pretrained is false: it starts",
        ),
        (
            "mixreorg: {network: {encoder: {stem: resnet50}}}",
            "mixreorg.network.encoder.stem is resnet50, but stem_init is tiny_clip, a sample_cnn; set it",
        ),
    ],
    "check_zero_shot": [
        ("mixreorg: {stride: 97}", "mixreorg.stride is 97, above mixreorg.window (96): no window would see the pixels"),
        ("zeroseg: {window: 100}", "zeroseg.window is 100, not whole patches of 16; correct it"),
        ("mixreorg: {window: 90, stride: 9}", "mixreorg.window is 90, not whole patches of 16; correct it"),
        (
            "zeroseg: {datasets: {voc: {names: {diningtabel: table}}}}",
            "zeroseg.datasets.voc.names: voc has no class 'diningtabel'; did you mean 'diningtable'?",
        ),
        ("zeroseg: {datasets: {voc: {names: {cat: Dog}}}}", "zeroseg.datasets.voc.names: two classes are called 'dog'"),
    ],
    "check_curves": [
        ("mixreorg: {thresholds: [0.5, 0.5, 0.1]}", "mixreorg.thresholds is [0.5, 0.5, 0.1], which holds none; give"),
        ("cams: {thresholds: [0, 1, 0]}", "cams.thresholds is [0, 1, 0], which holds none; give first, end and step"),
    ],
    "check_paths": [
        (
            r"data: {mine: {images: C:\photos}}",
            r"data.mine.images is 'C:\photos', but folders are divided by slashes here; write 'C:/photos'",
        ),
        (
            r'data: {voc: {root: "C:\new"}}',
            r"data.voc.root 'C:\new' holds a line break or a tab, as YAML reads \n and \t in",
        ),
        (
            "partitions: {voc: {labelled: 'a{b}.txt'}}",
            "partitions.voc.labelled is 'a{b}.txt', but Snakemake takes braces",
        ),
        ("zeroseg: {teacher_weights: '{a}.pt'}", "zeroseg.teacher_weights is '{a}.pt', but Snakemake takes braces for"),
    ],
    "check_mars": [
        ("mars: {provider: external}", "mars.provider is external; set mars.external to the folder with <image id>.png")
    ],
}


def test_every_check_has_a_fault_that_it_finds():
    assert set(FAULTS) == {check.__name__ for check in CHECKS}


@pytest.mark.parametrize(("changes", "line"), [pair for pairs in FAULTS.values() for pair in pairs])
def test_settings_that_do_not_belong_together_are_named(changes, line):
    assert fault(changes).startswith(f"config: {line}")


def test_cityscapes_trains_from_its_own_start_where_others_start_from_it():
    settings = load("p2at: {init: cityscapes, datasets: {cityscapes: {init: none}}}")
    assert method_settings(settings, "p2at", "camvid")["init"] == "cityscapes"


def test_a_message_is_not_about_required_keys_where_config_yaml_has_them():
    assert load("classifier: {augmentation: {crop: 128}}")["classifier"]["augmentation"]["long_side"] == [80, 112]
