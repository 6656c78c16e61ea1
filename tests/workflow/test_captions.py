"""Captions of the report, rendered for every table and picture that bears one, say whose images they are of."""

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest
from docutils.core import publish_parts
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, Quietness, ResourceSettings

ROOT = Path(__file__).resolve().parents[2]
FILLED = {"dataset": "voc", "boxset": "cub", "task": "15-1", "scheme": "overlapped"}
ONE_CORE = ResourceSettings(cores=1)
WARNING = 2  # docutils' level of messages
DRAWN = "no number here is a result on that data set"


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    """Renders all captions of a configuration for a value of the wildcard `dataset`: texts by the caption's name."""

    def rendered(dataset: str = "voc", config: dict | None = None) -> dict[str, set[str]]:
        settings = {"config_settings": ConfigSettings(config=config or {}), "resource_settings": ONE_CORE}
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
            folder = tmp_path_factory.mktemp("dry")
            workflow = api.workflow(snakefile=ROOT / "Snakefile", workdir=folder, **settings)._workflow
            texts = defaultdict(set, {"maskmill": {text(ROOT / workflow.report_text.path, config=workflow.config)}})
            for rule in workflow.rules:
                filled = FILLED | {"dataset": dataset}
                for path in {file.flags["report"].caption.path for file in rule.output if "report" in file.flags}:
                    places = SimpleNamespace(**{name: filled[name] for name in rule.wildcard_names})
                    filling = {"wildcards": places, "config": workflow.config, "params": parameters(rule, places)}
                    texts[Path(path).stem].add(text(path, **filling))
        return texts

    return rendered


def parameters(rule, wildcards) -> SimpleNamespace:
    """The parameter that captions read, where a rule has it."""
    functions = {name: value for name, value in rule.params.items() if name == "drawn"}
    return SimpleNamespace(**{name: value(wildcards) for name, value in functions.items()})


def text(path: str | Path, **snakemake) -> str:
    """A caption as HTML; a name that is not defined, or a warning of docutils, is an error."""
    template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(Path(path).read_text())
    strict = {"halt_level": WARNING, "report_level": WARNING}
    filled = template.render(snakemake=SimpleNamespace(**snakemake))
    return publish_parts(filled, writer="html", settings_overrides=strict)["body"]


def of_drawn_scenes(texts: dict[str, set[str]]) -> set[str]:
    return {name for name, rendered in texts.items() if any(DRAWN in one for one in rendered)}


TABLES = {path.stem for path in (ROOT / "report").glob("table_*.rst")} | {"classes"}


def test_every_caption_belongs_to_a_rule_and_is_rendered_without_a_warning(captions):
    texts = captions()
    assert set(texts) == {path.stem for path in (ROOT / "report").glob("*.rst")}
    assert all("{" not in one for rendered in texts.values() for one in rendered)
    assert of_drawn_scenes(texts) == TABLES


def test_real_images_are_never_called_drawn_scenes(captions):
    real = {"data": {"voc": {"root": "/data/VOC2012"}}, "localization": {"data": {"cub": {"root": "/data/CUB"}}}}
    assert not of_drawn_scenes(captions(config=real))
    assert not of_drawn_scenes(captions(config={"scale": "small"}))
    assert of_drawn_scenes(captions(dataset="mine")) == {"table_localization"}, "of another data set"
