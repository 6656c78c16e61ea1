"""What papers contribute to result tables: every module of the package is one method's entry."""

import re

from maskmill.evaluation.papers import ENTRIES, HEADLINES, PAPERS
from maskmill.evaluation.published import Paper, PaperValue


def values_of(numbers):
    return [numbers] if isinstance(numbers, PaperValue) else list(numbers.values())


def test_each_module_is_the_entry_of_the_method_of_its_name():
    assert {"mars", "bas", "deeplab", "cwbass", "mgd", "p2at", "barm", "mixreorg", "zeroseg"} <= set(ENTRIES)
    assert all(isinstance(entry, Paper) for entry in ENTRIES.values())
    assert set(HEADLINES) == set(ENTRIES) and {key[0] for key in PAPERS} <= set(ENTRIES)


def test_headlines_are_patterns_whose_groups_the_baseline_uses():
    for headline in (headline for headlines in HEADLINES.values() for headline in headlines):
        groups = re.compile(headline.row).groups
        assert all(int(number) <= groups for number in re.findall(r"\\(\d)", headline.baseline)), headline


def test_numbers_are_percent_with_a_source():
    numbers = [value for rows in PAPERS.values() for row in rows.values() for value in values_of(row)]
    assert all(0 < number.value < 100 and number.source for number in numbers)
    assert PAPERS["mars", "voc"]["student/mars"].value == 69.8
    assert PAPERS["bas", "cub", "vgg16"]["bas"]["gt_known_loc"].value == 91.04
