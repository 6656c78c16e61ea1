"""Runs a stage's `main` under Snakemake or by hand, with the same arguments.

Under Snakemake, the rule's named inputs, outputs, parameters and wildcards become keyword arguments, as far as `main`
takes them. By hand, `python workflow_scripts/<folder>/<stage>.py --help` lists them as options. Values are YAML, but
text is taken as it is: `--image 2007_000032` is no number. Lists are written `--scales [0.5,1.0]` or
`--stores a.h5 b.h5`.

A parameter whose type is a dataclass, such as `run: TrainingRun`, stands for the fields of that class.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import inspect
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard, get_args, get_origin

import yaml

from maskmill.errors import InputError, Paused
from maskmill.processes import end_with_parent
from maskmill.workflow.digest import SCRIPTS, code_digest
from maskmill.workflow.options import SHARED_OPTIONS, documented

MAIN_PROCESS = os.environ.get("LOCAL_RANK", "0") == "0"  # of a training on several devices


def run(main: Callable, snakemake=None) -> None:
    """Call `main`; a bad input ends the process with its one line on stderr (and in the rule's log).

    This process ends when Snakemake ends: otherwise it could write files that a job of the next call also writes.
    """
    if snakemake is not None:
        end_with_parent()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if snakemake is not None and snakemake.log:
        Path(snakemake.log[0]).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(snakemake.log[0], mode="w" if MAIN_PROCESS else "a"))
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=handlers, force=True)
    try:
        if snakemake is None:
            arguments = from_command_line(main)
        else:
            _check_code(snakemake)
            arguments = _from_rule(main, snakemake)
        main(**arguments)
    except InputError as error:
        if isinstance(error, Paused) and not MAIN_PROCESS:
            return  # one process speaks for all
        print(file=sys.stderr)  # a progress bar may stand in the line
        logging.error("error: %s", error)
        if isinstance(error, Paused) and snakemake is not None and snakemake.resources.get("requeue_paused"):
            _requeue()
        sys.exit(1)


def _check_code(snakemake) -> None:
    """Refuse to run if the code differs from the planned code, which Snakemake would record for the result.

    Raises:
        InputError: a statement of the stage or of a module that it imports was changed after Snakemake had read it.
    """
    planned = snakemake.params.get("code")
    script = Path(str(sys.modules["__main__"].__file__)).resolve()  # of this stage, whose `main` may be a command's
    if planned is not None and planned != code_digest(str(script.relative_to(SCRIPTS))):
        raise InputError(
            f"{script}: this file or a module that it imports was edited after the run began; "
            "start the same command again, which makes what the edit concerns anew"
        )


def _requeue() -> None:
    """Put this job back into SLURM's queue, which ends this process; if SLURM refuses, the job fails."""
    if subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=False).returncode == 0:
        signal.pause()


def _from_rule(main: Callable, snakemake) -> dict:
    given = {"threads": snakemake.threads, "run_id": _run_id(snakemake), **_hardware(snakemake)}
    for group in (snakemake.wildcards, snakemake.input, snakemake.output, snakemake.params):
        values = {name: _plain(value) for name, value in group.items()}
        twice = [name for name in values if given.get(name, values[name]) != values[name]]
        if twice:
            raise TypeError(f"rule {snakemake.rule} gives two values of {', '.join(twice)}")
        given |= values
    missing = [name for name, p in _options(main).items() if name not in given and p.default is p.empty]
    if missing:
        raise TypeError(f"rule {snakemake.rule} gives no {', '.join(missing)}")
    return _grouped(main, given)


def _hardware(snakemake) -> dict:
    """How to train, not what: these are no parameters of a rule, so that a change of them reruns nothing."""
    training = {**snakemake.config["training"], "devices": snakemake.resources.get("gpu", 0) or 1}
    return {**training, "max_minutes": _max_minutes(training, snakemake.resources)}


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


def _is_group(annotation: Any) -> TypeGuard[type]:
    """Whether a parameter's type is a dataclass, whose fields are the options."""
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


def _options(main: Callable) -> dict[str, inspect.Parameter]:
    """The parameters of `main`, with the fields of a dataclass in its place."""
    options: dict[str, inspect.Parameter] = {}
    for name, parameter in inspect.signature(main).parameters.items():
        if _is_group(parameter.annotation):
            options |= inspect.signature(parameter.annotation).parameters
        else:
            options[name] = parameter
    return options


def _grouped(main: Callable, given: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `main` from the values of its options; fields of a dataclass become one object."""
    arguments = {}
    for name, parameter in inspect.signature(main).parameters.items():
        if _is_group(parameter.annotation):
            fields = [field.name for field in dataclasses.fields(parameter.annotation)]
            arguments[name] = parameter.annotation(**{field: given[field] for field in fields if field in given})
        elif name in given:
            arguments[name] = given[name]
    return arguments


def from_command_line(main: Callable, words: list[str] | None = None, program: str | None = None) -> dict:
    """The keyword arguments of `main`, read from the command line.

    Args:
        main: a function whose docstring explains its parameters under `Args:`.
        words: the words of the command line; default: those of this process.
        program: what the help calls the program; default: the script's name.
    """
    description = sys.modules[main.__module__].__doc__
    parser = argparse.ArgumentParser(
        program, allow_abbrev=False, usage="%(prog)s [options]", description=description, formatter_class=_Formatter
    )
    groups = {True: parser.add_argument_group("required"), False: parser.add_argument_group("optional")}
    texts = option_texts(main)
    for name, parameter in _options(main).items():
        required = parameter.default is parameter.empty
        groups[required].add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            required=required,
            default=None if required else parameter.default,
            help=_help(texts.get(name, ""), parameter),
            metavar=_metavar(parameter.annotation),
            **_reading(parameter.annotation),
        )
    return _grouped(main, vars(parser.parse_args(words)))


def option_texts(main: Callable) -> dict[str, str]:
    """What `--help` says of each option: `Args:` of `main`, `Attributes:` of its dataclasses, or the shared text."""
    texts = dict(SHARED_OPTIONS)
    for parameter in inspect.signature(main).parameters.values():
        if _is_group(parameter.annotation):
            texts |= documented(parameter.annotation)
    return texts | documented(main)


def _help(text: str, parameter: inspect.Parameter) -> str:
    """The text of an option with its default as one writes it, unless the text names it or there is nothing to name."""
    default = parameter.default
    if default in (parameter.empty, (), "") or str(default) == "<factory>" or "default:" in text:
        return text
    shown = "null" if default is None else str(default).lower() if isinstance(default, bool) else default
    return f"{text} (default: {shown})"


def _metavar(annotation) -> str:
    """What `--help` shows in the place of an option's value."""
    kinds = [kind for kind in get_args(annotation) or [annotation] if kind is not type(None)]
    return {str: "TEXT", int: "INTEGER", float: "NUMBER", bool: "true|false", dict: "{...}"}.get(kinds[0], "VALUE")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """The description's lines as they are; the options' texts wrapped, percent signs taken literally."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=26, width=120)

    def _split_lines(self, text, width):
        return textwrap.wrap(text, width)

    def _expand_help(self, action):
        return action.help


def _reading(annotation) -> dict:
    """How argparse reads an option of this type; `null` is None where the type allows it."""
    kinds = get_args(annotation) if type(None) in get_args(annotation) else (annotation,)
    if list[str] in kinds:
        return {"nargs": "+", "action": _Joined, "type": lambda text: _words(text, kinds)}
    if get_origin(annotation) is list:
        return {"nargs": "+", "action": _Joined, "type": _yaml}
    if annotation is str:
        return {"type": str}
    if annotation == str | None:
        return {"type": lambda text: None if text == "null" else text}
    if set(kinds) <= {int, float, bool, type(None)}:
        return {"type": lambda text: _scalar(text, kinds)}
    return {"type": _yaml}


def _yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"{text} is not YAML; put names with special characters in quotes") from None


def _scalar(text: str, kinds: tuple) -> Any:
    """A number, a truth value or None, as far as the type of the option allows it."""
    value = _yaml(text)
    if float in kinds and isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)  # 1e-3 is text in YAML
    if type(value) not in kinds and not (float in kinds and type(value) is int):
        names = {int: "a whole number", float: "a number", bool: "true or false"}
        raise argparse.ArgumentTypeError(f"{text!r} is not {' or '.join(names.get(kind, 'null') for kind in kinds)}")
    return value


def _words(text: str, kinds: tuple) -> str | list[str] | None:
    if text == "null" and type(None) in kinds:
        return None
    if not text.startswith("["):
        return text
    try:
        return yaml.load(text, yaml.BaseLoader)
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"{text} is not a list; put names with special characters in quotes") from None


class _Joined(argparse.Action):
    """One list of all that an option names: values, lists of values, or both."""

    def __call__(self, parser, namespace, values, option_string=None):
        lists = (value if isinstance(value, list) else [value] for value in values)
        joined = list(itertools.chain.from_iterable(lists))
        setattr(namespace, self.dest, None if joined == [None] else joined)
