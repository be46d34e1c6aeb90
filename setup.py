"""Builds mmkd.

mmengine and OpenMMLab's package manager look for a package's configs and tools in its folder
``.mim``: links in a checkout, copies in a release.

The packages that mmkd runs on have different names and conflicting pins on the two tested stacks,
so they are in requirements/ and tools/setup_env.sh installs them, stage by stage.
"""

import os
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.develop import develop
from setuptools.command.editable_wheel import editable_wheel
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
MIM_PARTS = ('configs', 'tools', 'model-index.yml')


def copy_mim(package: Path) -> None:
    """Copies the parts into ``package/.mim``, as a release carries them."""
    for part in MIM_PARTS:
        source, target = ROOT / part, package / '.mim' / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            junk = shutil.ignore_patterns('__pycache__', '*.py[cod]')
            shutil.copytree(source, target, ignore=junk, dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)


def link_mim() -> None:
    """Links the parts into the checkout, so that an editable install sees every change."""
    mim = ROOT / 'mmkd' / '.mim'
    mim.mkdir(exist_ok=True)
    for part in MIM_PARTS:
        link, aim = mim / part, os.path.join('..', '..', part)
        if link.is_symlink() and os.readlink(link) == aim:
            continue
        if link.is_dir() and not link.is_symlink():
            shutil.rmtree(link)
        elif link.is_symlink() or link.exists():
            link.unlink()
        link.symlink_to(aim, target_is_directory=(ROOT / part).is_dir())


class BuildPy(build_py):
    def run(self):
        super().run()
        if not getattr(self, 'editable_mode', False):
            copy_mim(Path(self.build_lib) / 'mmkd')


class SDist(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        copy_mim(Path(base_dir) / 'mmkd')


class Develop(develop):
    def run(self):
        link_mim()
        super().run()


class EditableWheel(editable_wheel):
    """An editable install whose folder mmengine and mim find.

    Both look for a distribution's package in ``<where its metadata is>/<first line of
    top_level.txt>``, which is right for every install but this one: here the metadata is in
    site-packages and the package is not. Joining a path with an absolute one gives the latter, so
    the absolute path of the package as that first line leads them, and whoever else asks this way,
    to the checkout. The module's name follows on the second line.
    """

    def run(self):
        link_mim()
        if self.dist_info_dir is None:
            # Called without a front end, nobody has prepared the metadata.
            self._ensure_dist_info()
        Path(self.dist_info_dir, 'top_level.txt').write_text(f'{ROOT / "mmkd"}\nmmkd\n')
        super().run()


def version() -> str:
    namespace = {}
    exec((ROOT / 'mmkd' / 'version.py').read_text(), namespace)
    return namespace['__version__']


setup(
    name='mmkd',
    version=version(),
    description='Knowledge distillation for visual trackers, inside OpenMMLab',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    keywords='computer vision, tracking, knowledge distillation, OpenMMLab',
    packages=find_packages(include=('mmkd', 'mmkd.*')),
    python_requires='>=3.8',
    # What both stacks call by the same name, with bounds that both fulfil.
    install_requires=[
        'numpy',
        'packaging',
        # Earlier ones do not save parts of one tensor, which the records of a batch are.
        'safetensors>=0.4',
        'scipy',
        'timm>=1.0',
        'torch>=2.0',
        'tqdm',
    ],
    extras_require={'mot': ['lap', 'trackeval>=1.0'], 'tests': ['hypothesis', 'pytest']},
    zip_safe=False,
    cmdclass={
        'build_py': BuildPy,
        'sdist': SDist,
        'develop': Develop,
        'editable_wheel': EditableWheel,
    },
)
