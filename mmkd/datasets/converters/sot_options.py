"""The options that all converters of single-object data sets have."""

from __future__ import annotations

import argparse
from typing import Dict

from mmkd.errors import MMKDError

from ..attributes import KINDS, AttributeTable, load_attributes
from .sot_lists import Listing, subset, write_lists


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds where to write, subsets by attribute, and what to do with what is wrong."""
    parser.add_argument('--output', '-o', required=True, help='folder for the lists (*_infos.txt)')
    add_subset_options(parser)
    parser.add_argument(
        '--skip-bad',
        action='store_true',
        help='leave out videos that are not complete, and count them; default: stop at the first',
    )
    parser.add_argument('--force', action='store_true', help='overwrite lists that are there')


def add_subset_options(parser: argparse.ArgumentParser) -> None:
    """Adds the choice of videos by attribute."""
    parser.add_argument(
        '--attributes',
        help='which video has which attributes: a json (mmkd, pytracking, PySOT) or a folder '
        "(LaSOT's, OTB's, UAV123's att, their toolkit, VL-SOT500)",
    )
    parser.add_argument(
        '--kind', choices=KINDS, help='what --attributes is; default: recognised by its content'
    )
    parser.add_argument(
        '--attribute',
        default='',
        help='also write a list of the videos that have any of these, e.g. FOC,POC',
    )
    parser.add_argument(
        '--group',
        default='',
        help='the same by common groups, e.g. occlusion,fast_motion; with --attribute, either',
    )


def write(listings: Dict[str, Listing], args: argparse.Namespace) -> None:
    """Writes the lists and the subsets of them that were asked for.

    Raises:
        MMKDError: If a subset is not possible, or a file exists and ``--force`` is not there.
    """
    only, groups = split(args.attribute), split(args.group)
    if only or groups:
        table = load_table(args)
        for name, listing in list(listings.items()):
            suffix = '-'.join([*only, *groups])
            listings[f'{name}_{suffix}'] = subset(listing, table, only, groups)
    write_lists(listings, args.output, args.force)


def load_table(args: argparse.Namespace) -> AttributeTable:
    """Reads ``--attributes``.

    Raises:
        MMKDError: If it is not given, or cannot be read.
    """
    if not args.attributes:
        raise MMKDError('--attribute and --group choose by the table that --attributes names.')
    return load_attributes(args.attributes, args.kind)


def split(text: str) -> list:
    """'FOC, POC' -> ['FOC', 'POC']."""
    return [part.strip() for part in text.split(',') if part.strip()]
