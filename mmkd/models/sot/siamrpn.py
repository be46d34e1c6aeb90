"""SiamRPN++ that can be distilled, and that tracks without waiting for the device."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from mmtrack.models.sot import SiamRPN as StockSiamRPN
from torch import Tensor

from mmkd.distill.dry_run import probe
from mmkd.distill.taps import Tap
from mmkd.distill.uncompiled import uncompiled
from mmkd.errors import MMKDError
from mmkd.models.heads.siamese_rpn_targets import SiamRPNTargets
from mmkd.registry import MODELS

from .crop import crop
from .frames import as_they_are

_STOCK_HEADS = ('SiameseRPNHead', 'mmtrack.SiameseRPNHead')


@MODELS.register_module()
class SiamRPN(StockSiamRPN):
    """mmtrack's SiamRPN++ (arXiv 1812.11703): the same config, weights, losses and tracks.

    It differs in what it can be asked for (``mode='tensor'``, targets and losses of samples, where
    its responses are), and in how it tracks: frames stay bytes until they are cropped, the
    template's half of the head is run once per video, samples are not copied, and on a GPU the
    host is never made to wait.

    Args:
        backbone: Config; its maps go to the neck, or to the head if there is none.
        head: Config of :class:`mmkd.SiameseRPNHead`; mmtrack's is replaced by ours.
        neck: Config.
        train_cfg: ``rpn``: assigner, sampler, ``num_neg``, ``exemplar_size``, ``search_size``.
        test_cfg: ``exemplar_size``, ``search_size``, ``context_amount``, ``center_size`` (cells of
            the template that the head sees), ``rpn``: ``penalty_k``, ``window_influence``, ``lr``;
            ``channels_last=True`` tracks with maps in that memory format, which on a processor is
            faster for small networks and slower for large ones.
        kwargs: As mmtrack's.

    Raises:
        MMKDError: If a part of the config is missing or the head is another.
    """

    # Where a distiller finds the head's maps.
    response_taps = dict(cls='head[0]', reg='head[1]')

    def __init__(
        self,
        backbone: dict,
        head: dict,
        neck: Optional[dict] = None,
        train_cfg: Optional[dict] = None,
        test_cfg: Optional[dict] = None,
        **kwargs,
    ):
        for name, cfg in (('train_cfg', train_cfg), ('test_cfg', test_cfg)):
            if not isinstance(cfg, dict) or 'rpn' not in cfg:
                raise MMKDError(
                    f'SiamRPN needs {name} with an entry rpn, in testing too, but got {cfg!r}. '
                    'configs/_base_/models/siamese_rpn_*.py show both.'
                )
        head = ConfigDict(head)
        if head.get('type') in _STOCK_HEADS:
            head['type'] = 'mmkd.SiameseRPNHead'
        super().__init__(
            backbone, neck, head, ConfigDict(train_cfg), ConfigDict(test_cfg), **kwargs
        )
        if not hasattr(self.head, 'sample_targets'):
            raise MMKDError(
                f'mmkd.SiamRPN needs mmkd.SiameseRPNHead, but the head is {head.get("type")}.'
            )
        self._map_sizes: Dict[Tuple[int, int], Tuple[int, int]] = {}

    # -- training ---------------------------------------------------------------------------------

    @staticmethod
    def _frames(inputs: Any, key: str) -> Tensor:
        """The one frame of each sample, (N, 3, H, W)."""
        img = inputs.get(key) if isinstance(inputs, dict) else None
        if img is None or img.dim() not in (4, 5) or (img.dim() == 5 and img.shape[1] != 1):
            seen = (
                {name: tuple(value.shape) for name, value in inputs.items()}
                if isinstance(inputs, dict)
                else f'a {type(inputs).__name__}'
            )
            raise MMKDError(
                'SiamRPN reads pairs: inputs["img"] (N, 1, 3, 127, 127), the template, and '
                f'inputs["search_img"] (N, 1, 3, 255, 255), but inputs are {seen}.'
            )
        return img if img.dim() == 4 else img[:, 0]

    def _forward(
        self, inputs: Dict[str, Tensor], data_samples: Any = None, **kwargs
    ) -> Tuple[Tensor, Tensor]:
        """``mode='tensor'``.

        Args:
            inputs: ``img`` (N, 1, 3, 127, 127) and ``search_img`` (N, 1, 3, 255, 255), floats.
            data_samples: Not looked at.

        Returns:
            ``cls`` (N, 2A, h, w), the A background channels first, and ``reg`` (N, 4A, h, w).
        """
        template, search = self._frames(inputs, 'img'), self._frames(inputs, 'search_img')
        z_feat = self.forward_template(template)
        return self.head(z_feat, self.forward_search(search))

    def loss(
        self,
        inputs: Dict[str, Tensor],
        data_samples: Sequence,
        targets: Optional[SiamRPNTargets] = None,
        **kwargs,
    ) -> Dict[str, Tensor]:
        """Args:
            inputs: As :meth:`_forward`.
            data_samples: N samples with ``search_gt_instances``.
            targets: Of :meth:`sample_targets`, where somebody else needs the same; None: sampled.

        Returns:
            ``loss_rpn_cls`` and ``loss_rpn_bbox``.
        """
        template, search = self._frames(inputs, 'img'), self._frames(inputs, 'search_img')
        z_feat = self.forward_template(template)
        return self.head.loss(z_feat, self.forward_search(search), data_samples, targets)

    @property
    def map_size(self) -> Tuple[int, int]:
        """(h, w) of the response in training, found by a forward pass without data."""
        sizes = (self.train_cfg.rpn.exemplar_size, self.train_cfg.rpn.search_size)
        if sizes not in self._map_sizes:
            self._map_sizes[sizes] = self._probe_map_size(*sizes)
        return self._map_sizes[sizes]

    @uncompiled
    def _probe_map_size(self, exemplar: int, search: int) -> Tuple[int, int]:
        tap = Tap(self, self.response_taps['cls'], 'SiamRPN')
        # Strides are told relative to the first entry.
        shapes = dict(search_img=(1, 1, 3, search, search), img=(1, 1, 3, exemplar, exemplar))
        found, error = probe(self, [tap], shapes)
        if tap.path not in found:
            raise MMKDError(
                f'SiamRPN cannot make a response of a template of {exemplar} and a search image '
                f'of {search} pixels (train_cfg.rpn): {error}'
            ) from error
        side = round(search / found[tap.path].stride)
        return side, side

    def sample_targets(
        self, data_samples: Sequence, device: Union[str, torch.device, None] = None
    ) -> SiamRPNTargets:
        """Targets of a batch; random, by torch's generator of the device.

        Args:
            data_samples: N samples with ``search_gt_instances``.
            device: Where to; None: where the boxes are.
        """
        found = [sample.search_gt_instances for sample in data_samples]
        return self.head.sample_targets(found, self.map_size, device)

    def sample_losses(self, outputs: Dict[str, Tensor], targets: SiamRPNTargets) -> Tensor:
        """Task loss of each pair; its mean over the batch is the sum of what :meth:`loss` gives.

        Args:
            outputs: ``cls`` (N, 2A, h, w) and ``reg`` (N, 4A, h, w), of this model or another with
                the same anchors.
            targets: Of N pairs.

        Returns:
            (N,) float.
        """
        return sum(self.head.sample_losses(outputs['cls'], outputs['reg'], targets).values())

    def response_masks(self, targets: SiamRPNTargets) -> Dict[str, Tensor]:
        """``matched`` (N, A, h, w) float, the anchors that were sampled; ``positive`` (N, A, h, w)
        bool, those that are to be the target."""
        return self.head.response_masks(targets)

    # -- tracking ---------------------------------------------------------------------------------

    def test_step(self, data: Union[dict, tuple, list]) -> list:
        """As mmengine's; a frame stays as it was loaded if the preprocessor changes nothing."""
        frames = as_they_are(self.data_preprocessor, data)
        if frames is None:
            return super().test_step(data)
        return self._run_forward(frames, mode='predict')

    val_step = test_step

    def predict(self, inputs: Dict[str, Tensor], data_samples: Sequence, **kwargs) -> list:
        """Tracks into the next frame; frames must come in order.

        Args:
            inputs: ``img`` (1, 1, 3, H, W), of floats or bytes in 0..255.
            data_samples: One sample with ``frame_id`` (0 starts a video, at ``gt_instances``) and
                ``ori_shape``.

        Returns:
            The sample, with ``pred_track_instances``: ``bboxes`` (1, 4) xyxy in pixels and
            ``scores`` (1,), on the device.

        Raises:
            MMKDError: If a video's first frame has no box, or has not been there.
        """
        self._check_start(data_samples[0])
        mode = self.test_cfg.get('test_mode', 'OPE')
        if mode not in ('OPE', 'VOT'):
            raise MMKDError(f"test_cfg.test_mode is 'OPE' or 'VOT', but got {mode!r}.")
        step = self.predict_ope if mode == 'OPE' else self.predict_vot
        for sample, found in zip(data_samples, step(inputs, data_samples)):
            sample.pred_track_instances = found
        return list(data_samples)

    def _check_start(self, sample: Any) -> None:
        frame = sample.metainfo.get('frame_id')
        known = sample.get('gt_instances', {}).get('bboxes', ()) if frame == 0 else (0,)
        if len(known) != 1:
            raise MMKDError(
                "The first frame of a video needs one box, the target's, in gt_instances, but that "
                f'of {sample.metainfo.get("img_path")!r} has {len(known)}.'
            )
        if frame and not hasattr(self, 'memo'):
            raise MMKDError(
                f'SiamRPN was given frame {frame} of a video without its first one, 0, which has '
                "the target's box. Test with sampler=dict(type='VideoSampler')."
            )

    def get_cropped_img(
        self,
        img: Tensor,
        center_xy: Tensor,
        target_size: int,
        crop_size: Tensor,
        avg_channel: Tensor,
    ) -> Tensor:
        """See :func:`mmkd.models.sot.crop.crop`; (1, 3, target_size, target_size) float32."""
        found = crop(img, center_xy, crop_size, int(target_size), avg_channel)
        if self.test_cfg.get('channels_last', False):
            # Convolutions answer in the format that they are asked in, so all maps follow.
            found = found.contiguous(memory_format=torch.channels_last)
        return found

    def _context(self, bbox: Tensor) -> Tensor:
        """Side of the template's square, in pixels of the frame, before rounding."""
        pad = self.test_cfg.context_amount * (bbox[2] + bbox[3])
        return ((bbox[2] + pad) * (bbox[3] + pad)).sqrt()

    def init(self, img: Tensor) -> None:
        """Looks at the target, ``self.memo.bbox`` (cx, cy, w, h), in the first frame.

        Args:
            img: (1, 3, H, W).
        """
        bbox = self.memo.bbox
        self.memo.avg_channel = img.mean(dim=(0, 2, 3), dtype=torch.float32)
        template = self.get_cropped_img(
            img,
            bbox[:2],
            self.test_cfg.exemplar_size,
            self._context(bbox).round(),
            self.memo.avg_channel,
        )
        self.memo.z_feat = self.forward_template(template)
        self.memo.kernels = self.head.kernels(self.memo.z_feat)

    def track(self, img: Tensor, data_samples: Sequence) -> List[InstanceData]:
        """From the box of the frame before, ``self.memo.bbox``, to that of this one.

        Args:
            img: (1, 3, H, W).
            data_samples: One sample with ``ori_shape``.

        Returns:
            ``bboxes`` (1, 4) xyxy and ``scores`` (1,).
        """
        bbox, cfg = self.memo.bbox, self.test_cfg
        side = self._context(bbox)
        search = self.get_cropped_img(
            img,
            bbox[:2],
            cfg.search_size,
            (side * (cfg.search_size / cfg.exemplar_size)).round(),
            self.memo.avg_channel,
        )
        maps = self.forward_search(search)
        scale = cfg.exemplar_size / side
        return self.head.predict(self.memo.kernels, maps, data_samples, bbox, scale)
