"""An edit beside a run does not slip into its jobs: they compare themselves with what the run was planned with."""

import json
import os

import pytest

from maskmill.errors import InputError
from maskmill.workflow import plan
from maskmill.workflow.plan import VARIABLE, Plan

SETTINGS = {"seed": 0, "data": {"voc": {"root": None}}}
SCRIPT = "data/merge_maps.py"


@pytest.fixture
def rules(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "mars.smk").write_text("rule a:\n    output: 'a'\n")
    return [tmp_path / "mars.smk"]


def planned(rules):
    """The plan of a run, whose jobs inherit it by the environment."""
    first = Plan(planning=True, settings=SETTINGS, rules=rules)
    return first.code(SCRIPT)


def test_a_job_has_the_digest_that_its_run_was_planned_with(rules, monkeypatch):
    digest = planned(rules)
    monkeypatch.setattr(plan, "code_digest", lambda script: "edited")
    assert Plan(planning=False, settings=SETTINGS, rules=rules).code(SCRIPT) == digest
    assert Plan(planning=True, settings=SETTINGS, rules=rules).code(SCRIPT) == "edited"  # the next run


@pytest.mark.parametrize("part", ["settings", "rules"])
def test_a_job_refuses_to_start_with_other_settings_or_rules(rules, part):
    planned(rules)
    settings = SETTINGS | ({"seed": 1} if part == "settings" else {})
    if part == "rules":
        rules[0].write_text("rule a:\n    output: 'b'\n")
    with pytest.raises(InputError, match=f"the {part} were edited after the run began"):
        Plan(planning=False, settings=settings, rules=rules)
    Plan(planning=True, settings=settings, rules=rules)


def test_settings_may_have_numbers_beside_words_as_keys(rules):
    """Epochs per partition: VOC's is called 732, Cityscapes' 1/8."""
    Plan(planning=True, settings={"epochs": {732: 40, "1/8": 80}, "steps": [{1: 2}]}, rules=rules)


def test_comments_and_empty_lines_in_rules_are_no_edit(rules):
    planned(rules)
    rules[0].write_text("# Why.\nrule a:\n\n    # Because.\n    output: 'a'\n")
    Plan(planning=False, settings=SETTINGS, rules=rules)


def test_a_job_without_a_plan_goes_by_what_is_there(rules):
    job = Plan(planning=False, settings=SETTINGS, rules=rules)
    assert len(job.code(SCRIPT)) == 16
    assert json.loads(os.environ[VARIABLE])[SCRIPT] == job.code(SCRIPT)
