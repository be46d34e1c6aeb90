"""Reads the model out of any OpenMMLab config, without what it would download."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Optional, Union

from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.utils import is_installed

from mmkd.errors import MMKDError, nearest

# By which a distiller's config is told from a model's.
_TEACHERS = {'teacher', 'teachers', 'general'}
# Where a model's parts name files or addresses of weights to start from.
_INITIAL = ('init_cfg', 'pretrained', 'pretrains')


def read_model(config: Union[str, Path, dict], options: Optional[dict] = None) -> ConfigDict:
    """The config of a model, ready to be built.

    Args:
        config: Path of a config file; 'package::path' of one that an installed package has; a
            whole config; or that of a model alone. Of a distiller's it is the student's.
        options: Changes, with dotted keys: ``{'model.backbone.depth': 18}``.

    Returns:
        The model's config, with the data preprocessor and the scope that the whole config gives
        it, and without pretrained weights.

    Raises:
        MMKDError: There is no such file or package, it cannot be read, or it has no model.
    """
    whole = _read(config)
    if options:
        whole.merge_from_dict(dict(options))
    plain = whole.to_dict()
    if not isinstance(plain.get('model'), dict) or 'type' not in plain['model']:
        raise MMKDError(f'The config {_name(config)} has no model=dict(type=...).')
    model = copy.deepcopy(plain['model'])
    preprocessor = plain.get('data_preprocessor')
    while 'student' in model and not _TEACHERS.isdisjoint(model):
        preprocessor = model.get('data_preprocessor', preprocessor)
        if not isinstance(model['student'], dict):
            raise MMKDError(f'The student of the config {_name(config)} is no config.')
        model = model['student']
    if preprocessor is not None:
        # As mmengine's Runner does it.
        model.setdefault('data_preprocessor', preprocessor)
    if plain.get('default_scope'):
        model.setdefault('_scope_', plain['default_scope'])
    # Models read their options as attributes, too.
    return ConfigDict(without_initial_weights(model))


def without_initial_weights(config: Any) -> Any:
    """A copy in which nothing asks for pretrained weights, at any depth."""
    if isinstance(config, dict):
        out = type(config)()
        for key, value in config.items():
            if key in _INITIAL and not (key == 'init_cfg' and not _is_pretrained(value)):
                # Some constructors insist on the argument; false is 'none' for all of them.
                if key != 'init_cfg':
                    out[key] = False if isinstance(value, bool) else None
                continue
            out[key] = without_initial_weights(value)
        return out
    if isinstance(config, (list, tuple)):
        return type(config)(without_initial_weights(item) for item in config)
    return config


def _is_pretrained(init_cfg: Any) -> bool:
    items = init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg]
    return any(isinstance(item, dict) and 'checkpoint' in item for item in items)


def _name(config: Any) -> str:
    return repr(str(config)) if isinstance(config, (str, Path)) else 'of the teacher'


def _read(config: Union[str, Path, dict]) -> Config:
    if isinstance(config, dict):
        given = copy.deepcopy(dict(config))
        alone = 'model' not in given and 'type' in given
        return Config({'model': given} if alone else given)
    if not isinstance(config, (str, Path)):
        raise MMKDError(f'A config is a path, package::path or a dict, but got {config!r}.')
    text = str(config)
    if '::' in text:
        package = text.split('::')[0]
        # mmengine would install it.
        if not is_installed(package):
            raise MMKDError(
                f'The config {text!r} is of the package {package!r}, not installed here.'
            )
    else:
        _check_path(Path(text).expanduser())
    try:
        return get_config(text) if '::' in text else Config.fromfile(Path(text).expanduser())
    except Exception as error:  # a config is a program
        raise MMKDError(
            f'The config {text!r} cannot be read ({type(error).__name__}: {error}).'
        ) from error


def _check_path(path: Path) -> None:
    if path.is_file():
        return
    near = ''
    if path.parent.is_dir():
        files = [file.name for file in path.parent.iterdir() if file.suffix == path.suffix]
        near = nearest(path.name, files)
    raise MMKDError(f'There is no config {str(path)!r}. {near}'.rstrip())
