"""Turns the tracks of a MOT set into single-object videos in LaSOT's layout, with attributes.

    python tools/dataset_converters/mot2sot.py --input data/pets/train --output data/pets_sot

Reads folders in MOTChallenge's layout, or a CocoVID json with --img-prefix, and writes videos,
lists of them for training and testing, and attributes.json, computed from the boxes.
docs/sot_synthetic.md says how.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from mmkd.datasets.attributes.computed import RULES
from mmkd.datasets.converters.mot2sot import (
    OCCLUSIONS,
    SPLITS,
    Cut,
    cut_videos,
    options_of,
    write_videos,
)
from mmkd.datasets.converters.mot_tracks import PEDESTRIAN, read_mot
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    cut = Cut()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--input', '-i', required=True, help='folder of sequences, one sequence, or a json file')
    add('--output', '-o', required=True, help='folder of the SOT set')
    add('--img-prefix', help="folder that a json's file names go on from")
    add('--classes', default=PEDESTRIAN, help=f'of the targets, a,b; default: {PEDESTRIAN}')
    add('--detector', default='FRCNN', help="which of MOT17's copies; default: FRCNN")
    add(
        '--split',
        default=cut.split,
        choices=SPLITS,
        help='frames: first frames train, last ones test, no image in both; tracks: no person in '
        'both either; sequences: whole sequences; train or test: everything; default: frames',
    )
    add(
        '--test-share',
        type=float,
        default=cut.test_share,
        help="share of each sequence's frames that test; default: 1/3",
    )
    add('--gap', type=int, default=cut.gap, help='frames left out between them; default: 0')
    add('--test-sequences', default='', help='names a,b for --split sequences')
    add(
        '--min-frames',
        type=int,
        default=cut.min_frames,
        help=f'with a visible target, of each video; default: {cut.min_frames}',
    )
    add(
        '--max-gap',
        type=int,
        default=cut.max_gap,
        help=f'frames without a box above which a track is cut; default: {cut.max_gap}',
    )
    add(
        '--min-size',
        type=float,
        default=cut.min_size,
        help=f"square root of the first box's area in pixels; default: {cut.min_size:g}",
    )
    add(
        '--start-visible',
        type=float,
        default=cut.start_visible,
        help=f'share of the first box that must be visible; default: {cut.start_visible}',
    )
    add('--no-clip', action='store_true', help="leave boxes beyond the image's border as they are")
    add(
        '--occlusion',
        default=cut.occlusion,
        choices=OCCLUSIONS,
        help="visibility: the set's own; overlap: from other boxes that are in front; auto "
        '(default): the first where it is told',
    )
    add('--rules', default='lasot', choices=sorted(RULES), help='definitions; default: lasot')
    add('--low-resolution', type=float, help='LR below so many pixels; default: of --rules')
    add('--partial', type=float, help='POC from this covered share on; default: of --rules')
    add('--full', type=float, help='FOC from this covered share on; default: of --rules')
    add(
        '--attribute-frames',
        type=int,
        default=1,
        help='a video has an attribute if so many frames have it; default: 1',
    )
    add('--copy', action='store_true', help='copy the images instead of linking to them')
    add('--skip-bad', action='store_true', help='leave bad lines and missing images out')
    add('--force', action='store_true', help='replace a set that this tool wrote')
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Writes the set and prints what is in it."""
    cut = Cut(
        split=args.split,
        test_share=args.test_share,
        gap=args.gap,
        test_sequences=_names(args.test_sequences),
        min_frames=args.min_frames,
        max_gap=args.max_gap,
        min_size=args.min_size,
        start_visible=args.start_visible,
        clip=not args.no_clip,
        occlusion=args.occlusion,
    )
    asked = {'low_resolution': args.low_resolution, 'partial': args.partial, 'full': args.full}
    rules = replace(RULES[args.rules], **{k: v for k, v in asked.items() if v is not None})
    source = read_mot(
        args.input, args.img_prefix, _names(args.classes), args.detector, args.skip_bad
    )
    videos = cut_videos(source, cut, rules, args.attribute_frames)
    options = options_of(cut, rules, input=args.input, attribute_frames=args.attribute_frames)
    link = 'copy' if args.copy else 'symlink'
    write_videos(args.output, videos, rules, link, args.force, options)
    names = rules.attribute_names
    print(f'{"":6}{"videos":>7}{"frames":>8}{"absent":>8}' + ''.join(f'{n:>5}' for n in names))
    for split in ('train', 'test'):
        part = [video for video in videos if video.split == split]
        frames = sum(len(video.images) for video in part)
        absent = sum(int((video.occluded | video.outside).sum()) for video in part)
        counts = (sum(name in video.attributes for video in part) for name in names)
        row = ''.join(f'{count:5}' for count in counts)
        print(f'{split:6}{len(part):7}{frames:8}{absent:8}{row}')


def _names(text: str) -> tuple:
    return tuple(name.strip() for name in text.split(',') if name.strip())


if __name__ == '__main__':
    try:
        run(parse_args())
    except MMKDError as error:
        sys.exit(f'error: {error}')
