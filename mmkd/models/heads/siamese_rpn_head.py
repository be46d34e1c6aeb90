"""SiamRPN++'s head with targets, losses and tracking that never wait for the device."""

from __future__ import annotations

import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from mmengine.structures import InstanceData
from mmtrack.models.track_heads import SiameseRPNHead as StockHead
from mmtrack.models.track_heads.siamese_rpn_head import depthwise_correlation
from torch import Tensor

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from .siamese_rpn_decode import decode, pick
from .siamese_rpn_targets import SamplingRule, SiamRPNTargets, around, siamrpn_targets


class TemplateKernels(NamedTuple):
    """A template, ready to be correlated: what of the head does not depend on the frame.

    Attributes:
        cls: Kernels (N, C, k, k) of the classification, a level each.
        reg: Kernels (N, C, k, k) of the regression, a level each.
    """

    cls: Tuple[Tensor, ...]
    reg: Tuple[Tensor, ...]


class _Grid(NamedTuple):
    """Anchors (K, 4) around the map's centre, in pixels, and windows (K,), of one map size."""

    anchors: Tensor
    windows: Tensor


@MODELS.register_module()
class SiameseRPNHead(StockHead):
    """mmtrack's head of SiamRPN++ (arXiv 1812.11703): the same weights, maps, losses and tracks.

    What differs: targets of a batch are made at once, on its device, and can be given from outside;
    losses can be had per sample; anchors and windows belong to the size of the map they are used
    with (mmtrack keeps the first it sees, wrong where training has 17 x 17 cells and testing
    21 x 21); and the template's half of the head is run once per video.

    Args:
        uniform_negatives: mmtrack draws up to 64 negative anchors of a positive pair and keeps the
            48 that come first in the map, so that the lower part of the search image is seen less
            the fewer positive anchors there are. True draws them evenly, as PySOT does.
        args: As mmtrack's.
        kwargs: As mmtrack's.

    Raises:
        MMKDError: If assigner, sampler, box coder or losses are not of the kind that SiamRPN++ has.
    """

    def __init__(self, *args, uniform_negatives: bool = False, **kwargs):
        super().__init__(*args, **kwargs)
        self.rule = SamplingRule.of(
            self.assigner, self.sampler, self.train_cfg.num_neg, uniform_negatives
        )
        coder = self.bbox_coder
        if type(coder).__name__ != 'DeltaXYWHBBoxCoder' or getattr(coder, 'add_ctr_clamp', False):
            raise MMKDError(
                'mmkd.SiameseRPNHead decodes as mmdet.DeltaXYWHBBoxCoder does without '
                f'add_ctr_clamp, but bbox_coder is {type(coder).__name__}.'
            )
        for name in ('loss_cls', 'loss_bbox'):
            reduction = getattr(getattr(self, name), 'reduction', None)
            if reduction != 'sum':
                raise MMKDError(
                    f"{name} has reduction={reduction!r}, but the anchors' weights already "
                    "average: give it reduction='sum'."
                )
        self._grids: Dict[Tuple, _Grid] = {}

    @property
    def num_anchors(self) -> int:
        """Anchors of a cell."""
        return self.anchor_generator.num_base_anchors[0]

    def grid(self, map_size: Sequence[int], device: Union[str, torch.device]) -> _Grid:
        """Anchors and windows for maps of (h, w) cells; made once, then kept."""
        key = (*map_size, str(device))
        if key not in self._grids:
            height, width = (int(size) for size in map_size)
            generator = self.anchor_generator
            anchors = generator.grid_priors([(height, width)], device=device)[0]
            step_x, step_y = generator.strides[0]
            shift = [(width // 2) * step_x, (height // 2) * step_y] * 2
            anchors = anchors - anchors.new_tensor(shift)
            windows = generator.gen_2d_hanning_windows([(height, width)], 'cpu')[0]
            if torch.device(device).type == 'mps':
                windows = windows.float()
            self._grids[key] = _Grid(anchors, windows.to(device))
        return self._grids[key]

    def kernels(self, template_feats: Sequence[Tensor]) -> TemplateKernels:
        """The template's half of the head.

        Args:
            template_feats: Maps (N, C, H, W), a level each; typically 7 x 7.
        """
        return TemplateKernels(
            tuple(head.kernel_convs(z) for head, z in zip(self.cls_heads, template_feats)),
            tuple(head.kernel_convs(z) for head, z in zip(self.reg_heads, template_feats)),
        )

    def forward(
        self, template_feats: Union[Sequence[Tensor], TemplateKernels], search_feats: Sequence
    ) -> Tuple[Tensor, Tensor]:
        """Args:
            template_feats: Maps (N, C, H, W), a level each, or what :meth:`kernels` makes of them.
            search_feats: Maps (N, C, H, W), a level each; typically 31 x 31.

        Returns:
            ``cls`` (N, 2A, h, w), the A background channels first, and ``reg`` (N, 4A, h, w).
        """
        if not isinstance(template_feats, TemplateKernels):
            return super().forward(tuple(template_feats), tuple(search_feats))
        outs = []
        for branch, kernels in (('cls', template_feats.cls), ('reg', template_feats.reg)):
            heads = getattr(self, f'{branch}_heads')
            if self.weighted_sum:
                weights: Any = getattr(self, f'{branch}_weight').softmax(dim=0)
            else:
                weights = [1.0 / len(heads)] * len(heads)
            out: Any = 0
            for i, head in enumerate(heads):
                maps = depthwise_correlation(head.search_convs(search_feats[i]), kernels[i])
                out = out + weights[i] * head.head_convs(maps)
            outs.append(out)
        return outs[0], outs[1]

    def sample_targets(
        self,
        gt_instances: Sequence[InstanceData],
        map_size: Sequence[int],
        device: Union[str, torch.device, None] = None,
    ) -> SiamRPNTargets:
        """Targets of N pairs; random, by torch's generator of the device.

        Args:
            gt_instances: Of the search images: ``bboxes`` (1, 4) xyxy in their pixels, ``labels``
                (1,), true for a positive pair.
            map_size: (h, w) of the response.
            device: Where to; None: where the boxes are.

        Raises:
            MMKDError: If a search image has not exactly one box.
        """
        counts = {len(found.bboxes) for found in gt_instances}
        if counts != {1}:
            raise MMKDError(
                'A search image has one box, that of its target, but search_gt_instances of this '
                f'batch have {sorted(counts)}.'
            )
        boxes = torch.cat([getattr(g.bboxes, 'tensor', g.bboxes) for g in gt_instances])
        positive = torch.cat([g.labels[:1] for g in gt_instances])
        boxes = boxes.to(device or boxes.device, torch.float32, non_blocking=True)
        positive = positive.to(boxes.device, non_blocking=True).bool()
        centre = self.train_cfg.search_size // 2
        stride = self.anchor_generator.strides[0]
        near = around(boxes, tuple(map_size), stride, centre)
        return siamrpn_targets(
            boxes,
            positive,
            self.grid(map_size, boxes.device).anchors + centre,
            near[..., None].expand(*near.shape, self.num_anchors).flatten(1),
            self.rule,
            self.bbox_coder.means,
            self.bbox_coder.stds,
        )

    def get_targets(self, batch_gt_instances, score_maps_size) -> Tuple[Tensor, ...]:
        """mmtrack's form of :meth:`sample_targets`: its weights are divided by N."""
        labels, label_weights, targets, weights = self.sample_targets(
            batch_gt_instances, score_maps_size
        )
        return labels, label_weights / len(labels), targets, weights / len(labels)

    def sample_losses(self, cls: Tensor, reg: Tensor, targets: SiamRPNTargets) -> Dict[str, Tensor]:
        """Losses of each pair alone; their means over the batch are what :meth:`loss` returns.

        Args:
            cls: (N, 2A, h, w).
            reg: (N, 4A, h, w).
            targets: Of N pairs, for maps of this size.

        Returns:
            ``loss_rpn_cls`` and ``loss_rpn_bbox``, (N,) float each.

        Raises:
            MMKDError: If the targets are for other maps, or for another number of pairs.
        """
        n, _, height, width = cls.shape
        expected = (n, height * width * self.num_anchors)
        if targets.labels.shape != expected:
            raise MMKDError(
                f'The targets are for (pairs, anchors) = {tuple(targets.labels.shape)}, but the '
                f'maps {tuple(cls.shape)} have {expected}.'
            )
        cls = cls.float().view(n, 2, -1, height, width).permute(0, 3, 4, 2, 1).reshape(-1, 2)
        reg = reg.float().view(n, 4, -1, height, width).permute(0, 3, 4, 2, 1).reshape(-1, 4)
        # Weighted here: given weights, mmdet's L1Loss asks the device whether all of them are 0.
        by_cls = self.loss_cls(cls, targets.labels.view(-1), reduction_override='none')
        by_reg = self.loss_bbox(reg, targets.bbox_targets.view(-1, 4), reduction_override='none')
        return dict(
            loss_rpn_cls=(by_cls.view(n, -1) * targets.label_weights).sum(dim=1),
            loss_rpn_bbox=(by_reg.view(n, -1) * targets.bbox_weights.flatten(1)).sum(dim=1),
        )

    def loss(
        self,
        template_feats: Tuple[Tensor, ...],
        search_feats: Tuple[Tensor, ...],
        data_samples: Sequence,
        targets: Optional[SiamRPNTargets] = None,
    ) -> Dict[str, Tensor]:
        """Args:
            template_feats: As :meth:`forward`.
            search_feats: As :meth:`forward`.
            data_samples: N samples with ``search_gt_instances``.
            targets: Of :meth:`sample_targets`; None: sampled here.

        Returns:
            ``loss_rpn_cls`` and ``loss_rpn_bbox``, scalars.
        """
        cls, reg = self(template_feats, search_feats)
        if targets is None:
            found = [sample.search_gt_instances for sample in data_samples]
            targets = self.sample_targets(found, cls.shape[-2:], cls.device)
        losses = self.sample_losses(cls, reg, targets)
        return {name: loss.mean() for name, loss in losses.items()}

    def loss_by_feat(
        self, cls_score, bbox_pred, batch_gt_instances, batch_search_gt_instances, batch_img_metas
    ) -> Dict[str, Tensor]:
        """mmtrack's signature of the second half of :meth:`loss`."""
        targets = self.sample_targets(
            batch_search_gt_instances, cls_score.shape[-2:], cls_score.device
        )
        losses = self.sample_losses(cls_score, bbox_pred, targets)
        return {name: loss.mean() for name, loss in losses.items()}

    def response_masks(self, targets: SiamRPNTargets) -> Dict[str, Tensor]:
        """Where on the maps the targets are.

        Returns:
            ``matched`` (N, A, h, w) float, 1 for the anchors that were sampled, and ``positive``
            (N, A, h, w) bool, those that are to be the target.
        """
        n, count = targets.labels.shape
        side = math.isqrt(count // self.num_anchors)

        def on_map(x: Tensor) -> Tensor:
            return x.view(n, side, side, self.num_anchors).permute(0, 3, 1, 2).contiguous()

        return dict(
            matched=on_map((targets.label_weights > 0).float()),
            positive=on_map(targets.labels == 1),
        )

    def predict_by_feat(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        prev_bbox: Tensor,
        scale_factor: Tensor,
        batch_img_metas: Sequence[dict],
    ) -> List[InstanceData]:
        """Args:
            cls_score: (1, 2A, h, w).
            bbox_pred: (1, 4A, h, w).
            prev_bbox: (4,) float (cx, cy, w, h) of the frame before, in pixels of the image.
            scale_factor: () float, pixels of the search image per pixel of the image.
            batch_img_metas: One entry, with ``ori_shape``.

        Returns:
            One :obj:`InstanceData`: ``bboxes`` (1, 4) xyxy and ``scores`` (1,), on the device.
        """
        height, width = cls_score.shape[-2:]
        grid = self.grid((height, width), cls_score.device)
        # (channels, A, h, w) -> (channels, h, w, A)
        # In single precision: of half precision's scores many are the same near 1.
        scores = cls_score.float().view(2, -1, height, width).permute(0, 2, 3, 1).flatten(1)
        deltas = bbox_pred.float().view(4, -1, height, width).permute(0, 2, 3, 1).flatten(1)
        centre, size = decode(grid.anchors, deltas, self.bbox_coder.means, self.bbox_coder.stds)
        box, score = pick(
            scores.softmax(dim=0)[1],
            centre,
            size,
            prev_bbox,
            scale_factor,
            grid.windows,
            self.test_cfg,
            batch_img_metas[0]['ori_shape'][:2],
        )
        return [InstanceData(bboxes=box, scores=score)]
