"""From a video file to a sequence in MOTChallenge's layout."""

from __future__ import annotations

from pathlib import Path

import cv2

from mmkd.errors import MMKDError

from .motchallenge import read_gt


def extract_sequence(
    video: str,
    out_dir: str,
    gt: str | None = None,
    first: int = 1,
    last: int | None = None,
    fps: float | None = None,
    quality: int = 95,
    skip_bad: bool = False,
    force: bool = False,
) -> dict:
    """Writes ``img1/000001.jpg, ...``, ``seqinfo.ini`` and, if there is one, ``gt/gt.txt``.

    Frames are numbered from 1 again if ``first`` is not 1, and the ground truth with them.

    Args:
        video: A file that OpenCV can decode.
        out_dir: The sequence's folder; its name becomes the sequence's.
        gt: Ground truth of the whole video; rows outside of the chosen frames are left out.
        first: First frame of the video to take, from 1.
        last: Last frame, included. None: to the end.
        fps: Overrides the rate that the video declares.
        quality: Of the JPEG files, up to 100.
        skip_bad: Leave out bad rows of ``gt`` instead of raising.
        force: Replace what an earlier call wrote there.

    Returns:
        frames, width, height, fps, boxes, skipped (rows of gt by reason).

    Raises:
        MMKDError: If the video cannot be read, is too short, or if ``out_dir`` holds a sequence.
    """
    folder = Path(out_dir)
    img_dir = folder / 'img1'
    written = [path for path in (folder / 'seqinfo.ini', folder / 'gt' / 'gt.txt') if path.exists()]
    written += sorted(img_dir.glob('*.jpg')) if img_dir.is_dir() else []
    if written and not force:
        raise MMKDError(f"'{folder}' already holds a sequence. Replace it with --force.")
    if gt is not None and not Path(gt).is_file():
        raise MMKDError(f"The ground truth '{gt}' does not exist.")
    if not Path(video).is_file():
        raise MMKDError(f"The video '{video}' does not exist.")
    reader = cv2.VideoCapture(str(video))
    try:
        if not reader.isOpened():
            raise MMKDError(f"OpenCV cannot read '{video}' as a video.")
        rate = fps if fps is not None else reader.get(cv2.CAP_PROP_FPS) or 30
        for path in written:
            path.unlink()
        img_dir.mkdir(parents=True, exist_ok=True)
        count, shape = _write_frames(reader, img_dir, first, last, quality)
    finally:
        reader.release()
    if shape is None or (last is not None and count < last - first + 1):
        raise MMKDError(
            f"'{video}' ends after {first - 1 + count} frames; frames {first} to "
            f'{last or "the end"} were asked for. What there was lies in {img_dir}.'
        )
    height, width = shape
    rate = int(rate) if rate == int(rate) else round(rate, 3)
    (folder / 'seqinfo.ini').write_text(
        f'[Sequence]\nname={folder.name}\nimDir=img1\nframeRate={rate}\nseqLength={count}\n'
        f'imWidth={width}\nimHeight={height}\nimExt=.jpg\n',
        encoding='utf-8',
    )
    summary = {
        'frames': count,
        'width': width,
        'height': height,
        'fps': rate,
        'boxes': 0,
        'skipped': {},
    }
    if gt is not None:
        boxes, skipped = _write_gt(Path(gt), folder / 'gt' / 'gt.txt', first, count, skip_bad)
        summary.update(boxes=boxes, skipped=skipped)
    return summary


def _write_frames(reader, img_dir: Path, first: int, last: int | None, quality: int) -> tuple:
    """Returns (number of frames written, (height, width) or None)."""
    number, shape = 0, None
    while last is None or number < last:
        # grab() decodes nothing that is not wanted.
        if not reader.grab():
            break
        number += 1
        if number < first:
            continue
        ok, frame = reader.retrieve()
        if not ok:
            break
        shape = frame.shape[:2]
        path = img_dir / f'{number - first + 1:06d}.jpg'
        if not cv2.imwrite(str(path), frame, [cv2.IMWRITE_JPEG_QUALITY, quality]):
            raise MMKDError(f"'{path}' cannot be written.")
    return max(0, number - first + 1), shape


def _write_gt(source: Path, target: Path, first: int, count: int, skip_bad: bool) -> tuple:
    rows, skipped = read_gt(source, frames=None, skip_bad=skip_bad)
    lines = [
        f'{row.frame - first + 1},{row.track},'
        + ','.join(f'{value:g}' if value == int(value) else repr(value) for value in row.bbox)
        + f',{row.conf:g},{row.class_id},{row.visibility:g}\n'
        for row in rows
        if first <= row.frame < first + count
    ]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(''.join(lines), encoding='utf-8')
    return len(lines), dict(skipped)
