"""A digest of the settings behind a row of a result table, so that a mean is taken over one setting alone."""

from collections.abc import Container, Iterable
from typing import Any

from maskmill.workflow.plan import settings_digest
from maskmill.workflow.settings import merged

# What changes no score, or has a column of its own in tables. Data of one name may lie elsewhere on another machine.
NO_SCORE = {"scale", "seed", "shards", "training", "resources", "gallery", "export"}
PATHS = {"root", "images", "masks", "tags", "val"}  # keys of data.<name>
# Where a method's section says which rows there are. An entry of a group counts for its own row alone.
ROW_GROUPS = {"cwbass": "ablations", "mgd": "students", "p2at": "variants", "zeroseg": "variants", "barm": "protocols"}
ROW_LISTS = {"mars": "ablations", "barm": "tasks"}


def row_settings(
    settings: dict, method: str, dataset: str, rows: Iterable[str], others: Iterable[str]
) -> dict[str, str]:
    """The digest of each row, the same where the settings are; its letter keeps readers from taking it for a number.

    Args:
        settings: all settings of a run.
        method: the section of the table's method.
        dataset: the data set of the table.
        rows: names of the table's rows; that of an entry of a group is the entry's name, or begins with it.
        others: sections that the table does not depend on, such as those of other methods.
    """
    shared = {key: _of_dataset(value, dataset) for key, value in settings.items() if key not in {*NO_SCORE, *others}}
    of_data = {name: settings["data"].get(name, {}) for name in (dataset, "sample")}
    shared["data"] = {name: _without(about, PATHS) for name, about in of_data.items()}
    shared["partitions"] = settings["partitions"].get(dataset)
    entries = shared[method].get(ROW_GROUPS.get(method), {})
    shared[method] = _without(shared[method], {ROW_GROUPS.get(method), ROW_LISTS.get(method)})
    return {row: f"s{settings_digest(shared | {'row': _entries_of(row, entries)})[:8]}" for row in rows}


def _of_dataset(section: Any, dataset: str) -> Any:
    """A section with what differs for a data set laid over it."""
    if not isinstance(section, dict):
        return section
    return merged(_without(section, {"datasets"}), section.get("datasets", {}).get(dataset) or {})


def _without(section: dict, keys: Container) -> dict:
    return {key: value for key, value in section.items() if key not in keys}


def _entries_of(row: str, entries: dict) -> dict:
    """The entries of a group that a row is made of, such as the student of light_cached or the task of 15-1/barm."""
    return {name: entry for name, entry in entries.items() if row == name or row.startswith((f"{name}_", f"{name}/"))}
