"""The online tracker of JDE and FairMOT, over arrays instead of track objects."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import List, Tuple

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from . import kalman, matching


@dataclass
class _Detections:
    """What one frame brings: boxes (m, 4) xyxy, scores, labels (m,), unit embeddings (m, D)."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    embeddings: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, index: np.ndarray) -> _Detections:
        return _Detections(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass
class _Tracks:
    """Every living track, one row in each array.

    A track is *unconfirmed* until it was seen twice, then *tracked*, or *lost* while unseen.
    """

    ids: np.ndarray  # (n,) int64, ascending: new tracks are appended
    labels: np.ndarray  # (n,) int64
    scores: np.ndarray  # (n,) of the last detection
    embeddings: np.ndarray  # (n, D) unit length, moving average
    mean: np.ndarray  # (n, 8), see kalman
    covariance: np.ndarray  # (n, 3, 4), see kalman
    first_frame: np.ndarray  # (n,) int64
    last_frame: np.ndarray  # (n,) int64, of the last detection
    confirmed: np.ndarray  # (n,) bool
    lost: np.ndarray  # (n,) bool, only confirmed tracks can be

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: np.ndarray) -> _Tracks:
        return _Tracks(*(getattr(self, field.name)[index] for field in fields(self)))

    def join(self, other: _Tracks) -> _Tracks:
        return _Tracks(
            *(
                np.concatenate([getattr(self, field.name), getattr(other, field.name)])
                for field in fields(self)
            )
        )

    @property
    def boxes(self) -> np.ndarray:
        return kalman.xyah_to_xyxy(self.mean)


@MODELS.register_module()
class JDETracker:
    """Joins detections to tracks by appearance and motion, then by overlap.

    Association of one frame, after FairMOT's ``JDETracker`` (https://github.com/ifzhang/FairMOT,
    Zhang et al., IJCV 2021), which refined that of JDE (Wang et al., ECCV 2020):

    1. tracked and lost tracks with the detections by cosine distance of the embeddings, fused
       with the squared Mahalanobis distance to the predicted box;
    2. tracks that were seen in the last frame and found no partner, with what is left, by IoU;
       whoever stays alone is lost;
    3. unconfirmed tracks (seen once) with what is left, by IoU; whoever stays alone is removed;
    4. detections that are still left start tracks. These are confirmed by a second match, but in
       the first frame of a video at once.

    Tracks lost for too long are removed, and of a tracked and a lost track that cover each other
    the shorter-lived one. Tracks and detections of different classes never meet. Every stage works
    on whole arrays; the state is bounded by the number of living tracks.

    Two differences from the original's code: a track whose time is up is removed in that frame
    (there it stays a candidate for one frame more), and IoU is that of continuous boxes (there
    sizes are counted in whole pixels, +1).

    Args:
        conf_thr: Detections with a score not above it are not looked at.
        init_thr: Score from which a detection may start a track. None: ``conf_thr``.
        embed_cost_thr: Limit of stage 1.
        iou_cost_thr: Limit of stage 2, as 1 - IoU.
        unconfirmed_cost_thr: Limit of stage 3, as 1 - IoU.
        duplicate_cost_thr: Two tracks closer than this 1 - IoU are duplicates.
        embed_momentum: Share of the old embedding in the moving average, which is normalised anew.
        embed_weight: Share of the appearance in the cost of stage 1.
        track_buffer: How many frames of a 30 fps video a track may be lost; scaled by fps / 30.
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
        self._tracks: _Tracks | None = None
        self._frame_id: int | None = None
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
            bboxes: (m, 4) corners x1, y1, x2, y2 in pixels of the original image. Boxes without
                an area are left out.
            scores: (m,) in 0..1.
            labels: (m,) class indices.
            embeddings: (m, D), any length but 0; compared by their direction.
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
        first = self._frame_id is None
        detections = self._receive(frame_id, bboxes, scores, labels, embeddings)
        self._frame_id = frame_id
        if self._tracks is not None and len(self._tracks):
            detections = self._associate(detections, frame_id)
        detections = detections.take(detections.scores >= self.init_thr)
        started = self._start(detections, frame_id, confirmed=first)
        if self._tracks is not None and len(self._tracks):
            started = self._tracks.join(started)
        self._tracks = started
        self._forget(frame_id, fps)
        return self._output(bboxes.device)

    def _receive(
        self, frame_id: int, bboxes: Tensor, scores: Tensor, labels: Tensor, embeddings: Tensor
    ) -> _Detections:
        """Checks the detections, brings them over in one transfer and keeps the confident ones."""
        lengths = [len(bboxes), len(scores), len(labels), len(embeddings)]
        if len(set(lengths)) > 1:
            raise MMKDError(
                'The tracker needs one score, label and embedding per box; got '
                '{} boxes, {} scores, {} labels and {} embeddings.'.format(*lengths)
            )
        columns = [bboxes, scores[:, None], labels[:, None], embeddings]
        table = torch.cat([column.detach().float() for column in columns], dim=1).cpu().numpy()
        table = table[table[:, 4] > self.conf_thr].astype(np.float64)
        if not np.isfinite(table).all():
            raise MMKDError(
                f'A detection of frame {frame_id} has a NaN or infinite box or embedding: the '
                'model has diverged, or its arithmetic overflowed (try without --amp).'
            )
        table = table[(table[:, 2] > table[:, 0]) & (table[:, 3] > table[:, 1])]
        if self._tracks is not None and len(self._tracks):
            expected = self._tracks.embeddings.shape[1]
            if not len(table):
                table = table[:, :1].repeat(6 + expected, axis=1)
            elif table.shape[1] - 6 != expected:
                raise MMKDError(
                    f'The embeddings of frame {frame_id} have {table.shape[1] - 6} dimensions, '
                    f'those of the frames before had {expected}.'
                )
        return _Detections(
            boxes=table[:, :4],
            scores=table[:, 4],
            labels=table[:, 5].astype(np.int64),
            embeddings=_normalise(table[:, 6:]),
        )

    def _start(self, detections: _Detections, frame_id: int, confirmed: bool) -> _Tracks:
        """New tracks from detections, in their order."""
        count = len(detections)
        mean, covariance = kalman.initiate(kalman.xyxy_to_xyah(detections.boxes))
        ids = np.arange(self._next_id, self._next_id + count, dtype=np.int64)
        self._next_id += count
        return _Tracks(
            ids=ids,
            labels=detections.labels,
            scores=detections.scores,
            embeddings=detections.embeddings,
            mean=mean,
            covariance=covariance,
            first_frame=np.full(count, frame_id, dtype=np.int64),
            last_frame=np.full(count, frame_id, dtype=np.int64),
            confirmed=np.full(count, confirmed),
            lost=np.zeros(count, dtype=bool),
        )

    def _associate(self, detections: _Detections, frame_id: int) -> _Detections:
        """Stages 1 to 3; updates the tracks and returns the detections nobody took."""
        tracks = self._tracks
        self._predict(tracks)
        boxes = tracks.boxes
        # Indices of what has no partner yet, and the pairs made so far.
        free = np.arange(len(detections))
        pairs: List[Tuple[np.ndarray, np.ndarray]] = []

        def match(candidates: np.ndarray, cost: np.ndarray, limit: float) -> np.ndarray:
            """Makes pairs; returns the candidates left alone."""
            nonlocal free
            matching.forbid_other_class(cost, tracks.labels[candidates], detections.labels[free])
            rows, columns = matching.assign(cost, limit)
            pairs.append((candidates[rows], free[columns]))
            free = np.delete(free, columns)
            return np.delete(candidates, rows)

        known = np.flatnonzero(tracks.confirmed)
        cost = matching.fuse_motion(
            matching.cosine_cost(tracks.embeddings[known], detections.embeddings),
            tracks.mean[known],
            tracks.covariance[known],
            kalman.xyxy_to_xyah(detections.boxes),
            weight=self.embed_weight,
        )
        alone = match(known, cost, self.embed_cost_thr)
        alone = alone[~tracks.lost[alone]]
        cost = matching.iou_cost(boxes[alone], detections.boxes[free])
        alone = match(alone, cost, self.iou_cost_thr)
        tracks.lost[alone] = True
        fresh = np.flatnonzero(~tracks.confirmed)
        cost = matching.iou_cost(boxes[fresh], detections.boxes[free])
        unseen = match(fresh, cost, self.unconfirmed_cost_thr)

        index, partner = (np.concatenate(side) for side in zip(*pairs))
        self._update(tracks, index, detections.take(partner), frame_id)
        self._tracks = tracks.take(np.delete(np.arange(len(tracks)), unseen))
        return detections.take(free)

    @staticmethod
    def _predict(tracks: _Tracks) -> None:
        """Moves confirmed tracks one frame on; unconfirmed ones have no velocity yet."""
        # A lost track's height would drift on with nothing to correct it.
        tracks.mean[tracks.lost, 7] = 0
        known = tracks.confirmed
        tracks.mean[known], tracks.covariance[known] = kalman.predict(
            tracks.mean[known], tracks.covariance[known]
        )

    def _update(
        self, tracks: _Tracks, index: np.ndarray, detections: _Detections, frame_id: int
    ) -> None:
        """Corrects tracks ``index`` by the detections they were matched with."""
        tracks.mean[index], tracks.covariance[index] = kalman.update(
            tracks.mean[index], tracks.covariance[index], kalman.xyxy_to_xyah(detections.boxes)
        )
        tracks.embeddings[index] = _normalise(
            self.embed_momentum * tracks.embeddings[index]
            + (1 - self.embed_momentum) * detections.embeddings
        )
        tracks.scores[index] = detections.scores
        tracks.last_frame[index] = frame_id
        tracks.confirmed[index] = True
        tracks.lost[index] = False

    def _forget(self, frame_id: int, fps: float | None) -> None:
        """Removes tracks that are lost for too long, and duplicates."""
        # `fps > 0` is false for NaN, which some videos' headers hold.
        patience = int((fps if fps and fps > 0 else 30.0) / 30.0 * self.track_buffer)
        tracks = self._tracks
        tracks = tracks.take(~(tracks.lost & (frame_id - tracks.last_frame > patience)))
        seen, lost = np.flatnonzero(~tracks.lost), np.flatnonzero(tracks.lost)
        boxes = tracks.boxes
        cost = matching.iou_cost(boxes[seen], boxes[lost])
        matching.forbid_other_class(cost, tracks.labels[seen], tracks.labels[lost])
        rows, columns = np.nonzero(cost < self.duplicate_cost_thr)
        age = tracks.last_frame - tracks.first_frame
        older = age[seen[rows]] > age[lost[columns]]
        drop = np.concatenate([lost[columns[older]], seen[rows[~older]]])
        self._tracks = tracks.take(np.delete(np.arange(len(tracks)), drop))

    def _output(self, device: torch.device) -> InstanceData:
        tracks = self._tracks.take(self._tracks.confirmed & ~self._tracks.lost)
        boxes = tracks.boxes
        size = boxes[:, 2:] - boxes[:, :2]
        keep = np.prod(size, axis=1) > self.min_area
        if self.max_aspect is not None:
            keep &= size[:, 0] <= self.max_aspect * size[:, 1]
        return InstanceData(
            bboxes=torch.as_tensor(boxes[keep], dtype=torch.float32, device=device),
            labels=torch.as_tensor(tracks.labels[keep], device=device),
            scores=torch.as_tensor(tracks.scores[keep], dtype=torch.float32, device=device),
            instances_id=torch.as_tensor(tracks.ids[keep], device=device),
        )


def _normalise(embeddings: np.ndarray) -> np.ndarray:
    """Rows of unit length; a row of zeros stays one."""
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings / np.maximum(length, np.finfo(embeddings.dtype).tiny)
