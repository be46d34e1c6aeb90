"""Any model of timm that gives its intermediate features."""

from __future__ import annotations

import copy
import inspect
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

from torch import nn

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .intermediates import IntermediatesTeacher
from .weight_files import (
    State,
    check_complete,
    download,
    import_timm,
    read_weights,
    strip_prefixes,
    without_memory,
)


@MODELS.register_module()
class TimmTeacher(IntermediatesTeacher):
    """A model of timm (https://github.com/huggingface/pytorch-image-models).

    Features: ``'last'``, the map behind the whole network (and its final norm, if it has one that
    is not behind the pooling); ``'block_<i>'`` of those that keep one resolution, such as ViT, or
    ``'stage_<i>'`` of those that do not, such as ResNet, Swin or ConvNeXt, counted from 0 as in
    the model's ``feature_info``. What lies behind the deepest that is read is thrown away.

    Pictures are normalised by the model's ``pretrained_cfg``, their sides made multiples of the
    largest stride. A model that has one fixed input size gets that one unless told otherwise;
    those with ``dynamic_img_size`` read any.

    Args:
        model: timm's name, with or without a tag of weights: 'convnext_tiny.in12k_ft_in1k'.
        weights: 'timm' (downloaded by the tag); a file (.pth, .pt, .bin, .safetensors), or a
            folder with one, as timm reads it for this model; or 'random', announced.
        features: Those that it can be asked for, names or numbers. None: all.
        norm: Whether 'last' is behind what the network has after its last block or stage.
        options: More for ``timm.create_model``, such as ``dict(img_size=448)``.
        kwargs: See :class:`Teacher`; ``mean``, ``std``, ``patch`` and ``input_size`` only if they
            should not be the model's own.

    Raises:
        MMKDError: ``weights`` was not given, or timm has no such model, or the model cannot give
            features. When it is loaded: the weights are missing, unreadable, or not exactly this
            model's.
    """

    def __init__(
        self,
        model: str,
        weights: Optional[str] = None,
        features: Optional[Sequence[Union[str, int]]] = None,
        norm: bool = True,
        options: Optional[Dict[str, Any]] = None,
        **kwargs,
    ):
        self._check_name(model)
        plan = _Plan(model, dict(options or {}), kwargs.get('input_size'))
        for key, value in plan.preprocessing().items():
            kwargs.setdefault(key, value)
        super().__init__(weights, norm, **kwargs)
        self.model_name = model
        self._plan = plan
        infos = plan.features
        unit = 'block' if len(set(plan.strides)) == 1 else 'stage'
        self._set_features(
            unit,
            [info['num_chs'] for info in infos],
            plan.strides,
            last_channels=plan.last_channels,
            only=features,
        )

    @staticmethod
    def _check_name(model: str) -> None:
        timm = import_timm('TimmTeacher')
        if not isinstance(model, str) or not timm.is_model(model):
            name = str(model).split('.')[0]
            raise MMKDError(
                f'timm {timm.__version__} has no model {model!r}. '
                f'{nearest(name, timm.list_models())}'
            )

    def describe(self) -> str:
        return f'timm {self.model_name}, {self._weights_told()}'

    def _random(self) -> nn.Module:
        return self._plan.create(num_classes=0)

    def _pretrained(self) -> nn.Module:
        if self.weights == 'timm':
            # With its own classifier: only then does timm insist on every weight.
            net = download(self.model_name, lambda: self._plan.create(pretrained=True))
            net.reset_classifier(0)
            return net
        net = self._plan.create(num_classes=0)
        state = self._without_classifier(net, read_weights(self.weights, self.model_name))
        check_complete(state, net.state_dict(), self.weights, f'timm {self.model_name}')
        net.load_state_dict(state, strict=True)
        return net

    def _without_classifier(self, net: nn.Module, state: State) -> State:
        state = strip_prefixes(state, ('module.',))
        convert: Optional[Callable] = getattr(
            sys.modules[type(net).__module__], 'checkpoint_filter_fn', None
        )
        if convert is not None:
            try:
                state = convert(state, net)
            except Exception as error:  # on keys that it does not know it fails in any way
                raise MMKDError(
                    f'timm cannot make {self.weights} into weights of {self.model_name} '
                    f'({type(error).__name__}: {error}).'
                ) from error
        heads = net.pretrained_cfg.get('classifier') or ()
        heads = (heads,) if isinstance(heads, str) else tuple(heads)
        kept = net.state_dict()
        return {
            key: value
            for key, value in state.items()
            if key in kept or not key.startswith(tuple(f'{head}.' for head in heads))
        }


class _Plan:
    """What is known of a model of timm from its skeleton, and how to create it."""

    def __init__(self, model: str, options: Dict[str, Any], size: Any):
        self.model, self.options = model, options
        self._skeleton = self._bare()
        parameters = inspect.signature(type(self._skeleton).__init__).parameters
        self._cfg = self._skeleton.pretrained_cfg
        self.dynamic = 'dynamic_img_size' in parameters
        self._fixed = bool(self._cfg.get('fixed_input_size')) and not self.dynamic
        if self.dynamic:
            self.options = {'dynamic_img_size': True, **self.options}
        elif self._fixed and isinstance(size, (tuple, list)) and 'img_size' in parameters:
            self.options = {'img_size': tuple(size), **self.options}
        if self.options != options:
            self._skeleton = self._bare()
        info = self._skeleton.feature_info
        self.features: List[dict] = list(info if isinstance(info, (list, tuple)) else info.info)
        self.strides = [_side(item['reduction']) for item in self.features]
        self.last_channels: int = self._skeleton.num_features
        del self._skeleton

    def _bare(self) -> nn.Module:
        """The model without memory."""
        with without_memory('TimmTeacher'):
            model = self.create(num_classes=0)
        for needed in ('forward_intermediates', 'prune_intermediate_layers', 'feature_info'):
            if not hasattr(model, needed):
                raise MMKDError(
                    f'The timm model {self.model!r} ({type(model).__name__}) cannot be a teacher: '
                    f'it has no {needed}.'
                )
        return model

    def create(self, **kwargs) -> nn.Module:
        """The model, on the device of the context."""
        try:
            return import_timm('TimmTeacher').create_model(
                self.model, **{**copy.deepcopy(self.options), **kwargs}
            )
        except (RuntimeError, TypeError, ValueError, AssertionError) as error:
            if kwargs.get('pretrained'):
                raise
            raise MMKDError(
                f'timm cannot create {self.model!r} with {self.options} '
                f'({type(error).__name__}: {error}).'
            ) from error

    def preprocessing(self) -> Dict[str, Any]:
        """Arguments of :class:`Teacher`."""
        found: Dict[str, Any] = {
            'mean': tuple(self._cfg['mean']),
            'std': tuple(self._cfg['std']),
            'patch': max(self.strides),
        }
        if self._fixed:
            found['input_size'] = self._fixed_size()
        return found

    def _fixed_size(self) -> Tuple[int, int]:
        size = self.options.get('img_size', self._cfg['input_size'][1:])
        return (size, size) if isinstance(size, int) else tuple(size)


def _side(reduction: Union[int, Sequence[int]]) -> int:
    return reduction if isinstance(reduction, int) else max(reduction)
