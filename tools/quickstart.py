"""The main job, small: draws data, trains a student with and without a DINOv2 teacher, scores both
and renders a video of each. tools/quickstart.sh makes the environment and calls this."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from mmkd.apis.stages import Stage, StageChain
from mmkd.errors import MMKDError

REPO = Path(__file__).resolve().parent.parent
STUDENT = 'configs/mot/fairmot/fairmot_hrnetv2-w18-lite_1xb4-5e_synthetic.py'
DISTILLED = 'configs/kd/fairmot_dinov2_synthetic.py'
RUNS = {'student': STUDENT, 'student+KD': DISTILLED}
TRAIN_SEQUENCES, VAL_SEQUENCES, FRAMES = 6, 2, 60


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--teacher',
        default='random',
        help="DINOv2 ViT-S/14 weights: a file, 'timm' to download them, or 'random' (default): a "
        'teacher that knows nothing, which shows that everything runs and not that it helps',
    )
    parser.add_argument('--epochs', type=int, default=5, help='of each of the two trainings')
    parser.add_argument(
        '--data', default=str(REPO / 'data/quickstart'), help='where the sequences go'
    )
    parser.add_argument('--out', help='where results go (work_dirs/quickstart_<time> if unset)')
    return parser.parse_args()


def data_stage(data: Path, name: str, sequences: int, seed: int, seconds: float) -> Stage:
    command = [
        *(sys.executable, 'tools/dataset_converters/make_synthetic_mot.py', str(data)),
        *('--name', name, '--sequences', str(sequences), '--frames', str(FRAMES)),
        *('--seed', str(seed), '--force'),
    ]
    return Stage(f'drawing {name} sequences', command, seconds)


def plan(args: argparse.Namespace, out: Path) -> list:
    """The chain of commands, each as a user would type it."""
    data = Path(args.data)
    where = f'data_root={data}/'
    options = [
        *(f'train_dataloader.dataset.{where}', f'val_dataloader.dataset.{where}'),
        *(f'test_dataloader.dataset.{where}', 'randomness.seed=0'),
        *(f'train_cfg.max_epochs={args.epochs}', f'param_scheduler.1.T_max={args.epochs}'),
    ]
    stages = []
    # The drawing is reproducible, so what an earlier quickstart drew whole is used again.
    for name, sequences, seed, seconds in (
        ('train', TRAIN_SEQUENCES, 0, 15),
        ('val', VAL_SEQUENCES, 1, 6),
    ):
        if not (data / 'annotations' / f'{name}.json').exists():
            stages.append(data_stage(data, name, sequences, seed, seconds))
    for name, config in RUNS.items():
        work = str(out / name)
        teacher = [f'model.teacher.weights={args.teacher}'] if name != 'student' else []
        train = [sys.executable, 'tools/train.py', config, '--amp', '--work-dir', work]
        seconds = (45 if name == 'student' else 70) * args.epochs
        stages.append(
            Stage(
                f'training {name}',
                train + ['--cfg-options', *options, *teacher],
                seconds,
                args.epochs,
            )
        )
        # The distilled student is tested and shown by the plain config: it is a plain student.
        checkpoint = f'{work}/epoch_{args.epochs}.pth'
        test = [sys.executable, 'tools/test.py', STUDENT, checkpoint, '--work-dir', f'{work}/test']
        scores = f'test_evaluator.outfile_prefix={work}/scores'
        stages.append(Stage(f'scoring {name}', test + ['--cfg-options', *options, scores], 20))
        video = data / 'val' / 'SYN-1-01'
        demo = [sys.executable, 'tools/demo.py', str(video), STUDENT, checkpoint]
        stages.append(Stage(f'rendering {name}', demo + ['--out-dir', f'{work}/demo'], 15))
    curves = [sys.executable, 'tools/analysis_tools/plot_loss.py']
    curves += [f'{name}={out / name}' for name in RUNS] + ['--out', str(out / 'loss.png')]
    stages.append(Stage('drawing the loss curves', curves, 4))
    return stages


def seconds_per_step(work: Path) -> float:
    """Mean over the training, without the first steps, which warm up."""
    (file,) = work.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    times = [line['time'] for line in lines if 'loss' in line and 'time' in line]
    times = times[1:] or times
    return sum(times) / len(times)


def table(out: Path, teacher: str) -> str:
    """student | student+KD, a row for each figure."""
    rows = [['', *RUNS]]
    scores = {
        name: json.loads((out / name / 'scores.json').read_text())['overall']['COMBINED']
        for name in RUNS
    }
    for label, key in (('HOTA', 'HOTA'), ('MOTA', 'MOTA'), ('IDF1', 'IDF1'), ('IDs', 'IDSW')):
        form = '{:.0f}' if key == 'IDSW' else '{:.1f}'
        rows.append([label, *(form.format(scores[name][key]) for name in RUNS)])
    rows.append(['s/step', *(f'{seconds_per_step(out / name):.2f}' for name in RUNS)])
    width = max(len(cell) for row in rows for cell in row)
    lines = [' | '.join(cell.rjust(width) for cell in row) for row in rows]
    note = 'random weights: it knows nothing' if teacher == 'random' else teacher
    return '\n'.join([*lines, f'teacher: DINOv2 ViT-S/14, {note}'])


def main() -> None:
    args = parse_args()
    if args.epochs < 1:
        raise MMKDError(f'--epochs is {args.epochs}; expected 1 or more.')
    if args.teacher not in ('random', 'timm'):
        teacher = Path(args.teacher).expanduser().resolve()
        if not teacher.exists():
            raise MMKDError(f"--teacher: there is no file {args.teacher!r}, and it is not 'timm'.")
        args.teacher = str(teacher)
    # The commands run in the repository, and the user's paths start from where the user is.
    args.data = str(Path(args.data).expanduser().resolve())
    default = REPO / time.strftime('work_dirs/quickstart_%Y%m%d_%H%M%S')
    out = Path(args.out).expanduser().resolve() if args.out else default
    if out.exists():
        raise MMKDError(f'--out: {args.out!r} exists; choose another folder, nothing was changed.')
    start = time.monotonic()
    StageChain(plan(args, out), out / 'logs', REPO).run()
    print('\n' + table(out, args.teacher) + '\n')
    print(f'loss curves: {os.path.relpath(out / "loss.png")}')
    for name in RUNS:
        for video in sorted((out / name / 'demo').glob('*.mp4')):
            print(f'video, {name}: {os.path.relpath(video)}')
    print(f'all in {(time.monotonic() - start) / 60:.1f} minutes')


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        sys.exit('\ninterrupted')
