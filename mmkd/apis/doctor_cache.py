"""Is a cached teacher's cache of this training, and how much of it is there?"""

from __future__ import annotations

from mmengine.runner import Runner

from mmkd.datasets.replay import ReplayDataset
from mmkd.distill.cache import live
from mmkd.distill.cache.reader import CacheReader
from mmkd.distill.cache.store import exists
from mmkd.distill.teachers import CachedTeacher

from .doctor_case import Case
from .doctor_page import Section

_BUILD = 'python tools/cache_teacher.py CONFIG'


def fit_to_cache(case: Case, section: Section) -> None:
    """Gives the training samples what the teachers' caches have, as mmkd's runner does.

    Raises:
        MMKDError: A cache is of other data or another augmentation.
    """
    needs = {} if case.distiller is None else case.distiller.data_needs()
    if not needs:
        return
    for name, teacher in case.distiller.teachers.items():
        if isinstance(teacher, CachedTeacher):
            _tell(name, teacher, section)
    if case.loader is None or isinstance(case.loader.dataset, ReplayDataset):
        return
    loader = dict(
        dataset=ReplayDataset(case.loader.dataset, **needs),
        num_workers=0,
        persistent_workers=False,
    )
    given = case.cfg['train_dataloader']
    rest = {k: v for k, v in given.items() if k not in (*loader, 'prefetch_factor')}
    case.loader = Runner.build_dataloader({**rest, **loader}, seed=0)


def _tell(name: str, teacher: CachedTeacher, section: Section) -> None:
    if not exists(teacher.path):
        told = f"there is no cache in '{teacher.path}' yet"
        section.fact('cache', f'{name}: {told}')
        if teacher.missing == 'refuse':
            section.stop(f'Teacher {name!r}: {told}, and it refuses to run live.', _BUILD)
        elif teacher.missing == 'live':
            section.warn(f'Teacher {name!r}: {told}, so that it runs live in every step.', _BUILD)
        return
    reader = CacheReader(teacher.path)
    missing, whole = len(reader.missing()), reader.layout.shards
    section.fact('cache', f"{name}: {whole - missing} of {whole} shards in '{teacher.path}'")
    report = reader.manifest.report
    section.data.setdefault('cache', {})[name] = report
    for line in live.lines(report):
        section.fact('fidelity', f'{name}: {line}')
    for problem, remedy in live.too_far(teacher.path, report, teacher.threshold):
        section.warn(problem, remedy)
    if missing:
        add = section.stop if teacher.missing == 'refuse' else section.warn
        add(f'The cache of teacher {name!r} lacks {missing} of {whole} shards.', _BUILD)
