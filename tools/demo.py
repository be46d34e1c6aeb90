"""Tracks through a video or a folder of images: text in MOTChallenge's format and an .mp4."""

import argparse
import sys

from mmengine.config import DictAction

import mmkd  # noqa: F401  first: it makes mmtrack importable on today's mmcv and mmdet
from mmkd.apis.demo import run_demo
from mmkd.apis.frames import open_frames
from mmkd.apis.inference import init_tracker
from mmkd.errors import MMKDError


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text} is not a positive number')
    return value


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'source', help='video file, folder of images, or sequence in MOTChallenge layout (img1/)'
    )
    parser.add_argument('config', help='config of a tracker; of a KD config the student is used')
    parser.add_argument('checkpoint', help='weights')
    parser.add_argument('--out-dir', default='work_dirs/demo', help='default: %(default)s')
    parser.add_argument('--device', default='cpu', help="'cpu', 'cuda', 'cuda:1'; default: cpu")
    parser.add_argument(
        '--score-thr', type=float, default=0.0, help='leave out tracks below this score'
    )
    parser.add_argument(
        '--fps', type=positive, help="frames per second; default: the source's own, or 30"
    )
    parser.add_argument(
        '--show-trail',
        type=int,
        nargs='?',
        const=30,
        default=30,
        metavar='FRAMES',
        help='length of the trails in frames, 0 for none; default: %(default)s',
    )
    parser.add_argument('--no-video', action='store_true', help='write the text only')
    parser.add_argument(
        '--force', action='store_true', help='replace existing files instead of numbering new ones'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings that replace those of the config, e.g. model.tracker.conf_thr=0.3',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    frames = open_frames(args.source)
    model = init_tracker(args.config, args.checkpoint, args.device, args.cfg_options)
    result = run_demo(
        model,
        frames,
        args.out_dir,
        fps=args.fps,
        score_thr=args.score_thr,
        trail=max(0, args.show_trail),
        video=not args.no_video,
        force=args.force,
    )
    print(f'{result.frames} frames, {result.tracks} tracks')
    print(f'tracks: {result.text}')
    if result.video is not None:
        print(f'video:  {result.video}')


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
