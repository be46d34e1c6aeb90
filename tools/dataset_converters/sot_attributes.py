"""Shows which attributes videos have, saves them as mmkd's json, and cuts subsets of any list.

    python tools/dataset_converters/sot_attributes.py --attributes LaSOT_Evaluation_Toolkit
    ... --save data/LaSOT_full/annotations/attributes.json
    ... --infos data/LaSOT_full/annotations/lasot_train_infos.txt --group occlusion \
        --output data/LaSOT_full/annotations/lasot_train_occlusion_infos.txt

Attributes are read from LaSOT's, OTB's and UAV123's toolkits, VL-SOT500, pytracking's and PySOT's
json files, and mmkd's own.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from mmkd.datasets.attributes import GROUPS
from mmkd.datasets.converters.sot_lists import Listing, subset
from mmkd.datasets.converters.sot_options import add_subset_options, load_table, split
from mmkd.datasets.sot_infos import read_infos, write_infos
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_subset_options(parser)
    parser.add_argument('--infos', help='list of videos (*_infos.txt): count or choose only these')
    parser.add_argument('--output', '-o', help='list to write of those that are chosen')
    parser.add_argument('--save', help="json to write the table to, in mmkd's own form")
    parser.add_argument('--force', action='store_true', help='overwrite files')
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Prints the counts and writes what was asked for."""
    table = load_table(args)
    for path in filter(None, (args.output, args.save)):
        if Path(path).exists() and not args.force:
            raise MMKDError(f"'{path}' exists. Overwrite it with --force.")
    if args.output and not args.infos:
        raise MMKDError('--output is a part of the list that --infos names.')
    names = list(table.videos)
    if args.infos:
        listing = Listing(read_infos(args.infos), Counter())
        listing = subset(listing, table, split(args.attribute), split(args.group))
        names = [
            next((name for name in info.names if name in table), info.name)
            for info in listing.infos
        ]
    elif args.attribute or args.group:
        names = list(filter(table.chooser(split(args.attribute), split(args.group)), names))
    attributes = Counter(name for video in names for name in table.of(video))
    groups = Counter(name for video in names for name in table.groups_of(video))
    print(f'{table.source}: {len(names)} videos')
    for title, order, counts in (
        ('attribute', table.names, attributes),
        ('group', [group for group in GROUPS if groups[group]], groups),
    ):
        for name in order:
            share = counts[name] / len(names) if names else 0
            print(f'  {title:9}  {name:22}  {counts[name]:6} videos  {100 * share:5.1f} %')
    if args.output:
        write_infos(args.output, listing.infos)
        print(f'{args.output}: {len(listing.infos)} videos, {listing.frames} frames')
    if args.save:
        table.save(args.save)
        print(f'{args.save}: {len(table)} videos')


if __name__ == '__main__':
    try:
        run(parse_args())
    except MMKDError as error:
        sys.exit(f'error: {error}')
