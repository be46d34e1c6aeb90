"""The bridge to mmtrack, on stand-in packages (any version, any order) and on the real ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What mmtrack and mmcls do in their __init__, in short.
ASSERTING = """
    import {imports}
    SEEN = {{{seen}}}
    def helper():
        import mmcv
        return mmcv.__version__
    __version__ = '1.0.0rc1'
    {then}
"""


def _write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


@pytest.fixture
def packages(tmp_path):
    """Makes stand-ins of the OpenMMLab packages, with the versions that are asked for."""

    def make(mmcv='2.3.6', mmdet='3.5.1', mmengine='0.10.12', transformer=False, then='pass'):
        for name, release in [('mmcv', mmcv), ('mmdet', mmdet), ('mmengine', mmengine)]:
            _write(tmp_path, f'{name}/__init__.py', f'__version__ = {release!r}\n')
        _write(tmp_path, 'mmengine/config/__init__.py', '')
        _write(tmp_path, 'mmengine/config/utils.py', "MODULE2PACKAGE = {'mmdet': 'mmdet'}\n")
        _write(tmp_path, 'mmdet/models/__init__.py', '')
        layers = 'class Transformer:\n    pass\n' if transformer else ''
        _write(tmp_path, 'mmdet/models/layers/__init__.py', 'Other = 1\n' + layers)
        text = textwrap.dedent(ASSERTING)
        _write(
            tmp_path,
            'mmtrack/__init__.py',
            text.format(
                imports='mmcv, mmdet',
                seen="'mmcv': mmcv.__version__, 'mmdet': mmdet.__version__",
                then=then,
            ),
        )
        _write(
            tmp_path,
            'mmcls/__init__.py',
            text.format(imports='mmcv', seen="'mmcv': mmcv.__version__", then='pass'),
        )
        for name in ('mmtrack/models/__init__.py', 'mmtrack/models/track_heads/__init__.py'):
            _write(tmp_path, name, '')
        _write(
            tmp_path,
            'mmtrack/models/track_heads/stark_head.py',
            """
            from mmdet.models.layers import Other, Transformer
            class StarkTransformer(Transformer):
                pass
            """,
        )
        return tmp_path

    return make


def run(code: str, folder: Path | None = None, expect: int = 0) -> str:
    """Runs Python code on its own, with the stand-ins in ``folder`` before what is installed."""
    paths = [str(folder)] if folder else []
    result = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code)],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([*paths, str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == expect, result.stderr
    return result.stdout + result.stderr


def test_importing_mmkd_imports_nothing_heavy():
    run("""
        import sys
        import mmkd
        for name in ('torch', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'mmtrack', 'mmcls'):
            assert name not in sys.modules, name
        assert mmkd.__version__
    """)


def test_newer_packages_are_shown_as_older_to_the_two_alone(packages):
    run(
        """
        import mmkd, mmtrack, mmcls, mmcv, mmdet
        assert mmtrack.SEEN == dict(mmcv='2.0.0rc4', mmdet='3.0.0rc4'), mmtrack.SEEN
        assert mmcls.SEEN == dict(mmcv='2.0.0rc4')
        assert (mmcv.__version__, mmdet.__version__) == ('2.3.6', '3.5.1')
        assert mmtrack.mmcv is mmcv and mmtrack.mmdet is mmdet
        assert mmtrack.__builtins__ is vars(__import__('builtins'))
    """,
        packages(),
    )


def test_mmdet_imported_first_makes_no_difference(packages):
    run(
        """
        import mmdet, mmcv, mmkd, mmtrack
        assert mmtrack.SEEN == dict(mmcv='2.0.0rc4', mmdet='3.0.0rc4')
    """,
        packages(),
    )


def test_only_what_is_too_new_is_shown_older(packages):
    run(
        """
        import mmkd, mmtrack, mmcls
        assert mmtrack.SEEN == dict(mmcv='2.0.0rc4', mmdet='3.0.0rc4')
        assert mmcls.SEEN == dict(mmcv='2.0.1')
    """,
        packages(mmcv='2.0.1'),
    )


def test_inside_the_bounds_the_import_is_the_stock_one(packages):
    run(
        """
        import sys
        import mmcv, mmdet, mmdet.models.layers as layers
        before = [dict(vars(module)) for module in (mmcv, mmdet, layers)]
        import mmkd
        import mmtrack, mmtrack.models.track_heads.stark_head as head
        assert mmtrack.SEEN == dict(mmcv='2.0.0rc4', mmdet='3.0.0rc4')
        assert [vars(module) for module in (mmcv, mmdet, layers)] == before
        assert head.StarkTransformer.__mro__[1] is layers.Transformer
        for module in (mmtrack, head):
            assert type(module.__loader__).__name__ == 'SourceFileLoader'
            assert module.__spec__.loader is module.__loader__
        head.StarkTransformer()
    """,
        packages('2.0.0rc4', '3.0.0rc4', '0.10.7', transformer=True),
    )


def test_an_older_package_is_left_to_mmtracks_own_check(packages):
    run('import mmkd, mmtrack; assert mmtrack.SEEN["mmcv"] == "1.7.0"', packages(mmcv='1.7.0'))


def test_an_import_that_fails_leaves_nothing_behind(packages):
    output = run(
        """
        import sys
        import mmkd, mmcv, mmdet
        for _ in range(2):
            try:
                import mmtrack
            except ValueError:
                pass
        assert 'mmtrack' not in sys.modules
        assert (mmcv.__version__, mmdet.__version__) == ('2.3.6', '3.5.1')
        import mmcls
    """,
        packages(then="raise ValueError('broken')"),
    )
    assert 'broken' not in output


def test_stark_says_what_is_missing_when_it_is_built(packages):
    run(
        """
        import mmkd
        import mmdet.models.layers as layers
        from mmtrack.models.track_heads.stark_head import StarkTransformer, Other
        assert not hasattr(layers, 'Transformer') and Other == 1
        try:
            StarkTransformer(encoder=None)
        except mmkd.errors.MMKDError as error:
            for word in ('STARK', 'mmdet.models.layers.Transformer', 'stock', '3.0.0rc4'):
                assert word in str(error), error
        else:
            raise SystemExit('STARK was built')
    """,
        packages(),
    )


def test_mmtrack_imported_before_mmkd_is_left_alone(packages):
    run(
        """
        import mmtrack
        loaded = mmtrack
        import mmkd, mmtrack
        assert mmtrack is loaded and mmtrack.SEEN['mmcv'] == '2.3.6'
        # what it had not imported yet is still bridged
        import mmtrack.models.track_heads.stark_head
    """,
        packages(),
    )


def test_threads_that_import_at_once_see_what_one_would(packages):
    slow = 'import time; time.sleep(0.2)'
    run(
        """
        import threading
        import mmkd, mmcv, mmdet
        seen = []
        def work(name):
            module = __import__(name)
            seen.append((name, module.SEEN['mmcv'], mmcv.__version__))
        threads = [threading.Thread(target=work, args=(n,)) for n in ['mmtrack', 'mmcls'] * 4]
        for thread in threads: thread.start()
        # while mmtrack's import sleeps, everybody else sees the truth
        assert (mmcv.__version__, mmdet.__version__) == ('2.3.6', '3.5.1')
        for thread in threads: thread.join()
        assert set(seen) == {(n, '2.0.0rc4', '2.3.6') for n in ('mmtrack', 'mmcls')}, seen
        assert len(seen) == 8
    """,
        packages(then=slow),
    )


@pytest.mark.parametrize('first', ['mmkd', 'mmengine.config.utils'])
def test_configs_of_other_projects_may_name_mmkd(packages, first):
    run(
        f"""
        import {first}
        import mmkd
        from mmengine.config.utils import MODULE2PACKAGE
        assert MODULE2PACKAGE['mmkd'] == 'mmkd' and MODULE2PACKAGE['mmdet'] == 'mmdet'
    """,
        packages(),
    )


def test_a_second_install_adds_no_second_hook(packages):
    run("""
        import sys
        import mmkd
        before = list(sys.meta_path)
        mmkd.compat.install()
        assert sys.meta_path == before
    """)


def test_reloading_mmtrack_works(packages):
    run(
        """
        import importlib
        import mmkd, mmtrack
        importlib.reload(mmtrack)
        assert mmtrack.SEEN['mmdet'] == '3.0.0rc4'
    """,
        packages(),
    )


def test_finding_without_importing_gives_the_real_loaders_answers(packages):
    run(
        """
        import importlib.util, sys
        import mmkd
        spec = importlib.util.find_spec('mmtrack')
        assert spec.origin.endswith('__init__.py') and spec.submodule_search_locations
        assert spec.loader.get_filename('mmtrack') == spec.origin
        assert 'mmtrack' not in sys.modules
    """,
        packages(),
    )


def test_without_mmtrack_nothing_happens():
    run("""
        import sys
        sys.path_importer_cache.clear()
        import importlib.util
        sys.path[:] = [p for p in sys.path if 'site-packages' not in p]
        import mmkd
        assert importlib.util.find_spec('mmtrack') is None
        try:
            import mmtrack
        except ModuleNotFoundError as error:
            assert error.name == 'mmtrack'
        else:
            raise SystemExit('there was an mmtrack')
    """)


def test_an_untried_combination_warns_and_names_the_tested_ones(packages):
    output = run('import mmkd, mmtrack', packages(mmcv='2.2.0'))
    assert 'never tried' in output
    assert 'mmcv 2.2.0' in output
    for word in ('modern', 'mmcv 2.3.6', 'stock', 'mmcv 2.0.0rc4'):
        assert word in output


@pytest.fixture(scope='module')
def imported():
    """What the installed packages look like after everything of mmtrack was imported, told once."""
    if find_spec('mmtrack') is None:
        pytest.skip('mmtrack is not installed')
    return run("""
        import sys, warnings
        import mmcv, mmdet, mmdet.models.layers as layers
        had_transformer = hasattr(layers, 'Transformer')
        versions = mmcv.__version__, mmdet.__version__
        import mmkd
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            import mmtrack
        warned = [str(warning.message) for warning in caught]
        print('UNTRIED' if any('never tried' in text for text in warned) else 'TRIED')
        from mmtrack.utils import register_all_modules
        register_all_modules(init_default_scope=True)
        assert (mmcv.__version__, mmdet.__version__) == versions
        assert hasattr(layers, 'Transformer') is had_transformer
        assert mmtrack.mmcv is mmcv and mmtrack.mmdet is mmdet
        from mmtrack.registry import MODELS
        print('MODELS', len(MODELS.module_dict))
        try:
            MODELS.get('StarkTransformer')(encoder=None, decoder=None)
        except mmkd.errors.MMKDError as error:
            print('STARK refused' if not had_transformer else 'STARK broken', error)
        except Exception:
            # mmdet's own complaint about the empty encoder
            print('STARK from mmdet' if had_transformer else 'STARK unexplained')
        import mmtrack.apis
    """)


def test_all_of_the_installed_mmtrack_registers(imported):
    assert int(re.search(r'MODELS (\d+)', imported).group(1)) > 50


def test_the_installed_stack_is_a_tested_one(imported):
    assert re.search('^TRIED', imported, re.MULTILINE), imported


def test_stark_on_the_installed_stack(imported):
    assert 'STARK refused' in imported or 'STARK from mmdet' in imported, imported
