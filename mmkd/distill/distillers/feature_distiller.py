"""Distils feature maps."""

from __future__ import annotations

from collections import Counter
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
from mmengine.logging import print_log
from mmengine.model import ModuleDict
from torch import Tensor, nn

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..images import to_rgb, valid_mask, valid_quads
from ..taps import Tap, TapRecorder
from ..teachers import Teacher
from .distiller import Distiller
from ..dry_run import DryInput, TapInfo, probe
from .pair import FeaturePair, PairConfig


@MODELS.register_module()
class FeatureDistiller(Distiller):
    """Makes maps within the student resemble a teacher's, beside the student's own task.

    The loss is ``(1 - alpha) * task + alpha * sum(weight_i * kd_i)``. Logged are the terms as they
    are summed (the student's own names, ``loss_kd_<name>``) and as they are measured
    (``task_raw``, ``kd_<name>``).

    Args:
        student: See :class:`Distiller`.
        teacher: See :class:`Distiller`.
        distill: One dict per pair of maps:

            - ``student``: the dotted path of a module of the student; see
              :class:`mmkd.distill.taps.Tap`.
            - ``teacher``: the name of a feature of the teacher.
            - ``name``: for logs and checkpoints; made from the path by default.
            - ``transform``, ``loss``: their configs; FeatureTransform and CosineDistillLoss by
              default. Channels are found, not typed.
            - ``weight``: its share among the pairs, 1 by default; with 0 it is left out.
            - ``direction``: 'student_to_teacher', or 'teacher_to_student', whose target is
              trained along and can collapse.
            - ``call``: which run of the module is meant if it runs several times in one step.
        alpha: See :class:`Distiller`.
        mask: Whether padding is left out of the losses; see
            :func:`mmkd.distill.images.valid_quads`.
        image_key: Which images the teacher sees if the student reads a dict of them.
        dry_input: Shapes for the dry run that finds the channels, if the student takes neither
            (N, 3, H, W) nor {'img': (N, T, 3, H, W)}; see :func:`.dry_run.probe`.
        data_preprocessor: See :class:`Distiller`.
        init_cfg: See :class:`Distiller`.

    Raises:
        MMKDError: An entry of ``distill`` names what is not there.
    """

    def __init__(
        self,
        student: Union[dict, nn.Module],
        teacher: Union[dict, Teacher],
        distill: Sequence[dict],
        alpha: float = 0.5,
        mask: bool = True,
        image_key: str = 'img',
        dry_input: DryInput = None,
        data_preprocessor: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ):
        super().__init__(student, teacher, alpha, data_preprocessor, init_cfg)
        self.mask = mask
        self.image_key = image_key
        if isinstance(distill, dict) or not distill:
            raise MMKDError('distill is a list with one dict per pair of maps, and not empty.')
        configs = [PairConfig(self.student, entry) for entry in distill]
        _check_unique([config.name for config in configs])
        # Also of pairs that are switched off: a wrong name is wrong at any weight.
        names = [config.feature for config in configs]
        self.teacher.check(names)
        used = [config for config in configs if config.weight > 0]
        self.teacher.request([config.feature for config in used])
        taps = {config.tap.path: config.tap for config in configs}
        found = _find_channels(self.student, list(taps.values()), configs, dry_input)
        self.distill = ModuleDict(
            {
                config.name: FeaturePair(
                    config, found.get(config.tap.path), self.teacher.channels[config.feature]
                )
                for config in configs
            }
        )
        self._pairs = [config.name for config in used]
        for name, pair in self.distill.items():
            # DDP waits for the gradient of every trained parameter.
            if not self.active or name not in self._pairs:
                pair.requires_grad_(False)
        self._taps = {config.tap.path: taps[config.tap.path] for config in used}
        self._grids_told = False

    @property
    def active(self) -> bool:
        return self.alpha > 0 and bool(self._pairs)

    def loss(self, inputs: Any, data_samples: Optional[list] = None, **kwargs) -> Dict[str, Tensor]:
        """Args:
            inputs: What the student reads, as its data preprocessor makes it.
            data_samples: Its samples.

        Returns:
            The student's loss dict, its losses times ``1 - alpha``; ``loss_kd_<name>``, times
            ``alpha * weight``; and unweighted ``task_raw`` and ``kd_<name>``.
        """
        if not self.active:
            return self.weigh_task(self.student(inputs, data_samples, mode='loss', **kwargs))
        self.start()
        # Before the student: what the teacher needs is freed when the student's graph grows.
        images = to_rgb(inputs, self.student.data_preprocessor, self.image_key)
        quads = None
        if self.mask:
            # mmtrack names what belongs to 'search_img' search_*.
            prefix = self.image_key[: -len('img')]
            quads = valid_quads(data_samples, len(images), tuple(images.shape[2:]), prefix)
        masks = _Masks(images, quads)
        targets = self.teacher(images, data_samples)
        recorder = TapRecorder(list(self._taps.values()))
        with recorder.record(self.student):
            task = self.student(inputs, data_samples, mode='loss', **kwargs)
        out = self.weigh_task(task)
        for name in self._pairs:
            pair = self.distill[name]
            seen = recorder.get(pair.path, pair.call)
            target = targets[pair.feature]
            if not self._grids_told:
                _tell_grids(pair, images, seen, target)
            value = pair(seen, target, masks)
            for key in (f'loss_kd_{name}', f'kd_{name}'):
                if key in out:
                    raise MMKDError(
                        f'The student logs {key!r} itself; give the distill entry another name=.'
                    )
            out[f'loss_kd_{name}'] = value * (self.alpha * pair.weight)
            out[f'kd_{name}'] = value.detach()
        self._grids_told = True
        return out

    def on_training_start(self, teacher: Teacher) -> None:
        report = self.report()
        print_log(
            f'Distilling {report["teacher"]} (fingerprint {report["fingerprint"][:12]}) into '
            f'{report["student"]}, alpha {self.alpha:g}:',
            logger='current',
        )
        for pair in report['pairs']:
            print_log(
                '  {name}: student {tap} ({student_channels} channels, stride {student_stride}) '
                '| teacher {feature} ({teacher_channels} channels, stride {teacher_stride}) | '
                '{direction}, {transform} with {transform_parameters:,} parameters, {loss}, '
                'weight {weight:g}'.format(**pair),
                logger='current',
            )

    def report(self) -> Dict[str, Any]:
        """What is distilled into what, for logs and reports.

        Returns:
            ``student``, ``teacher``, ``fingerprint`` (None before the weights are loaded),
            ``random_teacher``, ``alpha`` and a list of ``pairs``.
        """
        teacher = self.teacher
        return {
            'student': type(self.student).__name__,
            'teacher': teacher.describe(),
            'random_teacher': teacher.is_random,
            'fingerprint': teacher.fingerprint() if teacher.loaded else None,
            'alpha': self.alpha,
            'pairs': [_report_pair(self.distill[name], teacher) for name in self._pairs],
        }


class _Masks:
    """The valid mask of any grid, made once per step and grid."""

    def __init__(self, images: Tensor, quads: Optional[np.ndarray]):
        self._size = tuple(images.shape[2:])
        self._device = images.device
        self._quads = quads
        self._made: Dict[Tuple[int, int], Tensor] = {}

    def __call__(self, grid: Tuple[int, int]) -> Optional[Tensor]:
        if self._quads is None:
            return None
        if grid not in self._made:
            self._made[grid] = valid_mask(self._quads, self._size, grid, self._device)
        return self._made[grid]


def _check_unique(names: List[str]) -> None:
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise MMKDError(f'{count} entries of distill are named {name!r}; give each its own name=.')


def _find_channels(
    student: nn.Module, taps: List[Tap], configs: List[PairConfig], dry_input: DryInput
) -> Dict[str, TapInfo]:
    found, error = probe(student, taps, dry_input)
    for config in configs:
        if config.tap.path in found:
            continue
        key = 'in_channels' if config.direction == 'student_to_teacher' else 'out_channels'
        given = isinstance(config.transform, nn.Module) or config.transform.get(key) is not None
        if not given:
            why = 'was not reached'
            if error is not None:
                why = f'failed ({type(error).__name__}: {error})'
            raise MMKDError(
                f'The channels of {config.tap.path!r} could not be found: a dry run of the '
                f"student, mode='tensor', {why}. Either say what it reads, as "
                'dry_input=dict(img=(1, 1, 3, 128, 128)) in the distiller, or type '
                f'{key}= in the transform.'
            )
    return found


def _tell_grids(pair: FeaturePair, images: Tensor, seen: Tensor, target: Tensor) -> None:
    print_log(
        f'  {pair.name}: of images {tuple(images.shape[2:])} the student gives '
        f'{tuple(seen.shape[1:])}, the teacher {tuple(target.shape[1:])}',
        logger='current',
    )


def _report_pair(pair: FeaturePair, teacher: Teacher) -> Dict[str, Any]:
    tapped = pair.tapped
    return {
        'name': pair.name,
        'tap': pair.path,
        'student_channels': tapped.channels if tapped else '?',
        'student_stride': f'{tapped.stride:g}' if tapped else '?',
        'feature': pair.feature,
        'teacher_channels': teacher.channels[pair.feature],
        'teacher_stride': teacher.strides[pair.feature],
        'direction': 'student to teacher' if pair.to_teacher else 'teacher to student',
        'transform': type(pair.transform).__name__,
        'transform_parameters': sum(p.numel() for p in pair.transform.parameters()),
        'loss': type(pair.loss).__name__,
        'weight': pair.weight,
    }
