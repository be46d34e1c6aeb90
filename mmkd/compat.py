"""The only place that knows that mmtrack 1.0.0rc1 is older than what it runs on.

mmtrack 1.0.0rc1 and mmcls 1.0.0rc6 refuse today's mmcv and mmdet by their version strings, and
mmtrack's STARK head imports a class that mmdet has removed since. Nothing else of what mmkd uses is
in the way, so this is all that is bridged, and nothing is bridged where it is not needed.

How: :func:`install` puts a finder in front of ``sys.meta_path`` that knows four module names. The
modules that would refuse are executed with an ``import`` of their own, which hands *them* a view of
mmcv or mmdet with the attributes they look for. mmcv and mmdet themselves are never touched, so no
other module and no other thread can see a wrong version, and an exception leaves nothing to undo.
On a stack inside mmtrack's own bounds there is nothing to present and the import is the stock one.
"""

from __future__ import annotations

import builtins
import importlib
import sys
import types
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.metadata import PackageNotFoundError, version

from mmkd.errors import MMKDError

# What was tried, release by release; of torch and numpy, minor releases count.
TESTED = {
    'modern': {
        'mmengine': '0.10.12',
        'mmcv': '2.3.6',
        'mmdet': '3.5.1',
        'mmtrack': '1.0.0rc1',
        'torch': '2.11',
        'numpy': '2.4',
    },
    'stock': {
        'mmengine': '0.10.7',
        'mmcv': '2.0.0rc4',
        'mmdet': '3.0.0rc4',
        'mmtrack': '1.0.0rc1',
        'torch': '2.0',
        'numpy': '1.23',
    },
}
# The first release that each package refuses, and the one that it is shown instead.
_REFUSED = {
    'mmcls': {'mmcv': ('2.1.0', '2.0.0rc4')},
    'mmtrack': {'mmcv': ('2.0.0', '2.0.0rc4'), 'mmdet': ('3.0.0', '3.0.0rc4')},
}
_STARK_HEAD = 'mmtrack.models.track_heads.stark_head'
# What :func:`state` tells: module name to what it was shown instead.
_shown: dict = {}
_CONFIG_UTILS = 'mmengine.config.utils'


class _RemovedTransformer:
    """Stands where mmdet's DETR ``Transformer`` stood, so that STARK's module can be imported."""

    def __init__(self, *args, **kwargs):
        raise MMKDError(
            f'STARK ({type(self).__name__}) cannot be built here: mmdet removed the class '
            'mmdet.models.layers.Transformer, which it is made from, in 3.0.0rc6. The stock stack '
            f'still has it (mmdet {TESTED["stock"]["mmdet"]}): tools/setup_env.sh --stack stock.'
        )


def _views(name: str) -> dict:
    """What module ``name`` has to be shown instead of the real modules, by module name."""
    if name == _STARK_HEAD:
        layers = importlib.import_module('mmdet.models.layers')
        if hasattr(layers, 'Transformer'):
            return {}
        return {'mmdet.models.layers': _view(layers, Transformer=_RemovedTransformer)}
    from packaging.version import parse

    views = {}
    for package, (refused, shown) in _REFUSED.get(name, {}).items():
        module = importlib.import_module(package)
        if parse(module.__version__) >= parse(refused):
            views[package] = _view(module, __version__=shown)
    return views


def _view(module: types.ModuleType, **attributes) -> types.ModuleType:
    view = types.ModuleType(module.__name__)
    vars(view).update(vars(module), **attributes)
    return view


def _execute(loader: Loader, module: types.ModuleType, views: dict) -> None:
    """Executes a module whose own import statements get ``views`` instead of the real modules."""

    def import_for_module(name, globals=None, locals=None, fromlist=(), level=0):
        imported = builtins.__import__(name, globals, locals, fromlist, level)
        return views.get(imported.__name__, imported) if level == 0 else imported

    namespace = vars(module)
    # An import statement takes __import__ from the builtins of the namespace that it runs in.
    namespace['__builtins__'] = dict(vars(builtins), __import__=import_for_module)
    try:
        loader.exec_module(module)
    finally:
        namespace['__builtins__'] = vars(builtins)
        for key, value in list(namespace.items()):
            if any(value is view for view in views.values()):
                namespace[key] = sys.modules[value.__name__]


class _Loader(Loader):
    """Passes everything to the real loader but what happens around the module's execution."""

    def __init__(self, loader: Loader):
        self.loader = loader

    def __getattr__(self, name):
        # What a spec's reader may ask of a loader: get_filename, get_data, is_package, ...
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        name = module.__name__
        # The module shall not show that it came through here: pkgutil and inspect ask its loader.
        module.__spec__.loader = module.__loader__ = self.loader
        views = {} if name == _CONFIG_UTILS else _views(name)
        if views:
            _shown[name] = [_told(view) for view in views.values()]
            _execute(self.loader, module, views)
        else:
            self.loader.exec_module(module)
        if name == _CONFIG_UTILS:
            module.MODULE2PACKAGE.setdefault('mmkd', 'mmkd')
        elif name == 'mmtrack':
            _warn_if_untried(module)


class _Finder(MetaPathFinder):
    """Finds our four modules as the other finders do, with our loader around theirs."""

    names = (*_REFUSED, _STARK_HEAD, _CONFIG_UTILS)

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in self.names:
            return None
        for finder in list(sys.meta_path):
            find = getattr(finder, 'find_spec', None)
            if isinstance(finder, _Finder) or find is None:
                continue
            spec = find(fullname, path, target)
            if spec is not None:
                if hasattr(spec.loader, 'exec_module'):
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


def install() -> None:
    """Puts the import hook in place and makes ``_base_ = 'mmkd::...'`` known to mmengine.

    Calling it again changes nothing. It works in any order of imports: what was imported before and
    needed no bridge stays as it is.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    if _CONFIG_UTILS in sys.modules:
        # Another thread may be in the middle of it: importing it again waits for that one.
        importlib.import_module(_CONFIG_UTILS).MODULE2PACKAGE.setdefault('mmkd', 'mmkd')


def state() -> dict:
    """What was bridged so far, for reports.

    Returns:
        ``shown``: module to what it was shown instead of the real thing; ``imported``: whether
        mmtrack is; ``stack``: the name of the tested combination that this is, or None;
        ``tested``: those combinations.
    """
    mmtrack = sys.modules.get('mmtrack')
    found = None if mmtrack is None else _installed(mmtrack)
    stack = next((name for name, versions in TESTED.items() if versions == found), None)
    return {
        'shown': {name: list(told) for name, told in _shown.items()},
        'imported': mmtrack is not None,
        'stack': stack,
        'tested': {name: dict(versions) for name, versions in TESTED.items()},
    }


def _told(view: types.ModuleType) -> str:
    real = sys.modules[view.__name__]
    before, after = (getattr(module, '__version__', None) for module in (real, view))
    if before != after:
        return f'{view.__name__} {before} as {after}'
    return f'{view.__name__} with what it has removed'


def _installed(mmtrack: types.ModuleType) -> dict:
    """Versions of what was tried together, as the imported modules and installed packages say."""
    found = {'mmtrack': mmtrack.__version__}
    for package in ('mmengine', 'mmcv', 'mmdet'):
        found[package] = importlib.import_module(package).__version__
    for package in ('torch', 'numpy'):
        try:
            found[package] = '.'.join(version(package).split('.')[:2])
        except PackageNotFoundError:
            found[package] = 'unknown'
    return found


def _warn_if_untried(mmtrack: types.ModuleType) -> None:
    found = _installed(mmtrack)
    if found in TESTED.values():
        return
    told = '; '.join(f'{name}: {_listing(versions)}' for name, versions in TESTED.items())
    warnings.warn(
        f'mmkd was never tried with this combination of packages ({_listing(found)}). '
        f'It was tested with these two: {told}.',
        stacklevel=3,
    )


def _listing(versions: dict) -> str:
    return ', '.join(f'{package} {release}' for package, release in sorted(versions.items()))
