"""Trackers from configs and checkpoints, and their use on frames without a data set."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Iterable, Iterator, List, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.structures import InstanceData
from torch import nn

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from .frames import DEFAULT_FPS


def init_tracker(
    config: str | Path | Config,
    checkpoint: str | Path | None = None,
    device: str | torch.device = 'cpu',
    cfg_options: dict | None = None,
) -> nn.Module:
    """Builds the tracker of a config, ready to predict.

    Args:
        config: File or config. Of a distillation config the student is built.
        checkpoint: File or address that mmengine can load; a checkpoint of the student, of the
            plain model or of the whole distiller. None leaves the initial weights and warns.
        device: Where the model goes.
        cfg_options: Settings that replace those of the config, ``{'model.tracker.conf_thr': 0.3}``.

    Returns:
        The model in eval mode, its config as attribute ``cfg``.

    Raises:
        MMKDError: If the config has no model, the device is not there, or the checkpoint does not
            belong to the model.
    """
    cfg = _read_config(config)
    if cfg_options:
        cfg.merge_from_dict(cfg_options)
    if 'model' not in cfg:
        raise MMKDError(f'The config {_name_of(config)} has no model.')
    device = _check_device(device)
    init_default_scope(cfg.get('default_scope') or 'mmtrack')
    try:
        model = MODELS.build(cfg.model)
    except (KeyError, TypeError, ValueError, AttributeError, ImportError) as error:
        raise MMKDError(
            f'The model of the config {_name_of(config)} cannot be built: {error}'
        ) from error
    # Testing needs nothing of a distiller but its student.
    model = getattr(model, 'student', model)
    if not callable(getattr(model, 'test_step', None)):
        raise MMKDError(f'{type(model).__name__} is not a model that mmengine can test.')
    if checkpoint is None:
        print_log('No checkpoint was given: the weights are random.', 'current', logging.WARNING)
    else:
        load_weights(model, checkpoint)
    model.cfg = cfg
    return model.to(device).eval()


def load_weights(model: nn.Module, checkpoint: str | Path) -> None:
    """Loads what belongs to a model and says what does not.

    What only training uses is passed over: entries under ``distill.``, which belong to a distiller
    and not to its student, and identity classifiers.

    Raises:
        MMKDError: If there is no such file, it cannot be read, or it has nothing of this model.
    """
    checkpoint = str(checkpoint)
    if '://' not in checkpoint and not Path(checkpoint).is_file():
        raise MMKDError(f'There is no checkpoint {checkpoint!r}.')
    try:
        content = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    except Exception as error:  # unpickling can raise anything
        raise MMKDError(f'{checkpoint} cannot be read as a checkpoint: {error}') from error
    state = content.get('state_dict', content) if isinstance(content, dict) else {}
    state = {_without_module(k): v for k, v in state.items() if torch.is_tensor(v)}
    own = model.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    # Buffers that every model has (num_batches_tracked) say nothing about kinship.
    if not any(v.dim() for v in fitting.values()):
        raise MMKDError(
            f'{checkpoint} has no weight of {type(model).__name__}: it holds '
            f'{_some(sorted(state))}, the model wants {_some(sorted(own))}.'
        )
    resized = sorted(k for k in state if k in own and k not in fitting)
    missing = sorted(k for k in own if k not in state)
    unknown = sorted(k for k in state if k not in own and not _is_for_training(k))
    for keys, what in (
        (missing, 'missing in the checkpoint, so they keep their initial values'),
        (resized, 'of another size in the checkpoint, so they keep their initial values'),
        (unknown, 'in the checkpoint but not in the model'),
    ):
        if keys:
            print_log(f'Weights {what}: {_some(keys)}.', 'current', logging.WARNING)
    model.load_state_dict(fitting, strict=False)


def track_video(
    model: nn.Module, frames: Iterable[np.ndarray], fps: float | None = None
) -> Iterator[Tuple[np.ndarray, InstanceData]]:
    """Tracks through the frames of one video.

    Args:
        model: Of :func:`init_tracker`.
        frames: Images (H, W, 3), uint8 BGR, in order; e.g. ``open_frames('walk.mp4')``.
        fps: Frames per second; by default what ``frames.fps`` says, or else 30.

    Yields:
        The image, and its tracks on the CPU: ``bboxes`` (k, 4) xyxy in pixels of the image,
        ``labels``, ``scores`` and ``instances_id`` (k,).

    Raises:
        MMKDError: If the config has no test pipeline, or the model finds no tracks but only
            detections.
    """
    cfg = model.cfg
    # Somebody may have built another model in between.
    init_default_scope(cfg.get('default_scope') or 'mmtrack')
    pipeline = Compose(inference_pipeline(cfg))
    fps = float(fps or getattr(frames, 'fps', None) or DEFAULT_FPS)
    length = len(frames) if hasattr(frames, '__len__') else -1
    for frame_id, image in enumerate(frames):
        sample = pipeline(_as_loaded(image, frame_id, length, fps))
        sample['data_samples'].set_metainfo({'fps': fps})
        with torch.no_grad():
            (result,) = model.test_step(pseudo_collate([sample]))
        if 'pred_track_instances' not in result:
            raise MMKDError(
                f'{type(model).__name__} detects but does not track: its results have no '
                'pred_track_instances. Does the config give it a tracker?'
            )
        yield image, result.pred_track_instances.cpu()


def inference_pipeline(cfg: Config) -> List[dict]:
    """The config's test pipeline without what loads images and annotations from files.

    Raises:
        MMKDError: If there is none, or it does not pack its results.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset')
    while dataset is not None and 'pipeline' not in dataset:
        inner = dataset.get('dataset') or dataset.get('datasets')
        dataset = inner[0] if isinstance(inner, (list, tuple)) else inner
    steps = cfg.get('test_pipeline') if dataset is None else dataset['pipeline']
    if not steps:
        raise MMKDError('The config has no test pipeline (test_dataloader.dataset.pipeline).')
    kept = [step for step in steps if not _loads(str(step['type']))]
    if not kept or 'Pack' not in str(kept[-1]['type']):
        raise MMKDError(
            'The last step of the test pipeline should pack the inputs '
            "(dict(type='mmtrack.PackTrackInputs', pack_single_img=True))."
        )
    return kept


def class_names(cfg: Config) -> Tuple[str, ...]:
    """Class names as the config's test data set names them; none if it does not."""
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    meta = dataset.get('metainfo') or {}
    names = meta.get('classes', meta.get('CLASSES')) or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _loads(kind: str) -> bool:
    name = kind.rsplit('.', 1)[-1]
    return name.startswith('LoadImage') or (name.startswith('Load') and 'Annotations' in name)


def _as_loaded(image: np.ndarray, frame_id: int, length: int, fps: float) -> dict:
    """What the loading steps of a pipeline would have made of a frame."""
    shape = image.shape[:2]
    return {
        'img': image,
        'img_path': f'frame {frame_id}',
        'img_id': frame_id,
        'ori_shape': shape,
        'img_shape': shape,
        'height': shape[0],
        'width': shape[1],
        'frame_id': frame_id,
        'video_id': 1,
        'video_length': length,
        'is_video_data': True,
        'fps': fps,
        'instances': [],
    }


def _read_config(config: str | Path | Config) -> Config:
    if isinstance(config, Config):
        return config.copy()
    if not Path(config).is_file():
        raise MMKDError(f'There is no config file {str(config)!r}.')
    try:
        return Config.fromfile(str(config))
    except Exception as error:  # a config is a program and can raise anything
        raise MMKDError(f'{config} cannot be read as a config: {error}') from error


def _check_device(device: str | torch.device) -> torch.device:
    try:
        device = torch.device(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise MMKDError(
            f'The device {str(device)!r} cannot be used: {str(error).splitlines()[0]} '
            "The processor is 'cpu'."
        ) from error
    return device


def _name_of(config: str | Path | Config) -> str:
    return repr(config.filename if isinstance(config, Config) else str(config))


def _is_for_training(key: str) -> bool:
    return key.startswith('distill.') or key.rpartition('.')[0].endswith('.id_classifier')


def _without_module(key: str) -> str:
    """Data parallel wrappers put 'module.' in front of every name."""
    return key[len('module.') :] if key.startswith('module.') else key


def _some(keys: List[str], limit: int = 4) -> str:
    text = ', '.join(map(repr, keys[:limit])) or 'nothing'
    return text + (f' and {len(keys) - limit} more' if len(keys) > limit else '')
