"""Results of several trackers, read and checked before they are compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, List, Mapping, Sequence

import numpy as np
from mmengine.logging import MMLogger

from mmkd.errors import MMKDError
from mmkd.evaluation.attribute_sot_curves import METRICS
from mmkd.evaluation.attribute_sot_results import SOTResults, Subset, read_results


@dataclass
class Arm:
    """One way of training, perhaps repeated with other seeds.

    Attributes:
        name: For the tables.
        results: One of each seed; the same videos in the same order, in all arms.
    """

    name: str
    results: List[SOTResults]

    def scores(self) -> np.ndarray:
        """(seeds, videos, 3) percent, in the order of :data:`METRICS`."""
        return np.stack([result.scores() for result in self.results])

    def curves(self, subset: Subset) -> Dict[str, np.ndarray]:
        """Means over seeds and a subset's videos: ``{metric: (thresholds,)}`` in percent."""
        curves = [result.curves(subset) for result in self.results]
        return {metric: np.mean([c[metric] for c in curves], axis=0) for metric in METRICS}


def load_arms(
    files: Mapping[str, Sequence[str | Path]],
    attributes: str | None = None,
    common_videos: bool = False,
) -> List[Arm]:
    """Reads results and checks that they can be compared.

    Args:
        files: ``{arm: results of its seeds}``, jsons that :class:`mmkd.AttributeSOTMetric` wrote.
        attributes: What ``load_attributes`` reads; replaces the attributes in the results. Videos
            that are not in it have none.
        common_videos: Compare on the videos that all have, instead of refusing.

    Raises:
        MMKDError: If a file is given twice, or files differ in their videos, in a video's number of
            frames, in ``only_eval_visible`` or in attributes; says what is missing where.
    """
    _check_files(files)
    arms = [Arm(name, [read_results(path) for path in paths]) for name, paths in files.items()]
    results = [result for arm in arms for result in arm.results]
    _check_videos(results, common_videos)
    names = sorted(set.intersection(*(set(result.videos) for result in results)))
    for result in results:
        result.videos = {name: result.videos[name] for name in names}
    _check_rules(results)
    if attributes is not None:
        _replace_attributes(results, attributes)
    else:
        _check_attributes(results)
    return arms


def _check_files(files: Mapping[str, Sequence[str | Path]]) -> None:
    if not files:
        raise MMKDError('There is nothing to compare: no results were given.')
    seen: Dict[Path, str] = {}
    for name, paths in files.items():
        if not paths:
            raise MMKDError(f'Arm {name!r} has no results.')
        for path in paths:
            whole = Path(path).resolve()
            if whole in seen:
                raise MMKDError(
                    f'{path} is given twice, for {seen[whole]!r} and {name!r}; a seed counts once.'
                )
            seen[whole] = name


def _check_videos(results: Sequence[SOTResults], common_videos: bool) -> None:
    every = set().union(*(result.videos for result in results))
    missing = {r.source: sorted(every - set(r.videos)) for r in results}
    missing = {source: names for source, names in missing.items() if names}
    if not missing:
        return
    told = 'The results are not of the same videos: ' + '; '.join(
        f'{source} lacks {len(names)} of {len(every)}: {_some(names)}'
        for source, names in missing.items()
    )
    if not common_videos:
        raise MMKDError(
            f'{told}. Test again what is missing, or compare on the common videos '
            '(--common-videos).'
        )
    common = set.intersection(*(set(result.videos) for result in results))
    if not common:
        raise MMKDError(f'{told}. They have no video in common.')
    MMLogger.get_current_instance().warning('%s. Compared on %d videos.', told, len(common))


def _check_rules(results: Sequence[SOTResults]) -> None:
    first = results[0]
    for other in results[1:]:
        if other.only_eval_visible != first.only_eval_visible:
            raise MMKDError(
                f'{first.source} was scored with only_eval_visible={first.only_eval_visible}, '
                f'{other.source} with {other.only_eval_visible}; these are different scores.'
            )
        for name, video in first.videos.items():
            frames = (video.frames, video.evaluated)
            found = (other.videos[name].frames, other.videos[name].evaluated)
            if found != frames:
                raise MMKDError(
                    f'Video {name!r} has {frames[0]} frames, {frames[1]} of them scored, in '
                    f'{first.source}, but {found[0]} and {found[1]} in {other.source}; the '
                    'annotations differ.'
                )


def _check_attributes(results: Sequence[SOTResults]) -> None:
    first = results[0]
    for other in results[1:]:
        for name, video in first.videos.items():
            pairs = ((video.attributes, other.videos[name].attributes),)
            pairs += ((video.groups, other.videos[name].groups),)
            for here, there in pairs:
                if set(here) != set(there):
                    raise MMKDError(
                        f'Video {name!r} is {", ".join(here) or "without attributes"} in '
                        f'{first.source}, but {", ".join(there) or "without attributes"} in '
                        f'{other.source}. Give one source for all (--attributes).'
                    )


def _replace_attributes(results: Sequence[SOTResults], path: str) -> None:
    # Only here: data sets bring all of mmtrack along, seconds that a table need not take.
    from mmkd.datasets.attributes import groups_of, load_attributes

    table = load_attributes(path)
    known = {name: table.of(name) for name in results[0].videos if name in table}
    if not known:
        raise MMKDError(
            f'{path} has attributes of none of the {len(results[0].videos)} videos, such as '
            f'{_some(list(results[0].videos))}.'
        )
    missing = sorted(set(results[0].videos) - set(known))
    if missing:
        MMLogger.get_current_instance().warning(
            '%s has no attributes of %d videos: %s. They count overall only.',
            *(path, len(missing), _some(missing)),
        )
    for result in results:
        for name, video in result.videos.items():
            own = known.get(name, ())
            result.videos[name] = replace(video, attributes=own, groups=groups_of(own))


def _some(names: Sequence[str]) -> str:
    return ', '.join(map(repr, names[:10])) + (', ...' if len(names) > 10 else '')
