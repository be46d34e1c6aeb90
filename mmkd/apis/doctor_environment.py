"""The doctor's first section: what is installed, and what mmkd.compat had to bridge."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Dict, Optional, Tuple

import torch

import mmkd

from .doctor_case import Case
from .doctor_page import Section, count_of, size_of

# A package has one name on the index and another one to import; some have several on the index.
_PACKAGES: Tuple[Tuple[str, Tuple[str, ...]], ...] = (
    ('torch', ('torch',)),
    ('mmengine', ('mmengine', 'onedl-mmengine')),
    ('mmcv', ('mmcv', 'onedl-mmcv', 'mmcv-lite', 'onedl-mmcv-lite')),
    ('mmdet', ('mmdet', 'onedl-mmdetection')),
    ('mmtrack', ('mmtrack',)),
    ('mmpretrain', ('mmpretrain', 'onedl-mmpretrain')),
    ('timm', ('timm',)),
    ('numpy', ('numpy',)),
)
# Without these nothing trains at all; the others are asked for by what needs them.
_NEEDED = ('torch', 'mmengine', 'mmcv')


def look(case: Case, section: Section) -> None:
    """Versions, device and compat state."""
    versions = installed()
    section.data.update(versions=versions, python=platform.python_version())
    section.fact('mmkd', mmkd.__version__)
    section.fact(
        'Python', f'{platform.python_version()} on {platform.system()} {platform.machine()}'
    )
    listed = [f'{name} {release or "-"}' for name, release in versions.items()]
    section.fact('packages', ', '.join(listed))
    for name in _NEEDED:
        if versions[name] is None:
            section.stop(f'{name} is not installed.', 'tools/setup_env.sh makes an environment.')
    section.fact('device', _device(case.device))
    section.data['device'] = str(case.device)
    _compat(section)


def installed() -> Dict[str, Optional[str]]:
    """Import name to version, None where a package is not there."""
    return {name: _version(name, names) for name, names in _PACKAGES}


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory(device: torch.device) -> Optional[int]:
    """Bytes of memory that a device has, or this machine; None if it cannot be told."""
    if device.type == 'cuda':
        return torch.cuda.get_device_properties(device).total_memory
    try:
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    except (AttributeError, ValueError, OSError):
        return None


def free_disk(folder: str) -> int:
    """Bytes free where a folder is, or will be."""
    folder = os.path.abspath(folder)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return shutil.disk_usage(folder).free


def _version(name: str, names: Tuple[str, ...]) -> Optional[str]:
    if find_spec(name) is None:
        return None
    for candidate in names:
        try:
            return version(candidate)
        except PackageNotFoundError:
            continue
    return 'unknown'


def _device(device: torch.device) -> str:
    total = memory(device)
    has = f', {size_of(total)}' if total else ''
    if device.type == 'cuda':
        count = torch.cuda.device_count()
        others = f' ({count} of them here)' if count > 1 else ''
        return f'{torch.cuda.get_device_name(device)}{has}{others}, CUDA {torch.version.cuda}'
    gpu = 'no GPU' if not torch.cuda.is_available() else 'the GPU is not used'
    threads = count_of(torch.get_num_threads(), 'thread')
    return f'processor, {count_of(cores(), "core")}, {threads}{has}; {gpu}'


def _compat(section: Section) -> None:
    state = mmkd.compat_state()
    section.data['compat'] = state
    if find_spec('mmtrack') is None:
        section.fact('compat', 'mmtrack is not installed: nothing to bridge, no tracking models')
        return
    bridged = [f'{name} was shown {"; ".join(shown)}' for name, shown in state['shown'].items()]
    section.fact('compat', '. '.join(bridged) if bridged else 'nothing had to be bridged')
    if state['stack'] is not None:
        section.fact('', f"this combination is the tested '{state['stack']}' stack")
    elif state['imported']:
        tested = '; '.join(
            f'{name}: ' + ', '.join(f'{package} {release}' for package, release in stack.items())
            for name, stack in state['tested'].items()
        )
        section.warn(
            'mmkd was never tried with this combination of packages.',
            f'These were tested: {tested}.',
        )
