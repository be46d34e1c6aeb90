"""What setup.py makes: wheel, source archive, and editable installs that mmengine finds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
JUNK = shutil.ignore_patterns('__pycache__', '.mim', '*.egg-info')


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """What is needed to build, copied: building writes into its folder."""
    folder = tmp_path_factory.mktemp('my checkout') / 'mmkd'
    for name in ('mmkd', 'configs', 'tools', 'requirements'):
        shutil.copytree(ROOT / name, folder / name, ignore=JUNK)
    for pattern in ('*.py', '*.toml', '*.md', '*.in', '*.yml', 'LICENSE'):
        for path in ROOT.glob(pattern):
            shutil.copy(path, folder)
    return folder


def python(*arguments, cwd: Path, **variables) -> str:
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def pip(*arguments, cwd: Path) -> str:
    offline = ('--no-deps', '--no-index', '--no-build-isolation', '--disable-pip-version-check')
    return python('-m', 'pip', *arguments, *offline, cwd=cwd)


def build_wheel(source: Path, into: Path) -> list:
    pip('wheel', source, '--wheel-dir', into, cwd=into)
    (wheel,) = into.glob('mmkd-*.whl')
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def expected_in_mim() -> set:
    parts = [*(ROOT / 'configs').rglob('*'), *(ROOT / 'tools').rglob('*')]
    names = {str(path.relative_to(ROOT)) for path in parts if path.is_file()}
    names = {name for name in names if '__pycache__' not in name}
    return {f'mmkd/.mim/{name}' for name in [*names, 'model-index.yml']}


def test_every_folder_of_the_package_is_a_package():
    for path in (ROOT / 'mmkd').rglob('*.py'):
        if '.mim' not in path.parts:
            assert (path.parent / '__init__.py').exists(), f'{path.parent} misses __init__.py'


def test_setup_imports_nothing_heavy():
    text = (ROOT / 'setup.py').read_text()
    assert not re.search(r'^\s*(import|from) (torch|mmkd|mm\w+)', text, re.MULTILINE)


def test_one_version():
    import mmkd

    version = python('setup.py', '--version', cwd=ROOT).splitlines()[-1]
    assert version == mmkd.__version__
    assert f'## [{version}]' in (ROOT / 'CHANGELOG.md').read_text()


def test_the_model_index_names_every_metafile_and_they_name_real_configs():
    imports = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    metafiles = {str(path.relative_to(ROOT)) for path in ROOT.glob('configs/**/metafile.yml')}
    assert set(imports) == metafiles
    for name in imports:
        content = yaml.safe_load((ROOT / name).read_text())
        collections = {collection['Name'] for collection in content['Collections']}
        for model in content['Models']:
            assert (ROOT / model['Config']).is_file(), model
            assert model['In Collection'] in collections


def test_config_names_are_unique_as_mim_finds_them_by_name():
    names = [path.name for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts]
    assert len(names) == len(set(names))


@pytest.mark.slow
def test_a_wheel_holds_the_package_and_the_mim_folder(checkout, tmp_path):
    names = set(build_wheel(checkout, tmp_path))
    assert {name for name in names if name.startswith('mmkd/.mim/')} == expected_in_mim()
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / 'mmkd').rglob('*.py')}
    assert {name for name in sources if '.mim' not in name} <= names
    others = {name.split('/')[0] for name in names} - {'mmkd'}
    assert all(re.fullmatch(r'mmkd-[\d.]+\.dist-info', name) for name in others), others
    assert any(name.endswith('LICENSE') for name in names)


@pytest.mark.slow
def test_a_source_archive_builds_the_same_wheel(checkout, tmp_path):
    python('setup.py', '-q', 'sdist', '--dist-dir', tmp_path, cwd=checkout)
    (archive,) = tmp_path.glob('mmkd-*.tar.gz')
    with tarfile.open(archive) as tar:
        names = {name.partition('/')[2] for name in tar.getnames()}
        tar.extractall(tmp_path)
    assert expected_in_mim() <= names
    assert {'LICENSE', 'README.md', 'CHANGELOG.md', 'requirements/modern.txt'} <= names
    (source,) = (path for path in tmp_path.glob('mmkd-*') if path.is_dir())
    (tmp_path / 'wheel').mkdir()
    assert expected_in_mim() <= set(build_wheel(source, tmp_path / 'wheel'))


@pytest.fixture(scope='module')
def installed(checkout, tmp_path_factory):
    """A virtual environment that sees this one's packages and has the checkout, editable."""
    venv = tmp_path_factory.mktemp('venv')
    python('-m', 'venv', '--without-pip', venv, cwd=venv)
    interpreter = venv / 'bin' / 'python'
    site = subprocess.run(
        [str(interpreter), '-c', 'import site; print(site.getsitepackages()[0])'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    ours = [path for path in sys.path if path.endswith('site-packages')]
    # after this folder's own entries, so that the mmkd of this environment is not found first
    Path(site, 'zz_outer.pth').write_text('\n'.join(ours))

    def run(*arguments: str) -> str:
        environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
        result = subprocess.run(
            [str(interpreter), *map(str, arguments)],
            cwd=str(venv),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    run(
        *('-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index', '--no-build-isolation'),
        *('--ignore-installed', '--disable-pip-version-check', '-e', checkout),
    )
    return run


@pytest.mark.slow
def test_an_editable_install_is_found_by_mmengine(installed, checkout):
    """mmengine 0.10.7 asks pkg_resources, later ones importlib.metadata: both find the checkout."""
    output = installed(
        '-c',
        textwrap.dedent("""
            import warnings
            warnings.simplefilter('ignore')
            import mmkd
            from mmengine.utils import get_installed_path, is_installed
            assert is_installed('mmkd')
            print(mmkd.__file__, get_installed_path('mmkd'), sep='|')
        """),
    )
    file, path = output.splitlines()[-1].split('|')
    assert Path(file).parent == Path(path) == checkout / 'mmkd'


@pytest.mark.slow
def test_other_projects_can_inherit_our_configs(installed, checkout, tmp_path):
    config = tmp_path / 'theirs.py'
    config.write_text("_base_ = 'mmkd::kd/fairmot_dinov2.py'\n")
    code = f"""
import warnings
warnings.simplefilter('ignore')
import mmkd
from mmengine.config import Config
print(Config.fromfile({str(config)!r}).model.type)
"""
    assert installed('-c', code).splitlines()[-1] == 'mmkd.FeatureDistiller'


@pytest.mark.slow
def test_an_editable_install_links_the_mim_folder(installed, checkout):
    mim = checkout / 'mmkd' / '.mim'
    for part in ('configs', 'tools', 'model-index.yml'):
        assert (mim / part).is_symlink()
        assert (mim / part).resolve() == checkout / part
    added = checkout / 'configs' / 'kd' / 'new.py'
    added.touch()
    assert (mim / 'configs' / 'kd' / 'new.py').exists()
    added.unlink()


@pytest.mark.slow
def test_pip_check_names_nothing_of_ours(installed):
    code = (
        'import subprocess, sys; '
        'print(subprocess.run([sys.executable, "-m", "pip", "check"], '
        'capture_output=True, text=True).stdout)'
    )
    lines = installed('-c', code).splitlines()
    assert not [line for line in lines if line.lower().startswith('mmkd ')]
