"""The online tracker of JDE and FairMOT, over arrays instead of track objects."""

from __future__ import annotations

from typing import Callable, Tuple

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from . import kalman, matching
from .rows import Detections, Tracks


@MODELS.register_module()
class JDETracker:
    """Joins detections to tracks by appearance and motion, then by overlap.

    Association of one frame, step by step that of FairMOT's ``JDETracker``
    (``src/lib/tracker/multitracker.py`` of https://github.com/ifzhang/FairMOT; Zhang et al.,
    IJCV 2021), which refined that of JDE (Wang et al., ECCV 2020):

    1. tracked and lost tracks with the detections by cosine distance of the embeddings, fused
       with the squared Mahalanobis distance to the predicted box;
    2. tracks that were seen in the last frame and found no partner, with what is left, by IoU;
       whoever stays alone is lost;
    3. unconfirmed tracks (seen once, not predicted) with what is left, by IoU; whoever stays
       alone is removed;
    4. detections that are still left start tracks. These are confirmed by a second match, but in
       the first frame of a video at once;
    5. a lost track whose time is up is a candidate for one frame more. If that brings it back it
       is tracked like any other, but has no time left: when it is lost again it is removed at
       once;
    6. of a tracked and a lost track that cover each other the shorter-lived one is removed, and
       the tracked one if they have lived as long.

    IoU counts whole pixels, as FairMOT does. Of exact copies of a detection, which cost the same
    but for rounding, another may be chosen than there. Our addition: tracks and detections of
    different classes never meet. Every step works on whole arrays; the state is bounded by the
    number of living tracks.

    Args:
        conf_thr: Detections with a score not above it are not looked at.
        init_thr: Score from which a detection may start a track. None: ``conf_thr``.
        embed_cost_thr: Limit of step 1.
        iou_cost_thr: Limit of step 2, as 1 - IoU.
        unconfirmed_cost_thr: Limit of step 3, as 1 - IoU.
        duplicate_cost_thr: Two tracks closer than this 1 - IoU are duplicates.
        embed_momentum: Share of the old embedding in the moving average, which is normalised anew.
        embed_weight: Share of the appearance in the cost of step 1.
        track_buffer: How many frames of a 30 fps video a track may be lost; scaled by fps / 30.
            Frames are those that the tracker is given.
        min_area: Boxes of at most this many square pixels are not put out.
        max_aspect: Boxes with a larger width / height are not put out; None puts out all.
            FairMOT's values for pedestrians are ``min_area=100, max_aspect=1.6``.
    """

    def __init__(
        self,
        conf_thr: float = 0.4,
        init_thr: float | None = None,
        embed_cost_thr: float = 0.4,
        iou_cost_thr: float = 0.5,
        unconfirmed_cost_thr: float = 0.7,
        duplicate_cost_thr: float = 0.15,
        embed_momentum: float = 0.9,
        embed_weight: float = 0.98,
        track_buffer: int = 30,
        min_area: float = 0,
        max_aspect: float | None = None,
    ) -> None:
        self.conf_thr = conf_thr
        self.init_thr = conf_thr if init_thr is None else init_thr
        self.embed_cost_thr = embed_cost_thr
        self.iou_cost_thr = iou_cost_thr
        self.unconfirmed_cost_thr = unconfirmed_cost_thr
        self.duplicate_cost_thr = duplicate_cost_thr
        self.embed_momentum = embed_momentum
        self.embed_weight = embed_weight
        self.track_buffer = track_buffer
        self.min_area = min_area
        self.max_aspect = max_aspect
        self.reset()

    def reset(self) -> None:
        """Forgets every track; the next frame is a first one and ids start at 1 again."""
        self._tracks: Tracks | None = None
        self._frame_id: int | None = None
        self._frame = 0  # how many were given, whatever their ids
        self._next_id = 1

    def track(
        self,
        frame_id: int,
        bboxes: Tensor,
        scores: Tensor,
        labels: Tensor,
        embeddings: Tensor,
        fps: float | None = None,
    ) -> InstanceData:
        """Takes the detections of the next frame and tells which tracks are seen in it.

        Args:
            frame_id: Index of the frame in its video. 0 resets the tracker; otherwise it must be
                larger than the last one.
            bboxes: (m, 4) corners x1, y1, x2, y2 in pixels of the original image. Boxes of no
                height are left out: the aspect ratio that is tracked divides by it.
            scores: (m,) in 0..1.
            labels: (m,) class indices.
            embeddings: (m, D), any length; compared by their direction.
            fps: Frames per second of the video; None, 0 or NaN count as 30.

        Returns:
            On the device of ``bboxes``, ordered by id: ``bboxes`` (k, 4) float32 xyxy (filtered by
            the Kalman filter, not clipped), ``labels`` (k,) int64, ``scores`` (k,) float32 of the
            joined detections, and ``instances_id`` (k,) int64 from 1 on, unique over classes.

        Raises:
            MMKDError: If frames come in the wrong order, the lengths do not agree, or a detection
                above the threshold has a NaN or infinite box or embedding.
        """
        frame_id = int(frame_id)
        if frame_id == 0:
            self.reset()
        elif self._frame_id is not None and frame_id <= self._frame_id:
            raise MMKDError(
                f'The tracker got frame {frame_id} after frame {self._frame_id}. Frames of a video '
                'must come in order, and a new video starts with frame 0: use '
                "sampler=dict(type='mmkd.VideoSampler') and batch_size=1 for testing."
            )
        detections = self._receive(frame_id, bboxes, scores, labels, embeddings)
        self._frame_id, self._frame = frame_id, self._frame + 1
        tracks = self._tracks
        if tracks is None:
            tracks = self._start(detections)
        else:
            was_lost = tracks.lost.copy()
            removed, detections = self._associate(tracks, detections)
            tracks = self._settle(tracks, was_lost, removed, self._start(detections), fps)
        self._tracks = tracks if len(tracks) else None
        return self._output(tracks, bboxes.device)

    def _receive(
        self, frame_id: int, bboxes: Tensor, scores: Tensor, labels: Tensor, embeddings: Tensor
    ) -> Detections:
        """Checks the detections, brings them over in one transfer and keeps the confident ones."""
        lengths = [len(bboxes), len(scores), len(labels), len(embeddings)]
        if len(set(lengths)) > 1:
            raise MMKDError(
                'The tracker needs one score, label and embedding per box; got '
                '{} boxes, {} scores, {} labels and {} embeddings.'.format(*lengths)
            )
        columns = [bboxes, scores[:, None], labels[:, None], embeddings]
        table = torch.cat([column.detach().float() for column in columns], dim=1).cpu().numpy()
        table = table[table[:, 4] > self.conf_thr]
        if not np.isfinite(table).all():
            raise MMKDError(
                f'A detection of frame {frame_id} has a NaN or infinite box or embedding: the '
                'model has diverged, or its arithmetic overflowed (try without --amp).'
            )
        # FairMOT, too, takes the size in single precision and goes on in double.
        size = table[:, 2:4] - table[:, :2]
        has_height = size[:, 1] != 0
        if not has_height.all():
            table, size = table[has_height], size[has_height]
        if self._tracks is not None:
            expected = self._tracks.embeddings.shape[1]
            if not len(table):
                table = np.zeros((0, 6 + expected), dtype=table.dtype)
            elif table.shape[1] - 6 != expected:
                raise MMKDError(
                    f'The embeddings of frame {frame_id} have {table.shape[1] - 6} dimensions, '
                    f'those of the frames before had {expected}.'
                )
        corner, size = table[:, :2].astype(np.float64), size.astype(np.float64)
        return Detections(
            measurements=kalman.measure(corner, size),
            boxes=np.concatenate([corner, corner + size], axis=1),
            scores=table[:, 4],
            labels=table[:, 5].astype(np.int64),
            embeddings=_normalise(table[:, 6:].astype(np.float64)),
        )

    def _start(self, detections: Detections) -> Tracks:
        """New tracks from the detections that nobody took, in their order."""
        detections = detections.take(detections.scores >= self.init_thr)
        started = Tracks.start(
            detections, self._next_id, frame=self._frame, confirmed=self._frame == 1
        )
        self._next_id += len(started)
        return started

    def _associate(self, tracks: Tracks, detections: Detections) -> Tuple[np.ndarray, Detections]:
        """Steps 1 to 3; updates ``tracks``.

        Returns:
            Indices of the tracks to remove, and the detections nobody took.
        """
        self._predict(tracks)
        # Indices of the detections that have no partner yet, and the pairs made so far.
        free = np.arange(len(detections))
        pairs = [(free[:0], free[:0])]

        def match(candidates: np.ndarray, cost_of: Callable, limit: float) -> np.ndarray:
            """Makes pairs; returns the candidates left alone."""
            nonlocal free
            if not len(candidates) or not len(free):
                return candidates
            cost = cost_of(candidates, free)
            matching.forbid_other_class(cost, tracks.labels[candidates], detections.labels[free])
            rows, columns = matching.assign(cost, limit)
            pairs.append((candidates[rows], free[columns]))
            free = _without(free, columns)
            return _without(candidates, rows)

        def appearance_and_motion(index: np.ndarray, partners: np.ndarray) -> np.ndarray:
            return matching.fuse_motion(
                matching.cosine_cost(tracks.embeddings[index], detections.embeddings[partners]),
                tracks.mean[index],
                tracks.covariance[index],
                detections.measurements[partners],
                weight=self.embed_weight,
            )

        def overlap(index: np.ndarray, partners: np.ndarray) -> np.ndarray:
            boxes = kalman.xyah_to_xyxy(tracks.mean[index])
            return matching.iou_cost(boxes, detections.boxes[partners])

        confirmed = np.flatnonzero(tracks.confirmed)
        alone = match(confirmed, appearance_and_motion, self.embed_cost_thr)
        alone = match(alone[~tracks.lost[alone]], overlap, self.iou_cost_thr)
        fresh = np.flatnonzero(~tracks.confirmed)
        unseen = match(fresh, overlap, self.unconfirmed_cost_thr)

        tracks.lost[alone] = True
        index, partners = (np.concatenate(side) for side in zip(*pairs))
        self._update(tracks, index, detections.take(partners))
        return unseen, detections.take(free)

    @staticmethod
    def _predict(tracks: Tracks) -> None:
        """Moves confirmed tracks one frame on; unconfirmed ones have no velocity yet."""
        # A lost track's height would drift on with nothing to correct it.
        tracks.mean[tracks.lost, 7] = 0
        index = slice(None) if tracks.confirmed.all() else tracks.confirmed
        tracks.mean[index], tracks.covariance[index] = kalman.predict(
            tracks.mean[index], tracks.covariance[index]
        )

    def _update(self, tracks: Tracks, index: np.ndarray, detections: Detections) -> None:
        """Corrects tracks ``index`` by the detections they were matched with."""
        tracks.mean[index], tracks.covariance[index] = kalman.update(
            tracks.mean[index], tracks.covariance[index], detections.measurements
        )
        tracks.embeddings[index] = _normalise(
            self.embed_momentum * tracks.embeddings[index]
            + (1 - self.embed_momentum) * detections.embeddings
        )
        tracks.scores[index] = detections.scores
        tracks.last[index] = self._frame
        tracks.confirmed[index] = True
        tracks.lost[index] = False

    def _settle(
        self,
        tracks: Tracks,
        was_lost: np.ndarray,
        removed: np.ndarray,
        started: Tracks,
        fps: float | None,
    ) -> Tracks:
        """Steps 4 to 6: who is there after this frame, in which order."""
        # First who was tracked all along, who is new, who was found; then the lost, old ones first.
        rank = np.where(tracks.lost, 4 - was_lost, 2 * was_lost)
        # Expired before this frame.
        rank[tracks.lost & tracks.expired] = -1
        rank[removed] = -1
        # `fps > 0` is false for NaN, which some videos' headers hold. Not seen for one frame: was
        # lost in this one, and that is looked at from the next one on.
        patience = int((fps if fps and fps > 0 else 30.0) / 30.0 * self.track_buffer)
        tracks.expired |= tracks.lost & (self._frame - tracks.last > max(patience, 1))
        if len(started):
            tracks = tracks.join(started)
            rank = np.append(rank, np.ones(len(started), dtype=rank.dtype))
        if rank.any():
            order = np.argsort(rank, kind='stable')
            tracks = tracks.take(order[np.count_nonzero(rank < 0) :])
        duplicates = self._duplicates(tracks)
        if not len(duplicates):
            return tracks
        return tracks.take(_without(np.arange(len(tracks)), duplicates))

    def _duplicates(self, tracks: Tracks) -> np.ndarray:
        """Indices of the tracks that step 6 removes."""
        seen, lost = np.flatnonzero(~tracks.lost), np.flatnonzero(tracks.lost)
        if not len(lost):
            return lost
        boxes = kalman.xyah_to_xyxy(tracks.mean)
        cost = matching.iou_cost(boxes[seen], boxes[lost])
        matching.forbid_other_class(cost, tracks.labels[seen], tracks.labels[lost])
        rows, columns = np.nonzero(cost < self.duplicate_cost_thr)
        age = tracks.last - tracks.first
        older = age[seen[rows]] > age[lost[columns]]
        return np.concatenate([lost[columns[older]], seen[rows[~older]]])

    def _output(self, tracks: Tracks, device: torch.device) -> InstanceData:
        width, height = tracks.mean[:, 2] * tracks.mean[:, 3], tracks.mean[:, 3]
        keep = tracks.confirmed & ~tracks.lost & (width * height > self.min_area)
        if self.max_aspect is not None:
            keep &= width / height <= self.max_aspect
        keep = np.flatnonzero(keep)
        keep = keep[np.argsort(tracks.ids[keep])]
        columns = {
            'bboxes': kalman.xyah_to_xyxy(tracks.mean[keep]).astype(np.float32),
            'labels': tracks.labels[keep],
            'scores': tracks.scores[keep].astype(np.float32),
            'instances_id': tracks.ids[keep],
        }
        return InstanceData(
            **{name: torch.from_numpy(column).to(device) for name, column in columns.items()}
        )


def _without(values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """``values`` but those at ``positions``, in their order."""
    keep = np.ones(len(values), dtype=bool)
    keep[positions] = False
    return values[keep]


def _normalise(vectors: np.ndarray) -> np.ndarray:
    """Rows of unit length; a row of zeros stays one."""
    length = np.sqrt(np.einsum('ij,ij->i', vectors, vectors))
    return vectors / np.maximum(length, np.finfo(vectors.dtype).tiny)[:, None]
