"""Success, precision and normalised precision of single-object tracking, per attribute too."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence, Set

from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from mmkd.errors import MMKDError
from mmkd.registry import METRICS

from .attribute_sot_curves import score
from .attribute_sot_frames import OpenVideo, VideoId, VideoPart, VideoScore, video_id
from .attribute_sot_results import OVERALL, SOTResults, VideoResult, write_results
from .attribute_sot_table import groups_of, read_attributes
from .report import format_table
from .sequences import distinct_names, sequence_name


@METRICS.register_module()
class AttributeSOTMetric(BaseMetric):
    """Scores one-pass evaluation as mmtrack's SOTMetric does, and each attribute for itself.

    Keys are ``sot/success``, ``sot/norm_precision``, ``sot/precision`` in percent, equal to those
    of ``SOTMetric(metric='OPE')``, and ``sot/success/POC`` and so on for every attribute and group
    of attributes. A score of an attribute is the mean over the videos that have it (Fan et al.,
    LaSOT, CVPR 2019; Wu et al., OTB, TPAMI 2015). What each number is, and how mmtrack counts
    frames without an object, is told in docs/sot_evaluation.md.

    Memory grows with the number of frames of a video; SOTMetric's grows with its square. Frames may
    come in any order and from several processes, but all frames of a video from one.

    Attributes come with the data samples (``attributes``, ``attribute_groups`` in the metainfo) or
    from a file. Videos without attributes count overall only.

    Args:
        only_eval_visible: Frames whose object is not visible are no hits; all frames stay in the
            divisor. The rule of LaSOT.
        attributes: Json ``mmkd-attributes-1`` whose attributes replace the samples' own.
        groups: ``{group: attributes}``; replaces the samples' own groups, and those of the file.
        tracker: A name to write into the results.
        outfile_prefix: Writes ``<prefix>.json`` (all; what ``compare_trackers.py`` reads),
            ``<prefix>.csv`` (scores) and ``<prefix>_curves.csv``. If one of them exists,
            ``<prefix>-1``, ``<prefix>-2``, ... are used; nothing is overwritten.
        metric: SOTMetric's; 'OPE' is all there is here. With ``metric_options`` a config of
            mmtrack needs no change but the ``type``.
        metric_options: SOTMetric's; ``only_eval_visible`` is read from it.
        collect_device: As in mmengine.
        prefix: First part of the keys, ``sot`` by default.

    Raises:
        MMKDError: When built, if the file of attributes cannot be read or mmtrack's options ask for
            another protocol.
    """

    default_prefix: str | None = 'sot'

    def __init__(
        self,
        only_eval_visible: bool = False,
        attributes: str | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        tracker: str | None = None,
        outfile_prefix: str | None = None,
        metric: str | Sequence[str] = 'OPE',
        metric_options: Mapping[str, Any] | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if metric not in ('OPE', ['OPE'], ('OPE',)):
            raise MMKDError(
                f"AttributeSOTMetric has no metric {metric!r}, only 'OPE'; use mmtrack.SOTMetric "
                "for 'VOT'."
            )
        options = dict(metric_options or {})
        self.only_eval_visible = only_eval_visible or options.get('only_eval_visible', False)
        self.table = None if attributes is None else read_attributes(attributes)
        self.groups = groups
        self.tracker = tracker
        self.outfile_prefix = outfile_prefix
        self._open: Dict[VideoId, OpenVideo] = {}
        self._done: Set[VideoId] = set()

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keeps each frame's boxes until its video is whole, then the video's hits.

        Args:
            data_batch: Not used.
            data_samples: With ``img_path``, ``frame_id``, ``video_length``, ``instances`` (one
                ``bbox`` of corners in pixels, and ``visible``) and ``pred_track_instances``; with
                ``attributes`` and ``attribute_groups``, if there are any.

        Raises:
            MMKDError: If one of these is missing or has another form.
        """
        for sample in data_samples:
            key = video_id(sample)
            if key in self._done:
                continue
            if key not in self._open:
                self._open[key] = OpenVideo(sample)
            video = self._open[key]
            video.add(sample)
            if video.is_whole:
                self.results.append(video.score(self.only_eval_visible))
                self._done.add(key)
                del self._open[key]

    def evaluate(self, size: int) -> dict:
        """Scores what all processes saw; the same result, or the same error, in every process.

        mmengine's own collection interleaves the processes' results and cuts them at ``size``
        frames, which says nothing about videos.

        Args:
            size: Not used; the number of frames in the data set.

        Raises:
            MMKDError: If there is no video, or one was not tracked to its end.
        """
        parts = all_gather_object((self.results, [video.part() for video in self._open.values()]))
        self._open.clear()
        self._done.clear()
        answer: List[Any] = [None, None]
        if is_main_process():
            try:
                _check_whole([part for _, interrupted in parts for part in interrupted])
                scores = self.compute_metrics([video for whole, _ in parts for video in whole])
                prefix = f'{self.prefix}/' if self.prefix else ''
                answer[0] = {f'{prefix}{key}': value for key, value in scores.items()}
            except MMKDError as problem:
                answer[1] = str(problem)
        broadcast_object_list(answer)
        self.results.clear()
        if answer[1] is not None:
            raise MMKDError(answer[1])
        return answer[0]

    def compute_metrics(self, results: List[VideoScore]) -> Dict[str, float]:
        """Scores whole videos, logs the table and writes the files."""
        # Samplers pad; a video that two processes have counts once.
        unique = list({video.id: video for video in results}.values())
        if not unique:
            raise MMKDError('There are no videos to score: the test data set is empty.')
        names = distinct_names([tuple(video.id) for video in unique])
        logger = MMLogger.get_current_instance()
        broken = [(n, v.broken, v.frames) for n, v in sorted(zip(names, unique)) if v.broken]
        if broken:
            logger.warning(
                'Boxes that are not finite count as misses: %s. Has the training diverged?',
                ', '.join(f'{count} of {frames} of {name!r}' for name, count, frames in broken),
            )
        found = self._as_results(dict(zip(names, unique)))
        table, scores = {}, {}
        for subset in found.subsets():
            row = {n: float(score(n, curve)) for n, curve in found.curves(subset).items()}
            table[subset.name] = {'videos': len(subset.index), **row}
            suffix = '' if subset.kind == OVERALL else f'/{subset.name}'
            scores.update({f'{name}{suffix}': value for name, value in row.items()})
        logger.info('Tracking scores\n%s', format_table(table, 'attribute'))
        if self.outfile_prefix is not None:
            paths = write_results(self.outfile_prefix, found)
            logger.info('Results written to %s', ', '.join(map(str, paths)))
        return scores

    def _as_results(self, videos: Dict[str, VideoScore]) -> SOTResults:
        """Names and attributes for what was counted."""
        # What a file of attributes calls them: names that were made distinct have folders in them.
        short = {n: video.id.name or sequence_name(video.id.folder) for n, video in videos.items()}
        if self.table is not None:
            missing = self.table.missing(short.values())
            if missing:
                if not any(self.table.of(name) is not None for name in short.values()):
                    raise MMKDError(f'{missing} Is it of another data set?')
                MMLogger.get_current_instance().warning('%s They count overall only.', missing)
        groups_told = self.groups if self.groups is not None else self.table and self.table.groups
        entries = {}
        for name in sorted(videos):
            video = videos[name]
            attributes, groups = video.attributes, video.groups
            if self.table is not None:
                attributes = self.table.of(short[name]) or ()
            if groups_told is not None:
                groups = groups_of(attributes, groups_told)
            entries[name] = VideoResult(
                name, video.frames, video.evaluated, video.hits, attributes, groups
            )
        return SOTResults(entries, self.only_eval_visible, self.tracker)


def _check_whole(parts: Sequence[VideoPart]) -> None:
    if not parts:
        return
    names = distinct_names([tuple(part.id) for part in parts])
    told = [
        f'{name!r} ({part.seen} of {part.frames} frames; frame {part.first_missing} is missing)'
        for name, part in sorted(zip(names, parts))
    ]
    more = f' and {len(told) - 10} more' if len(told) > 10 else ''
    raise MMKDError(
        f'{len(told)} videos were not tracked to their end: {", ".join(told[:10])}{more}. Scores '
        'without them would be those of another data set. Was the test interrupted, or does its '
        "dataloader have another sampler than dict(type='VideoSampler')?"
    )
