"""The arrows of the house: who may import whom, and what no source file does."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# tools -> apis -> these siblings -> distill -> registry; errors and version are for everybody.
SIBLINGS = {'models', 'datasets', 'evaluation', 'engine', 'visualization'}
FOR_ALL = {'registry', 'errors', 'version'}
MAY_IMPORT = {
    '': {'compat', 'version', 'errors'},
    'compat': {'errors'},
    'errors': set(),
    'version': set(),
    'registry': set(),
    'distill': FOR_ALL,
    **{name: {'distill', *FOR_ALL} for name in SIBLINGS},
    'apis': {'distill', *SIBLINGS, *FOR_ALL},
}
SOURCES = sorted((ROOT / 'mmkd').rglob('*.py'))
TOOLS = sorted((ROOT / 'tools').rglob('*.py'))


def imports_of(path: Path) -> set:
    """Dotted names of all modules that a file imports, at any depth, relative ones resolved."""
    found = set()
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = '.'.join([*base, *([node.module] if node.module else [])])
            found |= {f'{module}.{alias.name}' for alias in node.names}
    return found


def part_of(dotted: str) -> str:
    """The part of the house that a name in mmkd belongs to: 'mmkd.distill.taps.x' -> 'distill'."""
    name = dotted.split('.')[1] if '.' in dotted else ''
    return name if name in MAY_IMPORT else ''


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(part for part in parts if part != '__init__')


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_run_one_way(path):
    part = part_of(name_of(path))
    for dotted in imports_of(path):
        if dotted.split('.')[0] == 'mmkd':
            target = part_of(dotted)
            assert target == part or target in MAY_IMPORT[part] or target == '', (
                f'{path.relative_to(ROOT)} imports {dotted}'
            )


def test_every_part_has_its_place():
    parts = {path.stem if path.is_file() else path.name for path in (ROOT / 'mmkd').iterdir()}
    assert parts - {'__init__', '__pycache__', '.mim'} <= set(MAY_IMPORT)


def test_distillation_is_for_any_openmmlab_model():
    for path in (ROOT / 'mmkd' / 'distill').rglob('*.py'):
        roots = {dotted.split('.')[0] for dotted in imports_of(path)}
        assert not roots & {'mmtrack', 'mmdet', 'mmcls'}, path


def test_only_the_package_itself_knows_the_compat_layer():
    for path in [*SOURCES, *TOOLS]:
        if path != ROOT / 'mmkd' / '__init__.py':
            assert not any(dotted.startswith('mmkd.compat') for dotted in imports_of(path)), path


def test_only_the_compat_layer_knows_versions_of_mmtrack_and_mmdet():
    for path in SOURCES:
        if path.name != 'compat.py':
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and node.attr == '__version__':
                    owner = getattr(node.value, 'id', '')
                    assert owner not in {'mmtrack', 'mmdet', 'mmcv', 'mmcls'}, path


@pytest.mark.parametrize('path', [*SOURCES, *TOOLS], ids=lambda path: str(path.relative_to(ROOT)))
def test_users_mistakes_are_no_asserts(path):
    lines = [n.lineno for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Assert)]
    assert not lines, f'{path.relative_to(ROOT)}: assert in line {lines}; raise MMKDError instead'


@pytest.mark.parametrize('path', [*SOURCES, *TOOLS], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_holds_one_idea(path):
    assert len(path.read_text().splitlines()) <= 400


def tracked() -> list:
    result = subprocess.run(
        ['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if result.returncode:
        pytest.skip('not a git checkout')
    return [ROOT / name for name in result.stdout.split('\0') if name and (ROOT / name).is_file()]


def test_no_large_file_is_tracked():
    large = {str(path): path.stat().st_size for path in tracked() if path.stat().st_size > 200_000}
    assert not large


def test_nothing_names_a_place_of_one_machine():
    # in pieces, so that this file does not name them itself
    places = ['/' + 'work/', '/' + 'root/', '/' + 'opt/pypi', '../' + 'shared']
    for path in tracked():
        if path.suffix in {'.py', '.sh', '.md', '.txt', '.yml', '.toml', '.in', ''}:
            text = path.read_text(errors='ignore')
            for place in places:
                if place == '../' + 'shared' and (
                    path == ROOT / '.ci' / 'run' or 'tests' in path.parts
                ):
                    continue
                assert place not in text, f'{path.relative_to(ROOT)} names {place}'
