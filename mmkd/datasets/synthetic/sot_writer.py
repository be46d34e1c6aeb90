"""Writes a set of synthetic SOT videos in LaSOT's layout, with its table of attributes.

<root>/synthetic_sot.json               how it was made
<root>/annotations/train_infos.txt      lists of videos in mmtrack's form
<root>/annotations/test_infos.txt
<root>/annotations/attributes.json      AttributeTable of all videos
<root>/videos/<kind>/<kind>-<n>/        img/, groundtruth.txt, full_occlusion.txt, out_of_view.txt
                                        and, which LaSOT has not:
    extent.txt      a line x,y,w,h for each frame: the whole target, hidden parts too
    visibility.txt  a line for each frame: share of the target's pixels that are seen
"""

from __future__ import annotations

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import cv2
import numpy as np

from mmkd.errors import MMKDError

from ..attributes import AttributeTable
from ..converters.sot_layout import FRAME_NAME, make_room, write_sot_annotations
from ..sot_infos import VideoInfo, write_infos
from .sot_plan import ATTRIBUTES, SPLITS, VideoPlan, plan_videos
from .sot_scene import SOTSceneConfig, draw_frames, think_out

MARK = 'synthetic_sot.json'
SCHEMA = 'mmkd-synthetic-sot-1'
PARTS = ('annotations', 'videos')


def write_sot_set(
    root: str,
    counts: Dict[str, int],
    seed: int = 0,
    shares: Dict[str, float] | None = None,
    quality: int = 90,
    workers: int = 1,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
    **scene,
) -> dict:
    """Draws and writes a set.

    Args:
        root: Folder of the set.
        counts: Number of videos by split, 'train' and 'test'.
        seed: Of the set.
        shares: Attribute -> share of the videos that have it; see ``plan_videos``.
        quality: Of the jpeg files, 1..100.
        workers: Processes that draw; what they write does not depend on their number.
        force: Replace a set that is there.
        progress: Called with the number of frames of each video that is done.
        **scene: ``width``, ``height``, ``frames``, ``target_size``, ``distractors`` of
            ``SOTSceneConfig``.

    Returns:
        videos and frames by split, ``attributes`` (number of videos by attribute and split).

    Raises:
        MMKDError: If the set is there and ``force`` is not set, or an option is not valid.
    """
    if not 1 <= quality <= 100:
        raise MMKDError(f'The quality of jpeg files is within 1 and 100, not {quality}.')
    plans = plan_videos(counts, seed, shares)
    if not plans:
        raise MMKDError('A set needs at least one video.')
    # All options are looked at before anything is written or taken away.
    jobs = [(plan, _config(plan, scene), quality) for plan in plans]
    out = Path(root)
    make_room(out, MARK, PARTS, force)
    _mark(out, counts, seed, shares, quality, jobs[0][1])
    for done in _run(out, jobs, workers):
        if progress is not None:
            progress(done)
    frames = jobs[0][1].frames
    report = {'videos': dict(counts), 'frames': {k: n * frames for k, n in counts.items()}}
    report['attributes'] = {
        name: {s: sum(name in p.attributes for p in plans if p.split == s) for s in counts}
        for name in ATTRIBUTES
    }
    for split in SPLITS:
        chosen = [plan for plan in plans if plan.split == split]
        infos = [
            VideoInfo(f'{p.kind}/{p.name}/img', f'{p.kind}/{p.name}/groundtruth.txt', 1, frames)
            for p in chosen
        ]
        if infos:
            write_infos(str(out / 'annotations' / f'{split}_infos.txt'), infos)
    videos = {plan.name: tuple(plan.attributes) for plan in plans}
    # Written last: a set without it was not finished.
    table = AttributeTable(ATTRIBUTES, videos, source=f'mmkd synthetic SOT, seed {seed}')
    table.save(str(out / 'annotations' / 'attributes.json'))
    return report


def write_sot_video(folder: str, config: SOTSceneConfig, quality: int = 90) -> int:
    """Draws one video into a folder, which appears when it is complete.

    Returns:
        The number of its frames.
    """
    out = Path(folder)
    part = out.with_name(f'.{out.name}.{os.getpid()}.part')
    (part / 'img').mkdir(parents=True)
    video = think_out(config)
    truth = video.truth
    write_sot_annotations(part, truth.boxes, truth.occluded, truth.outside)
    np.savetxt(part / 'extent.txt', truth.extents, fmt='%d', delimiter=',')
    shares = np.stack([truth.visible, truth.inside], axis=1)
    np.savetxt(part / 'visibility.txt', shares, fmt='%.3f', delimiter=',')
    for number, image in enumerate(draw_frames(video), start=1):
        path = str(part / 'img' / FRAME_NAME.format(number))
        if not cv2.imwrite(path, image, [cv2.IMWRITE_JPEG_QUALITY, quality]):
            raise MMKDError(f"'{path}' cannot be written.")
    part.rename(out)
    return config.frames


def _config(plan: VideoPlan, scene: dict) -> SOTSceneConfig:
    return SOTSceneConfig(attributes=plan.attributes, kind=plan.kind, seed=plan.seed, **scene)


def _run(out: Path, jobs: List[Tuple[VideoPlan, SOTSceneConfig, int]], workers: int):
    """Yields the number of frames of each video when it is done."""
    todo = [(str(out / 'videos' / p.kind / p.name), config, q) for p, config, q in jobs]
    if workers <= 1:
        for job in todo:
            yield write_sot_video(*job)
        return
    # Forking a process that has started OpenCV's threads can hang it.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(
        workers, context, initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        futures = [pool.submit(write_sot_video, *job) for job in todo]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _mark(out: Path, counts, seed, shares, quality, config: SOTSceneConfig) -> None:
    content = {
        'schema': SCHEMA,
        'videos': counts,
        'seed': seed,
        'shares': shares or {},
        'quality': quality,
        'width': config.width,
        'height': config.height,
        'frames': config.frames,
        'target_size': list(config.target_size),
        'distractors': config.distractors,
    }
    (out / MARK).write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
