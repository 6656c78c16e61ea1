"""Runs a stage's `main` under Snakemake or by hand, with the same arguments.

Under Snakemake, the rule's named inputs, outputs, parameters and wildcards become keyword arguments, as far as `main`
asks for them. By hand, `python workflow_scripts/<stage>.py --help` lists them as options. Values are YAML, but text is
taken as it is: `--image 2007_000032` is no number. Lists are written `--scales [0.5,1.0]` or `--stores a.h5 b.h5`.
"""

import argparse
import hashlib
import inspect
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_origin

import yaml

# The library beside this file, also where another copy of it is installed.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from maskmill.errors import InputError, Paused
from maskmill.processes import end_with_parent

MAIN_PROCESS = os.environ.get("LOCAL_RANK", "0") == "0"  # of a training on several devices


def run(main: Callable, snakemake=None) -> None:
    """Call `main`; a bad input ends the process with its one line on stderr (and in the rule's log).

    Under Snakemake the process ends with it: one that outlived it would write the files of the next call's job.
    """
    if snakemake is not None:
        end_with_parent()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if snakemake is not None and snakemake.log:
        Path(snakemake.log[0]).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(snakemake.log[0], mode="w" if MAIN_PROCESS else "a"))
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=handlers, force=True)
    names = inspect.signature(main).parameters
    arguments = _from_command_line(main) if snakemake is None else _from_rule(snakemake, names)
    try:
        main(**arguments)
    except InputError as error:
        if isinstance(error, Paused) and not MAIN_PROCESS:
            return  # one process speaks for all
        print(file=sys.stderr)  # a progress bar may stand in the line
        logging.error("error: %s", error)
        if isinstance(error, Paused) and snakemake is not None and snakemake.resources.get("requeue_paused"):
            _requeue()
        sys.exit(1)


def _requeue() -> None:
    """Have SLURM run this job again, which ends this process; where it will not, the job fails."""
    if subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=False).returncode == 0:
        signal.pause()


def _from_rule(snakemake, names) -> dict:
    # `training` says how to train, not what: it is no parameter, so that changing it reruns nothing.
    training = {**snakemake.config["training"], "devices": snakemake.resources.get("gpu", 0) or 1}
    training["max_minutes"] = _max_minutes(training, snakemake.resources)
    given = {"threads": snakemake.threads, "run": _run_id(snakemake), "training": training}
    for group in (snakemake.wildcards, snakemake.input, snakemake.output, snakemake.params):
        given |= dict(group.items())
    missing = [name for name, p in names.items() if name not in given and p.default is p.empty]
    if missing:
        raise TypeError(f"rule {snakemake.rule} gives no {', '.join(missing)}")
    return {name: _plain(given[name]) for name in names if name in given}


def _max_minutes(training: dict, resources) -> float | None:
    """When a training pauses: `training.max_minutes`, and before the time limit of a job that SLURM runs again.

    What is left for the start and for the last state is the larger of 10 minutes and twice `training.save_minutes`, but
    never more than half of the limit.
    """
    given, limit = training["max_minutes"], resources.get("runtime")
    if not resources.get("requeue_paused") or limit is None:
        return given
    in_time = limit - min(max(10, 2 * training["save_minutes"]), limit / 2)
    return in_time if given is None else min(given, in_time)


def _plain(value):
    """Snakemake's lists of files as lists, everything else as it is."""
    return list(value) if isinstance(value, (list, tuple)) and not isinstance(value, str) else value


def _run_id(snakemake) -> str:
    """A digest of what shapes the result: parameters (code digest among them), wildcards, and the input files'
    names, sizes and times."""
    inputs = [(name, Path(name).stat().st_size, Path(name).stat().st_mtime_ns) for name in map(str, snakemake.input)]
    parameters = [dict(snakemake.params.items()), dict(snakemake.wildcards.items())]
    return hashlib.sha256(json.dumps([parameters, inputs], sort_keys=True, default=str).encode()).hexdigest()


def _from_command_line(main: Callable) -> dict:
    module = sys.modules[main.__module__]
    parser = argparse.ArgumentParser(description=module.__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, parameter in inspect.signature(main).parameters.items():
        required = parameter.default is parameter.empty
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            required=required,
            default=None if required else parameter.default,
            help=None if required else f"default: {parameter.default}",
            **_reading(parameter.annotation),
        )
    return vars(parser.parse_args())


def _reading(annotation) -> dict:
    """How argparse reads an option of this type."""
    if get_origin(annotation) is list:
        return {"nargs": "+", "action": _Joined, "type": _words if annotation == list[str] else yaml.safe_load}
    if annotation is str:
        return {"type": str}
    if annotation == str | None:
        return {"type": lambda text: None if text == "null" else text}
    return {"type": yaml.safe_load}


def _words(text: str) -> str | list[str]:
    return yaml.load(text, yaml.BaseLoader) if text.startswith("[") else text


class _Joined(argparse.Action):
    """One list of all that an option names: values, lists of values, or both."""

    def __call__(self, parser, namespace, values, option_string=None):
        lists = (value if isinstance(value, list) else [value] for value in values)
        setattr(namespace, self.dest, list(itertools.chain.from_iterable(lists)))
