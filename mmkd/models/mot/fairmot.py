"""FairMOT: detection and re-identification by one network, in one pass."""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Tuple, Union

import torch
from mmtrack.models.mot import BaseMultiObjectTracker
from torch import Tensor

from mmkd.distill.uncompiled import uncompiled
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..heads.fairmot_targets import FairMOTTargets


@MODELS.register_module()
class FairMOT(BaseMultiObjectTracker):
    """FairMOT (Zhang et al., IJCV 2021, arXiv 2004.01888) as an mmtrack tracker.

    Args:
        backbone: Config of the backbone; any that returns its maps finest first.
        neck: Config of the neck that makes one map of them. It may be left out if the backbone
            returns that one map.
        head: Config of :class:`mmkd.FairMOTHead`. ``in_channels`` is taken from the neck's
            ``out_channels`` if it is not there.
        tracker: Config of the tracker; without one the model detects only.
        data_preprocessor: Config of mmtrack's TrackDataPreprocessor.
        init_cfg: mmengine's initialisation config.

    Attributes:
        response_taps: Where a distiller reads its answer; with :meth:`sample_targets`,
            :meth:`sample_losses` and :meth:`response_masks` it is a
            :class:`mmkd.distill.response.Respondent`.
    """

    response_taps = {name: f'head[{name}]' for name in ('heatmap', 'ltrb', 'offset', 'embedding')}

    def __init__(
        self,
        backbone: dict,
        head: dict,
        neck: Optional[dict] = None,
        tracker: Optional[dict] = None,
        data_preprocessor: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck) if neck is not None else None
        head = dict(head)
        if head.get('in_channels') is None and hasattr(self.neck, 'out_channels'):
            head['in_channels'] = self.neck.out_channels
        self.head = MODELS.build(head)
        self.tracker = MODELS.build(tracker) if tracker is not None else None

    @property
    def num_classes(self) -> int:
        """Object classes that the head has an output for."""
        return self.head.num_classes

    def set_num_ids(self, num_ids: int) -> None:
        """Sizes the identity classifier for the training data; see :class:`mmkd.TrackRunner`."""
        self.head.set_num_ids(num_ids)

    def extract_feat(self, img: Tensor) -> Sequence[Tensor]:
        """Args:
            img: (N, 3, H, W) float, as the data preprocessor makes it.

        Returns:
            The maps that the head reads.
        """
        x = self.backbone(img)
        return self.neck(x) if self.neck is not None else x

    @staticmethod
    def _images(inputs: Union[Tensor, Dict[str, Tensor]]) -> Tensor:
        """One frame per sample: (N, 1, 3, H, W) under 'img', or (N, 3, H, W) alone."""
        img = inputs if isinstance(inputs, Tensor) else inputs['img']
        if img.dim() == 4:
            return img
        if img.shape[1] != 1:
            raise MMKDError(
                f'FairMOT reads one frame at a time, but a sample has {img.shape[1]} '
                f'(inputs["img"] is {tuple(img.shape)}). Set ref_img_sampler=None in the dataset '
                'and pack_single_img=True in PackTrackInputs.'
            )
        return img[:, 0]

    def loss(
        self,
        inputs: Dict[str, Tensor],
        data_samples: Sequence,
        targets: Optional[FairMOTTargets] = None,
        **kwargs,
    ) -> Dict[str, Tensor]:
        """Args:
        inputs: ``img`` (N, 1, 3, H, W) float.
        data_samples: N samples; see :meth:`FairMOTHead.loss`.
        targets: Those of :meth:`sample_targets`; made here by default.
        """
        return self.head.loss(self.extract_feat(self._images(inputs)), data_samples, targets)

    # For distillers that compare answers.

    def sample_targets(
        self, data_samples: Sequence, device: Optional[torch.device] = None
    ) -> FairMOTTargets:
        """Targets of a batch, before any network has run.

        Args:
            data_samples: N samples as the data preprocessor leaves them: ``gt_instances`` (see
                :meth:`FairMOTHead.loss`) and ``batch_input_shape`` (h, w).
            device: Where the targets are wanted; None: where the boxes are.

        Raises:
            MMKDError: Nobody says how large the input is.
        """
        targets = self.head.get_targets(data_samples, self._map_size(data_samples))
        if device is None:
            return targets
        return FairMOTTargets(*(value.to(device, non_blocking=True) for value in targets))

    def _map_size(self, data_samples: Sequence) -> Tuple[int, int]:
        metainfo = data_samples[0].metainfo if len(data_samples) else {}
        size = metainfo.get('batch_input_shape')
        if size is None:
            raise MMKDError(
                'FairMOT samples targets for an input of batch_input_shape, which '
                "TrackDataPreprocessor writes into each sample's metainfo; found "
                f'{sorted(metainfo) or "nothing"}.'
            )
        # A clip of several frames has a list; they are of one size.
        height, width = size[0] if isinstance(size, list) else size
        return tuple(-(-int(side) // self.head.stride) for side in (height, width))

    def sample_losses(self, outputs: Dict[str, Tensor], targets: FairMOTTargets) -> Tensor:
        """The detection loss of each image, of this model's maps or of another's.

        Args:
            outputs: Maps by the names of :attr:`response_taps`; the embedding is not read.
            targets: Of the same images.

        Returns:
            (N,) float32; see :func:`mmkd.models.heads.fairmot_sample_losses.fairmot_sample_losses`
            for how it differs from the batch's loss.
        """
        return self.head.sample_losses(outputs, targets)

    def response_masks(self, targets: FairMOTTargets) -> Dict[str, Tensor]:
        """Nothing: FairMOT has no anchors of which some would count."""
        return {}

    def predict(
        self, inputs: Dict[str, Tensor], data_samples: Sequence, rescale: bool = True, **kwargs
    ) -> List:
        """Detects, and tracks from the frame before; frames must come in order.

        Args:
            inputs: ``img`` (N, 1, 3, H, W) float; N consecutive frames of one video.
            data_samples: N samples with ``frame_id`` (0 starts a video), optionally ``fps``.
            rescale: Whether boxes are wanted in pixels of the original image.

        Returns:
            The samples with ``pred_det_instances`` and, given a tracker, ``pred_track_instances``
            of ``bboxes`` (k, 4) xyxy, ``scores``, ``labels`` and ``instances_id`` (k,).
        """
        feats = self.extract_feat(self._images(inputs))
        return self._track(data_samples, self.head.predict(feats, data_samples, rescale))

    @uncompiled
    def _track(self, data_samples: Sequence, detections: Sequence) -> List:
        """Writes the detections, and what the tracker makes of them, into the samples."""
        for sample, found in zip(data_samples, detections):
            sample.pred_det_instances = found
            if self.tracker is not None:
                sample.pred_track_instances = self.tracker.track(
                    frame_id=int(sample.metainfo.get('frame_id', 0)),
                    bboxes=found.bboxes,
                    scores=found.scores,
                    labels=found.labels,
                    embeddings=found.embeddings,
                    fps=sample.metainfo.get('fps'),
                )
        return list(data_samples)

    def _forward(
        self, inputs: Union[Tensor, Dict[str, Tensor]], data_samples=None, **kwargs
    ) -> Dict[str, Tensor]:
        """``mode='tensor'``: the head's maps; see :meth:`FairMOTHead.forward`."""
        return self.head(self.extract_feat(self._images(inputs)))
