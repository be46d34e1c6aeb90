"""Where a Siamese tracker's features respond, above all where the target is."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from ..transforms.centre_align import centre_align
from .common import DistillLoss, at_least_float32, exact, reduce

PARTS = ('template', 'search')
WEIGHTINGS = ('response', 'gaussian', None)
SCALES = ('mean', 'sum', 'unit')

# Of a Gaussian, in sides of the search map, as in danier97/CFKD.
_SIGMA = 0.25


class _Side(NamedTuple):
    """What one network gives, in float32 at least."""

    kernel: Tensor
    template: Tensor
    search: Tensor
    stride: float


@MODELS.register_module()
class TargetResponseDistillLoss(DistillLoss):
    """The squared difference of two trackers' responses to the template and the search region.

    The response of a map ``U`` is ``Q(U) = sum over channels of |U|``, so that widths may differ.
    The template's are compared as they are, those of the search region weighted by where the
    target is: by ``W``, each network's own search map correlated, channel by channel, with its own
    template and summed over channels::

        template * mean((Q(z_s) - Q(z_t)) ** 2) + search * mean((W_s Q(x_s) - W_t Q(x_t)) ** 2)

    The target response of distilled Siamese networks (Shen et al., arXiv 1907.10586; as
    danier97/CFKD has it for ATOM). Three things are done otherwise. ``W`` is each sample's own:
    shifted to a minimum of 0 (features without a ReLU correlate negatively, too) and divided by its
    mean, where the published re-implementation divides by the sum over the batch. Maps of
    other grids meet at the centre of the image (:func:`.transforms.centre_align.centre_align`),
    the teacher's read at the student's cells. And responses are means over channels unless
    ``scale`` says otherwise.

    Args:
        weighting: 'response', the ``W`` above; 'gaussian', one around the middle of the search
            region (a quarter of its side is the deviation), where the target is if crops are not
            shifted; or None.
        centre: Cells of the template's middle that are the target (mmtrack's ``center_size`` is 7);
            the whole map where it is smaller or this is None.
        template: Weight of the template's part.
        search: Weight of the search region's.
        scale: 'mean' over channels instead of the sum; 'sum'; or 'unit': each response is divided
            by its mean over the map, and only its pattern is compared.
        student_stride: Pixels per cell of the student's maps.
        teacher_stride: Of the teacher's.
        reduction: 'mean' over samples, 'sum', or 'sample': (N,).

    Raises:
        MMKDError: An option is something else.
    """

    reductions = ('mean', 'sum', 'sample')
    same_channels = False

    def __init__(
        self,
        weighting: Optional[str] = 'response',
        centre: Optional[int] = 7,
        template: float = 1.0,
        search: float = 1.0,
        scale: str = 'mean',
        student_stride: float = 8,
        teacher_stride: float = 8,
        reduction: str = 'mean',
    ):
        super().__init__(reduction)
        for name, value, choices in (
            ('weighting', weighting, WEIGHTINGS),
            ('scale', scale, SCALES),
        ):
            if value not in choices:
                raise MMKDError(
                    f'TargetResponseDistillLoss has no {name}={value!r}. {nearest(value, choices)}'
                )
        weights = (template, search)
        if not all(weight >= 0 for weight in weights) or not any(weights):
            raise MMKDError(
                'TargetResponseDistillLoss takes weights of 0 or more for the template and the '
                f'search region, and not 0 for both, but got {template!r} and {search!r}.'
            )
        if centre is not None:
            self.check_positive('centre', centre)
        self.weighting = weighting
        self.centre = centre
        self.weights = {'template': float(template), 'search': float(search)}
        self.scale = scale
        self.strides = (
            self.check_positive('student_stride', student_stride),
            self.check_positive('teacher_stride', teacher_stride),
        )

    def forward(
        self,
        student: Dict[str, Tensor],
        teacher: Dict[str, Tensor],
        mask: Optional[Tensor] = None,
        reduction: Optional[str] = None,
    ) -> Tensor:
        """Args:
            student: ``template`` (N, C, h, w) and ``search`` (N, C, H, W), any floating type;
                computed in float32 even inside autocast.
            teacher: The same of the same samples, with channels and grids of its own.
            mask: (N, 1, H, W), True where the search region is real, or weights; both search maps
                must then have one grid.
            reduction: Instead of the loss's own.

        Returns:
            A scalar or, of 'sample', (N,).

        Raises:
            MMKDError: A map is missing or the shapes do not fit.
        """
        reduction = self.check_reduction(reduction)
        _check(student, teacher, mask)
        with exact(student['search']):
            ours, theirs = (
                self._side(maps, stride, mask)
                for maps, stride in zip((student, teacher), self.strides)
            )
            total = ours.search.new_zeros(len(ours.search))
            if self.weights['template']:
                total = total + self.weights['template'] * self._template(ours, theirs)
            if self.weights['search']:
                total = total + self.weights['search'] * self._search(ours, theirs, mask)
            return reduce(total, None, reduction)

    def _side(self, maps: Dict[str, Tensor], stride: float, mask: Optional[Tensor]) -> _Side:
        template, search = (at_least_float32(maps[name]) for name in PARTS)
        if mask is not None:
            # The correlation spreads a NaN all over.
            search = torch.where(mask > 0, search, search.new_zeros(()))
        return _Side(_middle(template, self.centre), template, search, stride)

    def _template(self, ours: _Side, theirs: _Side) -> Tensor:
        """(N,): the difference on the target."""
        size = tuple(ours.kernel.shape[2:])
        # Read off the whole of the teacher's map, of which the target is the middle.
        theirs_there, valid = _meet(_response(theirs.template), size, theirs, ours)
        own = _response(ours.kernel)
        own, theirs_there = (
            self._scaled(x, side, valid) for x, side in ((own, ours), (theirs_there, theirs))
        )
        return reduce((own - theirs_there).square(), valid, 'sample')

    def _search(self, ours: _Side, theirs: _Side, mask: Optional[Tensor]) -> Tensor:
        """(N,): the difference in the search region."""
        size = tuple(ours.search.shape[2:])
        theirs_there, valid = _meet(_response(theirs.search), size, theirs, ours)
        counted = mask
        if valid is not None:
            counted = valid if mask is None else valid & (mask > 0)
        out = []
        for side, response in ((ours, _response(ours.search)), (theirs, theirs_there)):
            response = self._scaled(response, side, counted)
            out.append(response * self._where(side, size, ours, counted))
        return reduce((out[0] - out[1]).square(), counted, 'sample')

    def _scaled(self, response: Tensor, side: _Side, counted: Optional[Tensor]) -> Tensor:
        if self.scale == 'sum':
            return response
        if self.scale == 'mean':
            return response / side.search.shape[1]
        return _over_mean(response, counted)

    def _where(
        self, side: _Side, size: Tuple[int, int], ours: _Side, counted: Optional[Tensor]
    ) -> Union[Tensor, float]:
        """W, (N, 1, h, w), with the mean 1 over what counts."""
        if self.weighting is None:
            return 1.0
        if self.weighting == 'gaussian':
            return _over_mean(_gaussian(size, side.search), counted)
        match = _correlate(side.search, side.kernel)
        match = _meet(match, size, side, ours)[0]
        least = match if counted is None else match.masked_fill(~(counted > 0), torch.inf)
        least = least.flatten(1).amin(1).reshape(-1, 1, 1, 1)
        # Where nothing counts there is no least; then anything does.
        least = torch.where(least.isfinite(), least, torch.zeros_like(least))
        return _over_mean((match - least).clamp(min=0), counted)

    def extra_repr(self) -> str:
        return (
            f'weighting={self.weighting!r}, centre={self.centre}, '
            f'template={self.weights["template"]:g}, search={self.weights["search"]:g}, '
            f'scale={self.scale!r}, {super().extra_repr()}'
        )


def _response(maps: Tensor) -> Tensor:
    """(N, 1, h, w): how much all channels together respond."""
    return maps.abs().sum(1, keepdim=True)


def _middle(maps: Tensor, cells: Optional[int]) -> Tensor:
    """The cells in the middle; one more along an axis where that many would not be there."""
    if cells is None:
        return maps
    for dim in (2, 3):
        side = maps.shape[dim]
        first = max(side - cells, 0) // 2
        maps = maps.narrow(dim, first, side - 2 * first)
    return maps


def _correlate(search: Tensor, kernel: Tensor) -> Tensor:
    """Each search map with its own template: (N, 1, H - h + 1, W - w + 1), summed over channels."""
    (height, width), (h, w) = search.shape[2:], kernel.shape[2:]
    if h > height or w > width:
        raise MMKDError(
            f'TargetResponseDistillLoss looks for a target of {(h, w)} cells in a search region of '
            f'{(height, width)}. Are the two exchanged? centre= takes the middle of the template.'
        )
    # All products in one multiplication of matrices, then summed along the shifts: with the
    # backward pass a twentieth of the time of a convolution whose kernel is another per sample.
    turned = kernel.flip(2, 3).flatten(2).transpose(1, 2)
    products = turned @ search.flatten(2)
    whole = F.fold(products, (height + h - 1, width + w - 1), (h, w))
    return whole[:, :, h - 1 : height, w - 1 : width]


def _meet(
    maps: Tensor, size: Tuple[int, int], side: _Side, ours: _Side
) -> Tuple[Tensor, Optional[Tensor]]:
    return centre_align(maps, size, side.stride, ours.stride)


def _gaussian(size: Tuple[int, int], like: Tensor) -> Tensor:
    axes = [torch.arange(n, device=like.device, dtype=like.dtype) - (n - 1) / 2 for n in size]
    bells = [torch.exp(-0.5 * (at / (_SIGMA * len(at))).square()) for at in axes]
    return (bells[0][:, None] * bells[1])[None, None].expand(len(like), 1, *size)


def _over_mean(maps: Tensor, counted: Optional[Tensor]) -> Tensor:
    """Each of (N, 1, h, w) over its mean where it counts; a map without any is 1."""
    if counted is not None:
        maps = torch.where(counted > 0, maps, maps.new_zeros(()))
    mean = reduce(maps, counted, 'sample').reshape(-1, 1, 1, 1)
    empty = ~(mean > 0)
    return torch.where(empty, torch.ones_like(maps), maps / mean.masked_fill(empty, 1.0))


def _check(student: Any, teacher: Any, mask: Optional[Tensor]) -> None:
    owner = 'TargetResponseDistillLoss'
    for side in (student, teacher):
        missing = [name for name in PARTS if not isinstance(side, dict) or name not in side]
        if missing:
            found = ', '.join(map(repr, side)) if isinstance(side, dict) else type(side).__name__
            raise MMKDError(
                f'{owner} compares dict(template=(N, C, h, w), search=(N, C, H, W)) of both '
                f'networks, but {missing[0]!r} is missing: got {found or "nothing"}. In transfers '
                "of a SpecializedTeacherDistiller that is student=dict(template='neck[0]@0', "
                "search='neck[0]@1')."
            )
    shapes = {
        f'{whose} {name}': tuple(side[name].shape)
        for whose, side in (('student', student), ('teacher', teacher))
        for name in PARTS
    }
    told = ', '.join(f'{name} {shape}' for name, shape in shapes.items())
    if any(len(s) != 4 for s in shapes.values()) or len({s[0] for s in shapes.values()}) > 1:
        raise MMKDError(f'{owner} takes maps (N, C, h, w) of the same samples, but got {told}.')
    for whose in ('student', 'teacher'):
        template, search = (shapes[f'{whose} {name}'] for name in PARTS)
        if template[1] != search[1]:
            raise MMKDError(
                f'{owner} correlates the search map with the template, channel by channel, but '
                f'got {told}.'
            )
    if mask is not None:
        wanted = (shapes['student search'][0], 1, *shapes['student search'][2:])
        if tuple(mask.shape) != wanted or shapes['teacher search'][2:] != wanted[2:]:
            raise MMKDError(
                f'{owner} takes a mask of shape {wanted} where both search maps have one grid, but '
                f'got {tuple(mask.shape)} for {told}.'
            )
