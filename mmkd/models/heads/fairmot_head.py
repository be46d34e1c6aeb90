"""FairMOT's head: where objects are, how large, and who they are, from one stride-4 map."""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmkd.distill.uncompiled import uncompiled
from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .fairmot_decode import Peaks, decode_peaks, split_table, to_original
from .fairmot_sample_losses import fairmot_sample_losses
from .fairmot_targets import FairMOTTargets, fairmot_targets
from .identity_loss import LOSSES_ID, embedding_scale, identity_loss, make_classifier

MULTI_LOSSES = ('uncertainty', 'fixed')


@MODELS.register_module()
class FairMOTHead(BaseModule):
    """Heatmap, box sides, centre offset and identity embedding, each from a 3x3-ReLU-1x1 branch.

    The losses and constants are those of FairMOT (Zhang et al., IJCV 2021, arXiv 2004.01888;
    `code <https://github.com/ifzhang/FairMOT>`_, ``trains/mot.py``)::

        det  = heatmap + 0.1 * ltrb + offset
        loss = 0.5 * (exp(-s_det) * det + s_det) + 0.5 * (exp(-s_id) * id + s_id)

    with learned ``s_det`` and ``s_id``. The two halves are returned as ``loss_det`` and
    ``loss_id``; the raw terms are logged under names that are not summed.

    The identity classifier exists only in training, and its size is that of the data: a
    :class:`mmkd.TrackRunner` counts the identities and calls :meth:`set_num_ids`. A batch without
    known identities trains detection alone and leaves ``s_id`` where it is.

    Args:
        in_channels: Channels of the map. ``None``: :class:`mmkd.FairMOT` takes the neck's.
        num_classes: Object classes; the identities are one set over all of them.
        feat_channels: Width of the 3x3 convolutions.
        embed_dims: Length of the identity embedding.
        stride: Input pixels per cell of the map.
        topk: Peaks that are decoded, and objects of an image that are trained on.
        score_thr: Peaks below are not returned. The tracker has a threshold of its own, which
            cannot be lower than this one.
        min_overlap: IoU that fixes the Gaussians' radius.
        multi_loss: 'uncertainty' as above, or 'fixed': det + 0.1 * id.
        s_det: Start of the learned detection weight.
        s_id: Start of the learned identity weight.
        loss_id: 'cross_entropy' over the identities, or 'focal': a sigmoid for each.
        loss_heatmap: Config of the heatmap's loss.
        loss_ltrb: Config of the sides' loss.
        loss_offset: Config of the offset's loss.
        init_cfg: mmengine's initialisation config.

    Raises:
        MMKDError: For an unknown ``multi_loss`` or ``loss_id``.
    """

    def __init__(
        self,
        in_channels: Optional[int] = None,
        num_classes: int = 1,
        feat_channels: int = 256,
        embed_dims: int = 128,
        stride: int = 4,
        topk: int = 500,
        score_thr: float = 0.1,
        min_overlap: float = 0.7,
        multi_loss: str = 'uncertainty',
        s_det: float = -1.85,
        s_id: float = -1.05,
        loss_id: str = 'cross_entropy',
        loss_heatmap: Optional[dict] = None,
        loss_ltrb: Optional[dict] = None,
        loss_offset: Optional[dict] = None,
        init_cfg=None,
    ):
        super().__init__(init_cfg)
        if in_channels is None:
            raise MMKDError(
                'FairMOTHead needs in_channels, the channels of the map that it reads '
                '(inside mmkd.FairMOT they are taken from the neck).'
            )
        for name, value, choices in (
            ('multi_loss', multi_loss, MULTI_LOSSES),
            ('loss_id', loss_id, LOSSES_ID),
        ):
            if value not in choices:
                raise MMKDError(f'FairMOTHead: unknown {name} {value!r}. {nearest(value, choices)}')
        self.num_classes = num_classes
        self.embed_dims = embed_dims
        self.stride = stride
        self.topk = topk
        self.score_thr = score_thr
        self.min_overlap = min_overlap
        self.multi_loss = multi_loss
        self.loss_id = loss_id

        def branch(out_channels: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(in_channels, feat_channels, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(feat_channels, out_channels, 1),
            )

        self.heatmap = branch(num_classes)
        self.ltrb = branch(4)
        self.offset = branch(2)
        self.embedding = branch(embed_dims)

        self.s_det = nn.Parameter(torch.tensor(float(s_det)))
        self.s_id = nn.Parameter(torch.tensor(float(s_id)))
        self.id_classifier: Optional[nn.Linear] = None

        def build(cfg: Optional[dict], **default) -> nn.Module:
            return MODELS.build(default if cfg is None else cfg)

        self.loss_heatmap = build(loss_heatmap, type='mmdet.GaussianFocalLoss', loss_weight=1.0)
        self.loss_ltrb = build(loss_ltrb, type='mmdet.L1Loss', loss_weight=0.1)
        self.loss_offset = build(loss_offset, type='mmdet.L1Loss', loss_weight=1.0)

    def init_weights(self) -> None:
        """FairMOT's start: an empty heatmap (-2.19 is a score of 0.1), biases 0 elsewhere."""
        super().init_weights()
        for branch in (self.heatmap, self.ltrb, self.offset, self.embedding):
            nn.init.zeros_(branch[0].bias)
            nn.init.zeros_(branch[-1].bias)
        nn.init.constant_(self.heatmap[-1].bias, -2.19)

    # -- identities ---------------------------------------------------------------------------

    @property
    def num_ids(self) -> int:
        """Identities that the classifier tells apart; 0 while there is no classifier."""
        return 0 if self.id_classifier is None else self.id_classifier.out_features

    def set_num_ids(self, num_ids: int) -> None:
        """Sizes the identity classifier; it must happen before the optimiser is made.

        Args:
            num_ids: Identities in the training data. 0 removes the classifier: the embedding is
                then not trained.

        Raises:
            MMKDError: If ``num_ids`` is negative.
        """
        if num_ids < 0:
            raise MMKDError(f'FairMOTHead: the number of identities is {num_ids}; expected >= 0.')
        if num_ids == self.num_ids:
            return
        if num_ids == 0:
            self.id_classifier = None
            return
        classifier = make_classifier(self.embed_dims, num_ids, self.loss_id)
        self.id_classifier = classifier.to(self.s_id.device)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        """Takes the classifier of a checkpoint when there is none yet, keeps its own otherwise."""
        weight, bias = (f'{prefix}id_classifier.{name}' for name in ('weight', 'bias'))
        stored = state_dict[weight].shape[0] if weight in state_dict else None
        if stored is not None and self.id_classifier is None:
            self.set_num_ids(stored)
        elif stored is not None and stored != self.num_ids:
            print_log(
                f'The checkpoint tells {stored} identities apart and this training data has '
                f'{self.num_ids}: the identity classifier ({prefix}id_classifier) starts anew, '
                'everything else is loaded.',
                logger='current',
                level=30,
            )
            state_dict[weight] = self.id_classifier.weight.detach()
            state_dict[bias] = self.id_classifier.bias.detach()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    # -- forward ------------------------------------------------------------------------------

    def forward(self, feats: Sequence[Tensor]) -> Dict[str, Tensor]:
        """Args:
            feats: The neck's output; its first map, (N, in_channels, H, W) float, is read.

        Returns:
            ``heatmap`` (N, num_classes, H, W) logits, ``ltrb`` (N, 4, H, W) and ``offset``
            (N, 2, H, W) in cells, ``embedding`` (N, embed_dims, H, W) not normalised.
        """
        x = feats if isinstance(feats, Tensor) else feats[0]
        return dict(
            heatmap=self.heatmap(x),
            ltrb=self.ltrb(x),
            offset=self.offset(x),
            embedding=self.embedding(x),
        )

    # -- training -----------------------------------------------------------------------------

    def loss(
        self,
        feats: Sequence[Tensor],
        data_samples: Sequence,
        targets: Optional[FairMOTTargets] = None,
    ) -> Dict[str, Tensor]:
        """Args:
            feats: The neck's output.
            data_samples: One per image, with ``gt_instances`` of ``bboxes`` (k, 4) xyxy in input
                pixels, ``labels`` (k,) and, unless identities are unknown, ``instances_id`` (k,).
            targets: Theirs, if they are made already.

        Returns:
            ``loss_det`` and ``loss_id``, whose sum is trained, and the logged raw terms
            ``det_heatmap``, ``det_ltrb``, ``det_offset`` (each with its weight) and ``id_ce`` (or
            ``id_focal``).
        """
        outputs = self(feats)
        if targets is None:
            targets = self.get_targets(data_samples, tuple(outputs['heatmap'].shape[-2:]))
        return self.loss_by_targets(outputs, targets)

    @uncompiled
    def get_targets(self, data_samples: Sequence, map_size: Tuple[int, int]) -> FairMOTTargets:
        """Targets of the batch; see :func:`fairmot_targets`."""
        instances = [sample.gt_instances for sample in data_samples]
        unknown = [torch.full_like(gt.labels, -1) for gt in instances]
        return fairmot_targets(
            [gt.bboxes for gt in instances],
            [gt.labels for gt in instances],
            [gt.get('instances_id', none) for gt, none in zip(instances, unknown)],
            self.num_classes,
            map_size,
            self.stride,
            self.min_overlap,
            self.topk,
        )

    def loss_by_targets(
        self, outputs: Dict[str, Tensor], targets: FairMOTTargets
    ) -> Dict[str, Tensor]:
        """The losses of :meth:`forward`'s outputs against targets, in float32."""
        score = outputs['heatmap'].float().sigmoid().clamp(1e-4, 1 - 1e-4)
        positives = targets.heatmap.eq(1).sum().clamp(min=1)
        det_heatmap = self.loss_heatmap(score, targets.heatmap, avg_factor=positives)

        def at_centres(name: str) -> Tensor:
            return outputs[name][targets.batch_index, :, targets.y, targets.x].float()

        def regression(criterion: nn.Module, name: str, target: Tensor) -> Tensor:
            weight = targets.valid[:, None].expand_as(target)
            # Not as the loss's own weight: mmdet then waits for the device to see if all are 0.
            return criterion(
                at_centres(name) * weight, target * weight, avg_factor=weight.sum() + 1e-4
            )

        det_ltrb = regression(self.loss_ltrb, 'ltrb', targets.ltrb)
        det_offset = regression(self.loss_offset, 'offset', targets.offset)
        id_term, has_ids = self._identity_loss(at_centres('embedding'), targets.ids)

        det = det_heatmap + det_ltrb + det_offset
        if self.multi_loss == 'uncertainty':
            loss_det = 0.5 * (torch.exp(-self.s_det) * det + self.s_det)
            # Without the factor, a run of batches without identities would let s_id sink for ever.
            loss_id = 0.5 * (torch.exp(-self.s_id) * id_term + self.s_id * has_ids)
        else:
            loss_det = det + 0.0 * self.s_det
            loss_id = 0.1 * id_term + 0.0 * self.s_id
        raw_id = 'id_focal' if self.loss_id == 'focal' else 'id_ce'
        return {
            'loss_det': loss_det,
            'loss_id': loss_id,
            'det_heatmap': det_heatmap.detach(),
            'det_ltrb': det_ltrb.detach(),
            'det_offset': det_offset.detach(),
            raw_id: id_term.detach(),
        }

    def sample_losses(self, outputs: Dict[str, Tensor], targets: FairMOTTargets) -> Tensor:
        """(N,): the detection loss of each image; see :func:`fairmot_sample_losses`."""
        return fairmot_sample_losses(
            outputs, targets, self.loss_heatmap, self.loss_ltrb, self.loss_offset
        )

    def _identity_loss(self, embedding: Tensor, ids: Tensor) -> Tuple[Tensor, Tensor]:
        """:func:`identity_loss` of the scaled, normalised embeddings.

        Args:
            embedding: (K, embed_dims) float.
            ids: (K,) long, -1 where unknown.

        Returns:
            The mean over the known ones (an exact 0 with a gradient if there is none), and 1 or 0:
            whether there was one.
        """
        if self.id_classifier is None:
            # The branch stays in the graph: DDP then needs no find_unused_parameters.
            return embedding.sum() * 0.0, embedding.new_zeros(())
        scaled = F.normalize(embedding, dim=-1) * embedding_scale(self.num_ids)
        return identity_loss(self.id_classifier(scaled).float(), ids, self.loss_id)

    # -- testing ------------------------------------------------------------------------------

    @torch.no_grad()
    def predict(
        self, feats: Sequence[Tensor], data_samples: Sequence, rescale: bool = True
    ) -> List[InstanceData]:
        """Args:
            feats: The neck's output.
            data_samples: One per image; ``homography_matrix`` (3, 3), original to input, is what
                leads the boxes back.
            rescale: Whether to lead them back.

        Returns:
            Per image ``bboxes`` (k, 4) xyxy in pixels, ``scores`` (k,), ``labels`` (k,) and
            ``embeddings`` (k, embed_dims) of unit length; best first, not clipped to the image.
            They are on the host: the batch is brought over in one transfer, the only time that
            the host waits for the device.
        """
        peaks = decode_peaks(**self(feats), topk=self.topk)
        return self._results(peaks, data_samples, rescale)

    @uncompiled
    def _results(self, peaks: Peaks, data_samples: Sequence, rescale: bool) -> List[InstanceData]:
        results = []
        for table, sample in zip(peaks.table().cpu(), data_samples):
            # A copy, or the best few would keep all of the batch in memory.
            found = split_table(table[table[:, 0] > self.score_thr].clone())
            bboxes = found.bboxes * self.stride
            if rescale:
                bboxes = to_original(bboxes.double(), _homography(sample)).float()
            results.append(
                InstanceData(
                    bboxes=bboxes,
                    scores=found.scores,
                    labels=found.labels,
                    embeddings=found.embeddings,
                )
            )
        return results


def _homography(sample) -> Tensor:
    """(3, 3) float64: the way of the original image's points into the network's input."""
    matrix = sample.metainfo.get('homography_matrix')
    if matrix is None:
        # mmdet's own resizing leaves a scale only; it never shifts an image at test time.
        scale = sample.metainfo.get('scale_factor', (1.0, 1.0))
        return torch.diag(torch.tensor([scale[0], scale[1], 1.0], dtype=torch.float64))
    return torch.as_tensor(matrix, dtype=torch.float64)
