"""Does the model build, what is in it, and are the weights there that it starts from?"""

from __future__ import annotations

import copy
import os.path as osp
from typing import Any, Iterator, List, Optional, Tuple
from urllib.parse import urlparse

import torch
from mmengine.registry import init_default_scope
from mmengine.runner import checkpoint as schemes
from torch import nn

from mmkd.engine.classes import check_classes
from mmkd.engine.identities import assign_id_offsets
from mmkd.registry import MODELS

from .doctor_cache import fit_to_cache
from .doctor_case import Case
from .doctor_page import Section, some

_RUNNER = 'mmkd.TrackRunner'


def look(case: Case, section: Section) -> None:
    """Builds the model, lists its parts and looks for its initial weights."""
    _starts(case, section)
    case.model = build_model(case)
    _fit_to_data(case, section)
    fit_to_cache(case, section)
    student = case.model if case.distiller is None else case.distiller.student
    section.fact('model', _told(case))
    parts = list(student.named_children())
    if case.distiller is not None:
        parts.append(('distill', case.distiller.distill))
    rows = [
        (name, type(part).__name__, f'{all_of:,}', f'{trained:,}')
        for name, part in parts
        for all_of, trained in [_parameters(part)]
        if all_of
    ]
    section.table(('part', 'type', 'parameters', 'trained'), rows)
    total, trained = _parameters(case.model)
    section.fact('in all', f'{total:,} parameters, {trained:,} of them trained')
    section.data.update(
        type=type(case.model).__name__,
        student=type(student).__name__,
        parameters=total,
        trained=trained,
    )
    if not trained:
        section.stop(
            'No parameter of the model is trained.', 'Look for frozen_stages and requires_grad.'
        )


def build_model(case: Case, cfg: Optional[dict] = None) -> nn.Module:
    """The config's model on the device, without initial weights that are not on this machine.

    Args:
        case: Whose model.
        cfg: Its config, if it is not the case's own.
    """
    model_cfg = copy.deepcopy(dict(cfg if cfg is not None else case.cfg['model']))
    preprocessor = case.cfg.get('data_preprocessor')
    if preprocessor is not None:
        model_cfg.setdefault('data_preprocessor', copy.deepcopy(preprocessor))
    for _, owner, checkpoint in pretrained(model_cfg, 'model'):
        if not _is_here(checkpoint):
            owner['init_cfg'] = None
    init_default_scope(case.cfg.get('default_scope') or 'mmengine')
    model = MODELS.build(model_cfg)
    if case.num_ids is not None and hasattr(model, 'set_num_ids'):
        model.set_num_ids(case.num_ids)
    model = model.to(case.device)
    if case.cfg.get('channels_last', False):
        model = model.to(memory_format=torch.channels_last)
    return model


def pretrained(cfg: Any, path: str) -> Iterator[Tuple[str, dict, str]]:
    """Path, owner and checkpoint of every ``init_cfg`` that reads weights from a file."""
    if isinstance(cfg, dict):
        init = cfg.get('init_cfg')
        for item in init if isinstance(init, (list, tuple)) else [init]:
            if isinstance(item, dict) and item.get('type') == 'Pretrained':
                yield path, cfg, str(item.get('checkpoint'))
        for key, value in cfg.items():
            yield from pretrained(value, f'{path}.{key}')
    elif isinstance(cfg, (list, tuple)):
        for index, value in enumerate(cfg):
            yield from pretrained(value, f'{path}.{index}')


def cached(checkpoint: str) -> Optional[str]:
    """Where a download of mmengine's is, or will be; None if that cannot be told."""
    url = checkpoint
    scheme, _, name = checkpoint.partition('://')
    try:
        if scheme in ('open-mmlab', 'openmmlab'):
            url = schemes.get_external_models()[name]
        elif scheme in ('torchvision', 'modelzoo'):
            url = schemes.get_torchvision_models()[name]
    except Exception:  # an unknown name: mmengine will say so
        return None
    if not url.startswith(('http://', 'https://')):
        return None
    return osp.join(torch.hub.get_dir(), 'checkpoints', osp.basename(urlparse(url).path))


def _is_here(checkpoint: str) -> bool:
    if '://' not in checkpoint:
        return osp.isfile(checkpoint)
    place = cached(checkpoint)
    return place is not None and osp.isfile(place)


def _starts(case: Case, section: Section) -> None:
    """Initial weights: found, to be downloaded, or missing."""
    found: List[dict] = []
    where = [(path, name) for path, _, name in pretrained(case.cfg.get('model'), 'model')]
    if case.cfg.get('load_from'):
        where.insert(0, ('load_from', str(case.cfg['load_from'])))
    for path, checkpoint in where:
        here = _is_here(checkpoint)
        found.append(dict(path=path, checkpoint=checkpoint, here=here))
        label = path if path == 'load_from' else 'starts from'
        told = checkpoint if path == 'load_from' else f'{checkpoint} ({path}.init_cfg)'
        if here:
            section.fact(label, f'{told}: found')
        elif '://' in checkpoint:
            section.fact(label, f'{told}: not on this machine')
            section.warn(
                f'{checkpoint!r} ({path}) has to be downloaded when training starts.',
                f'On a machine without network, put the file at {cached(checkpoint)}, or name a '
                'file in the config.',
            )
        else:
            section.fact(label, f'{told}: NOT FOUND')
            section.stop(
                f'There is no file {checkpoint!r}, which {path} names.',
                'The config says where it comes from, if it is not yours.',
            )
    section.data['starts_from'] = found


def _fit_to_data(case: Case, section: Section) -> None:
    """What mmkd's runner does before training: count the identities, check the classes."""
    set_num_ids = getattr(case.model, 'set_num_ids', None)
    if set_num_ids is None or case.loader is None:
        return
    if case.cfg.get('runner_type') != _RUNNER:
        section.warn(
            'The model has an identity classifier, which only mmkd.TrackRunner sizes for the data; '
            f'the config has runner_type={case.cfg.get("runner_type")!r}.',
            f"Set runner_type='{_RUNNER}'.",
        )
    num_classes = getattr(case.model, 'num_classes', None)
    if num_classes is not None:
        check_classes(case.loader.dataset, num_classes)
    case.num_ids = assign_id_offsets(case.loader.dataset)
    set_num_ids(case.num_ids)
    case.model.to(case.device)
    section.data['num_ids'] = case.num_ids
    section.fact('identities', f'{case.num_ids} in the training data: rows of the id classifier')
    if not case.num_ids:
        section.warn(
            'The training data have no known identity, so that nothing is learned of them.',
            "Does the annotation file have 'instance_id'? Convert tracks, not single images.",
        )


def _parameters(module: nn.Module) -> Tuple[int, int]:
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained)


def _told(case: Case) -> str:
    if case.distiller is None:
        return f'{type(case.model).__name__}, no distillation'
    report = case.distiller.report()
    names = [pair['name'] for pair in report['pairs']]
    around = f'{type(case.model).__name__} around {type(case.distiller.student).__name__}'
    pairs = f'{len(names)} pair{"" if len(names) == 1 else "s"} ({some(names)})'
    return f'{around}, alpha {report["alpha"]}, {pairs}'
