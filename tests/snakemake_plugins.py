"""Imported once by the server of `warm.py`: the search for Snakemake's plugins, which takes most of its start."""

from snakemake.cli import get_argument_parser

get_argument_parser()
