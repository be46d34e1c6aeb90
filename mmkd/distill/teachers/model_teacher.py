"""Any OpenMMLab model as a teacher: a config, a checkpoint, and modules to read."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Union

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .intermediates import RANDOM_SEED
from .model_config import read_model
from .tapped import TappedTeacher, Taps
from .weight_files import check_shapes, some, strip_prefixes


@MODELS.register_module()
class ModelTeacher(TappedTeacher):
    """A trained model of mmtrack, mmdet, mmpretrain or any other OpenMMLab project.

    Pictures are normalised and padded as the model's own data preprocessor does it; they keep the
    student's size unless ``input_size`` says otherwise. A config of a distiller gives its student.

    Args:
        config: Path of a config, 'package::path' of an installed package's, a whole config, or
            a model's.
        weights: Path or address of its checkpoint (read as mmengine does, so trust it); or
            'random', which is for tests and is announced. Weights that the config itself names
            for initialisation are never fetched.
        taps: See :class:`.tapped.TappedTeacher`.
        options: Changes of the config, with dotted keys: ``{'model.neck.out_channels': 128}``.
        kwargs: See :class:`Teacher`. ``fit`` is 'pad' by default; ``mean``, ``std``,
            ``channel_order`` and ``patch`` are the model's and cannot be given.

    Raises:
        MMKDError: ``weights`` was not given; the config is missing or has no model. When it is
            first needed: there is no such tap, or the model does not run. When it is loaded: the
            checkpoint is missing, unreadable, or lacks one of the model's weights.
    """

    def __init__(
        self,
        config: Union[str, Path, dict],
        weights: Optional[str] = None,
        taps: Taps = None,
        options: Optional[dict] = None,
        **kwargs,
    ):
        super().__init__(taps, **{'fit': 'pad', **kwargs})
        if weights is None:
            raise MMKDError(
                "ModelTeacher needs weights: the path of the model's checkpoint, or 'random' if a "
                'random teacher is really meant.'
            )
        self.weights = str(weights)
        self.is_random = self.weights == 'random'
        self._model_cfg = read_model(config, options)
        self._skeleton: tuple = ()
        preprocessor = self._model_cfg.get('data_preprocessor')
        if isinstance(preprocessor, dict) and 'type' in preprocessor:
            # To know its input before the network is there; the network's own goes before.
            scope = {k: v for k, v in self._model_cfg.items() if k == '_scope_'}
            self._adopt(MODELS.build({**preprocessor, **scope}))

    def describe(self) -> str:
        weights = 'RANDOM weights' if self.is_random else f'weights {self.weights!r}'
        return f'{self._type()}, {weights}'

    def _type(self) -> str:
        name = self._model_cfg['type']
        return name if isinstance(name, str) else name.__name__

    def build(self) -> nn.Module:
        if self.is_random:
            print_log(
                "ModelTeacher has RANDOM weights, because its config says weights='random'. "
                'Nothing that was ever learned can reach the student.',
                logger='current',
                level=30,
            )
            torch.manual_seed(RANDOM_SEED)
            model = self._construct()
        else:
            state = read_checkpoint(self.weights)
            model = self._construct()
            self._load(model, state)
        self._adopt(model.data_preprocessor)
        self._skeleton = ()
        return model

    def _load(self, model: nn.Module, state: Dict[str, Tensor]) -> None:
        expected = model.state_dict()
        missing = [key for key in expected if key not in state]
        if missing:
            raise MMKDError(
                f'{self.weights} lacks {len(missing)} of the {len(expected)} weights of '
                f'{self.describe()}: {some(missing)}. It has {some(state, 4)}. A teacher never '
                'runs with a part of its weights: give the config that the checkpoint was trained '
                'with.'
            )
        check_shapes(state, expected, self.weights, self.describe())
        extra = [key for key in state if key not in expected]
        if extra:
            print_log(
                f'{self.weights} has {len(extra)} entries that the teacher does not need: '
                f'{some(extra, 4)}.',
                logger='current',
            )
        model.load_state_dict({key: state[key] for key in expected}, strict=True)

    def _bare(self, real: bool = False) -> nn.Module:
        if self._skeleton and self._skeleton[1] >= real:
            return self._skeleton[0]
        if not real:
            try:
                with _weightless():
                    model = self._construct()
            except MMKDError:
                # A constructor may look into its weights; then it needs real ones.
                real = True
        if real:
            with torch.random.fork_rng(devices=[]):
                model = self._construct()
        # In a tuple: it is no part of this module.
        self._skeleton = (model, real)
        return model

    def _construct(self) -> nn.Module:
        try:
            model = MODELS.build(copy.deepcopy(self._model_cfg))
        except Exception as error:  # whatever a foreign constructor raises
            raise MMKDError(
                f'The model {self._type()!r} of the teacher cannot be built '
                f'({type(error).__name__}: {error}).'
            ) from error
        if not isinstance(model, BaseModel):
            raise MMKDError(
                f'ModelTeacher needs an OpenMMLab model (a mmengine BaseModel), but its config '
                f'makes a {type(model).__name__}.'
            )
        return model

    def __getstate__(self) -> Dict[str, Any]:
        return dict(self.__dict__, _skeleton=())


@contextmanager
def _weightless() -> Iterator[None]:
    """Modules that are made have parameters without memory.

    Not ``with torch.device('meta')``: what a constructor imports would keep constants of that
    device for ever.
    """

    def drop(module: nn.Module, name: str, parameter: Optional[nn.Parameter]) -> Any:
        if parameter is None or parameter.is_meta:
            return None
        return nn.Parameter(parameter.detach().to('meta'), requires_grad=parameter.requires_grad)

    handle = register_module_parameter_registration_hook(drop)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        handle.remove()


def read_checkpoint(path: str) -> Dict[str, Tensor]:
    """The tensors of a training's checkpoint, under the model's own names.

    Raises:
        MMKDError: There is none, it cannot be read, or it holds no weights.
    """
    if '://' not in path:
        file = Path(path).expanduser()
        if not file.is_file():
            near = ''
            if file.parent.is_dir():
                near = nearest(file.name, (f.name for f in file.parent.iterdir()))
            raise MMKDError(f'There is no checkpoint {path!r}. {near}'.rstrip())
        path = str(file)
    try:
        content = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    except Exception as error:  # unpickling can raise anything
        raise MMKDError(
            f'{path} cannot be read as a checkpoint ({type(error).__name__}: {error}).'
        ) from error
    state = content.get('state_dict', content) if isinstance(content, dict) else {}
    state = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    state = strip_prefixes(state, ('module.',))
    if not state:
        raise MMKDError(f'{path} holds no weights.')
    return state
