"""Draws tracks on frames."""

from __future__ import annotations

import colorsys
import math
from collections import deque
from typing import Deque, Dict, List, Sequence, Tuple

import cv2
import numpy as np

Colour = Tuple[int, int, int]
Rectangle = Tuple[int, int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Fraction of the hue circle between consecutive ids: the golden ratio keeps neighbours apart.
_HUE_STEP = 0.61803398875
# Smaller frames are enlarged before drawing, or the labels would cover what they name.
_READABLE_SIDE = 480


def colour_of(track_id: int) -> Colour:
    """BGR colour of an id: the same in every frame, run and machine."""
    hue = (track_id * _HUE_STEP) % 1.0
    # Three tones, so that the hues that come close again after some ids still differ.
    saturation, value = ((0.85, 1.0), (0.55, 1.0), (0.9, 0.8))[track_id // 7 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return int(255 * blue), int(255 * green), int(255 * red)


class TrackPainter:
    """Draws boxes, ids, class names and trails; remembers where tracks were.

    Args:
        classes: Class names by label. With fewer than two the names are not drawn.
        trail: Length of the trail in frames; 0 draws none. The trail follows the middle of a
            box's lower edge, where a walker meets the ground.
        show_scores: Adds the score to the label.
        caption: Writes frame number and number of tracks into the upper left corner.
        scale: Enlargement of the frame, an integer. None: as much as makes the shorter side at
            least 480 pixels.
    """

    def __init__(
        self,
        classes: Sequence[str] = (),
        trail: int = 30,
        show_scores: bool = False,
        caption: bool = True,
        scale: int | None = None,
    ) -> None:
        self.classes = tuple(classes)
        self.trail = trail
        self.show_scores = show_scores
        self.caption = caption
        self.scale = scale
        self._trails: Dict[int, Deque[Tuple[float, float]]] = {}
        self._frame = -1

    def paint(
        self,
        image: np.ndarray,
        boxes: np.ndarray,
        ids: np.ndarray,
        labels: np.ndarray | None = None,
        scores: np.ndarray | None = None,
    ) -> np.ndarray:
        """Draws the tracks of the next frame.

        Args:
            image: (H, W, 3) uint8 BGR; not changed.
            boxes: (k, 4) corners in pixels of ``image``; may reach outside.
            ids: (k,) integers.
            labels: (k,) class indices.
            scores: (k,) in 0..1.

        Returns:
            (s * H, s * W, 3) uint8 BGR, s being the enlargement.
        """
        self._frame += 1
        scale = self.scale or max(1, math.ceil(_READABLE_SIDE / min(image.shape[:2])))
        if scale > 1:
            canvas = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        else:
            canvas = image.copy()
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4) * scale
        # OpenCV takes 32-bit coordinates; nothing far outside is visible anyway.
        boxes = np.clip(boxes, -1e4, 1e5)
        ids = [int(i) for i in ids]
        thickness = max(1, round(min(canvas.shape[:2]) / 300))
        self._remember(boxes, ids)
        self._draw_trails(canvas, thickness)
        # Who stands lower is nearer to the camera and drawn over the others.
        order = np.argsort(boxes[:, 3], kind='stable')
        for i in order:
            x1, y1, x2, y2 = boxes[i].round().astype(int).tolist()
            cv2.rectangle(canvas, (x1, y1), (x2, y2), colour_of(ids[i]), thickness, cv2.LINE_AA)
        taken: List[Rectangle] = []
        # Labels in the opposite order: the nearest gets its place, the others make way.
        for i in order[::-1]:
            text = self._label(
                ids[i],
                None if labels is None else int(labels[i]),
                None if scores is None else float(scores[i]),
            )
            _draw_label(canvas, text, boxes[i], colour_of(ids[i]), taken)
        if self.caption:
            _draw_caption(canvas, f'frame {self._frame + 1}   {len(ids)} tracks')
        return canvas

    def _label(self, track_id: int, label: int | None, score: float | None) -> str:
        parts = [str(track_id)]
        if label is not None and len(self.classes) > 1:
            known = 0 <= label < len(self.classes)
            parts.append(self.classes[label] if known else f'class {label}')
        if self.show_scores and score is not None:
            parts.append(f'{score:.2f}')
        return ' '.join(parts)

    def _remember(self, boxes: np.ndarray, ids: Sequence[int]) -> None:
        if not self.trail:
            return
        for (x1, _, x2, y2), i in zip(boxes.tolist(), ids):
            points = self._trails.setdefault(i, deque(maxlen=self.trail))
            points.append(((x1 + x2) / 2, y2))
        # A trail across a gap would be a guess, so it ends where the track is not seen.
        for i in self._trails.keys() - set(ids):
            del self._trails[i]

    def _draw_trails(self, canvas: np.ndarray, thickness: int) -> None:
        """Older parts are thinner."""
        for i, points in self._trails.items():
            line = np.array(points).round().astype(int)
            for k in range(1, len(line)):
                width = max(1, round(2 * thickness * k / len(line)))
                cv2.line(
                    canvas,
                    tuple(line[k - 1].tolist()),
                    tuple(line[k].tolist()),
                    colour_of(i),
                    width,
                    cv2.LINE_AA,
                )


def _font_scale(canvas: np.ndarray) -> float:
    return max(0.4, min(canvas.shape[:2]) / 1200)


def _draw_label(
    canvas: np.ndarray, text: str, box: np.ndarray, colour: Colour, taken: List[Rectangle]
) -> None:
    """Text on a ground of the track's colour, above the box or, at the upper border, inside.

    Args:
        canvas: Drawn on.
        text: What to write.
        box: (4,) corners of the track.
        colour: Of the track.
        taken: Rectangles x1, y1, x2, y2 of the labels drawn before; this one avoids them, if it can
            by moving up a little, and is added.
    """
    scale = _font_scale(canvas)
    thickness = max(1, round(scale * 1.5))
    (width, height), baseline = cv2.getTextSize(text, _FONT, scale, thickness)
    pad = max(2, round(4 * scale))
    width, height = width + 2 * pad, height + baseline + pad
    x1, y1, x2, y2 = box.round().astype(int).tolist()
    if x2 < 0 or y2 < 0 or x1 >= canvas.shape[1] or y1 >= canvas.shape[0]:
        return
    left = min(max(x1, 0), max(0, canvas.shape[1] - width))
    top = y1 - height if y1 >= height else max(y1, 0)
    for up in range(4):
        place = (left, top - up * height, left + width, top - (up - 1) * height)
        if place[1] >= 0 and not any(_overlap(place, other) for other in taken):
            top = place[1]
            break
    taken.append((left, top, left + width, top + height))
    cv2.rectangle(canvas, (left, top), (left + width, top + height), colour, cv2.FILLED)
    blue, green, red = colour
    # Perceived brightness (ITU-R BT.601) decides between black and white letters.
    dark = 0.114 * blue + 0.587 * green + 0.299 * red < 128
    cv2.putText(
        canvas,
        text,
        (left + pad, top + height - baseline),
        _FONT,
        scale,
        (255, 255, 255) if dark else (0, 0, 0),
        thickness,
        cv2.LINE_AA,
    )


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _draw_caption(canvas: np.ndarray, text: str) -> None:
    """White on black letters' outline: readable on any background, hides little of it."""
    scale = _font_scale(canvas) * 1.2
    thickness = max(1, round(scale * 1.5))
    (_, height), baseline = cv2.getTextSize(text, _FONT, scale, thickness)
    origin = (baseline, height + baseline)
    cv2.putText(canvas, text, origin, _FONT, scale, (0, 0, 0), thickness + 2, cv2.LINE_AA)
    cv2.putText(canvas, text, origin, _FONT, scale, (255, 255, 255), thickness, cv2.LINE_AA)
