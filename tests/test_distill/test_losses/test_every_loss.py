"""What all losses promise alike. A loss that is not in CASES fails the first test."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmkd.distill import losses
from mmkd.distill.response import Response
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..boxes import make

N, C, H, W = 4, 4, 4, 6
SIZE = (40, 60)
# A cell is 10 x 10 pixels; all boxes are within what CROP keeps.
CROP = (3, 4)
BOXES = [
    [(1, 2, 18, 19), (12, 3, 39, 28)],
    [(0, 0, 9, 9)],
    [(21, 11, 38, 29), (3, 6, 16, 27)],
    [(0, 0, 16, 9)],
]
IDS = [[7, 3], [7], [3, 7], [3]]

CASES = {
    'anchor-kl': dict(type='AnchorKLDistillLoss', temperature=2.0),
    'anchor-kl-all': dict(type='AnchorKLDistillLoss', places='all'),
    'anchor-regression': dict(type='AnchorRegressionDistillLoss', values=2, trust=0.7),
    'anchor-regression-l1': dict(type='AnchorRegressionDistillLoss', places='all', kind='l1'),
    'at': dict(type='ATLoss'),
    'at-1': dict(type='ATLoss', p=1.0),
    'cosine': dict(type='CosineDistillLoss'),
    'cosine-flat': dict(type='CosineDistillLoss', flatten=True),
    'cwd': dict(type='CWDLoss', temperature=2.0),
    'dist': dict(type='DISTLoss'),
    'dist-features': dict(type='DISTLoss', softmax=False),
    'dkd': dict(type='DKDLoss'),
    'embedding': dict(type='EmbeddingDistillLoss', pooling='box'),
    'embedding-relational': dict(type='EmbeddingDistillLoss', mode='relational'),
    'fgd': dict(type='FGDLoss', alpha=1.0, beta=1.0, gamma=1.0, lambda_=1.0),
    'fitnet': dict(type='FitNetLoss'),
    'heatmap': dict(type='HeatmapDistillLoss'),
    'heatmap-logit': dict(type='HeatmapDistillLoss', mode='logit'),
    'kl': dict(type='KLDistillLoss', temperature=2.0),
    'kl-sigmoid': dict(type='KLDistillLoss', mode='sigmoid'),
    'mgd': dict(type='MGDLoss'),
    'mgd-channels': dict(type='MGDLoss', hidden='channels', ratio=0.3),
    'mse': dict(type='MSEDistillLoss'),
    'pkd': dict(type='PKDLoss'),
    'pkd-image': dict(type='PKDLoss', per_image=True),
    'rkd': dict(type='RKDLoss'),
    'smooth-l1': dict(type='SmoothL1DistillLoss', beta=0.5),
    'sp': dict(type='SPLoss'),
    'temporal': dict(type='TemporalRelationalLoss'),
}
# They read something else than two maps and a mask, and keep their promises in files of their own.
OTHERS = {'AdaptiveHardLoss', 'TargetResponseDistillLoss'}
# Their teacher is a target and nothing else: it gets no gradient.
DETACHED = {
    'EmbeddingDistillLoss',
    'HeatmapDistillLoss',
    'RKDLoss',
    'TemporalRelationalLoss',
}
# Sums over a map: they grow with its weights.
SUMS = {'FGDLoss', 'FitNetLoss'}

NEW_TORCH = tuple(int(x) for x in torch.__version__.split('.')[:2]) >= (2, 4)

every_loss = pytest.mark.parametrize('name', sorted(CASES))
masked = pytest.mark.parametrize('kind', ['bool', 'weights'])


def _build(name, dtype=torch.float64):
    torch.manual_seed(0)
    config = dict(CASES[name])
    cls = MODELS.module_dict[config.pop('type')]
    if 'channels' in cls.build_needs:
        config['channels'] = C
    loss = cls(**config).to(dtype)
    for p in loss.parameters():
        # FGD's blocks start as the identity.
        torch.nn.init.normal_(p, std=0.3)
    return loss.eval()


def _response(n=N, h=H, w=W):
    """Answers of two anchors per cell; each image has one in the first cell that counts."""
    generator = torch.Generator().manual_seed(5)
    anchors = torch.rand(N, 2, H, W, generator=generator, dtype=torch.float64)
    classes = torch.randn(N, 4, H, W, generator=generator, dtype=torch.float64) * 2
    matched = torch.where(anchors > 0.4, anchors, torch.zeros_like(anchors))
    matched[:, 0, 0, 0] = 1
    cut = (slice(n), slice(None), slice(h), slice(w))
    return Response(
        matched=matched[cut], positive=(matched > 0.7)[cut], teacher={'cls': classes[cut]}
    )


def _needs(loss, size=SIZE):
    places = (N, size[0] * H // SIZE[0], size[1] * W // SIZE[1])
    known = {
        'instances': make(BOXES, IDS, size),
        'labels': torch.tensor([2, 0, 3, 0]),
        'response': _response(*map(int, places)),
    }
    return {key: known[key] for key in loss.needs}


def _maps(dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(N, C, H, W, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for _ in range(2)
    ]


def _mask(kind, dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    weights = torch.rand(N, 1, H, W, generator=generator, dtype=dtype) * 2 + 0.1
    weights[torch.rand(weights.shape, generator=generator) < 0.3] = 0
    # A box at least is seen in each image.
    weights[:, :, 0, 0] = 1
    return weights > 0 if kind == 'bool' else weights


def _grads(value, *inputs):
    grads = torch.autograd.grad(value.sum(), inputs, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, grads)]


def test_every_loss_is_here():
    here = {type(_build(name)).__name__ for name in CASES}
    assert here | OTHERS == set(losses.__all__)
    assert not here & OTHERS


@every_loss
def test_prints_its_settings_and_is_copied(name):
    loss = _build(name)
    assert "reduction='mean'" in repr(loss)
    student, teacher = _maps()
    needs = _needs(loss)
    twin = copy.deepcopy(loss)
    assert torch.equal(twin(student, teacher, **needs), loss(student, teacher, **needs))


@every_loss
@pytest.mark.parametrize('kind', [None, 'bool', 'weights'])
def test_gradient(name, kind):
    loss = _build(name)
    student, teacher = _maps()
    mask = None if kind is None else _mask(kind)
    if type(loss).__name__ in DETACHED:
        teacher.requires_grad_(False)
    # Fast mode compares a random projection of the Jacobian, which any wrong entry changes.
    assert torch.autograd.gradcheck(
        lambda s, t: loss(s, t, mask, **_needs(loss)), (student, teacher), fast_mode=True
    )


@every_loss
def test_perfect_students_pay_nothing(name):
    if name.startswith(('mgd', 'fgd', 'temporal')):
        pytest.skip('what is generated, or contrasted, differs from the teacher')
    loss = _build(name)
    student, _ = _maps()
    value = loss(student, student.detach(), **_needs(loss))
    assert value.item() == pytest.approx(0, abs=1e-9)


@every_loss
@pytest.mark.parametrize('reduction', ['mean', 'sum', 'sample'])
def test_a_mask_is_a_crop(name, reduction):
    loss = _build(name)
    student, teacher = _maps()
    mask = torch.zeros(N, 1, H, W, dtype=torch.bool)
    h, w = CROP
    mask[:, :, :h, :w] = True
    got = loss(student, teacher, mask, reduction, **_needs(loss))
    size = (SIZE[0] * h / H, SIZE[1] * w / W)
    cut = loss(student[:, :, :h, :w], teacher[:, :, :h, :w], None, reduction, **_needs(loss, size))
    torch.testing.assert_close(got, cut)
    assert got.abs().sum() > 0


@every_loss
def test_true_is_a_weight_of_one(name):
    loss = _build(name)
    student, teacher = _maps()
    mask = _mask('bool')
    needs = _needs(loss)
    for weights in (mask.double(), mask.half(), mask.long()):
        for reduction in loss.reductions:
            torch.testing.assert_close(
                loss(student, teacher, weights, reduction, **needs),
                loss(student, teacher, mask, reduction, **needs),
            )
    whole = torch.ones_like(mask)
    torch.testing.assert_close(
        loss(student, teacher, whole, **needs), loss(student, teacher, **needs)
    )


@every_loss
def test_weights_weigh(name):
    loss = _build(name)
    student, teacher = _maps()
    weights, needs = _mask('weights'), _needs(loss)
    value = loss(student, teacher, weights, **needs)
    assert value.item() != loss(student, teacher, weights > 0, **needs).item()
    half = loss(student, teacher, weights / 2, **needs)
    if type(loss).__name__ in SUMS:
        assert half.item() < value.item()
    else:
        torch.testing.assert_close(half, value)


@every_loss
@masked
@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_what_is_masked_may_be_anything(name, kind, bad):
    loss = _build(name)
    mask, needs = _mask(kind), _needs(loss)
    found = []
    for value in (0.5, bad):
        inputs = [
            torch.where(mask > 0, x, torch.full_like(x, value)).detach().requires_grad_()
            for x in _maps()
        ]
        for reduction in loss.reductions:
            loss.zero_grad()
            out = loss(*inputs, mask, reduction, **needs)
            grads = _grads(out, *inputs, *loss.parameters())
            assert torch.equal(grads[0] * (mask == 0), torch.zeros_like(grads[0]))
            found.append([out, *grads])
    for clean, dirty in zip(found[: len(found) // 2], found[len(found) // 2 :]):
        for a, b in zip(clean, dirty):
            assert torch.isfinite(b).all()
            assert torch.equal(a, b)


@every_loss
@masked
def test_nothing_valid_is_an_exact_zero_with_a_gradient(name, kind):
    loss = _build(name)
    mask = torch.zeros_like(_mask(kind))
    for reduction in loss.reductions:
        student, teacher = _maps()
        loss.zero_grad()
        # Not even a NaN that is thrown away later: it would hide the ones that somebody hunts.
        with torch.autograd.set_detect_anomaly(True):
            value = loss(student, teacher, mask, reduction, **_needs(loss))
            value.sum().backward()
        assert torch.equal(value, torch.zeros_like(value))
        # Not None: DDP waits for every parameter.
        for p in [student, *loss.parameters()]:
            assert torch.equal(p.grad, torch.zeros_like(p))


@every_loss
@masked
def test_an_image_of_padding_is_as_if_it_were_not_there(name, kind):
    loss = _build(name)
    student, teacher = _maps()
    mask, needs = _mask(kind), _needs(loss)
    mask[3] = 0
    rest = dict(needs)
    if 'instances' in needs:
        rest['instances'] = make(BOXES[:3], IDS[:3], SIZE)
    if 'labels' in needs:
        rest['labels'] = needs['labels'][:3]
    if 'response' in needs:
        rest['response'] = _response(3)
    for reduction in ('mean', 'sum', 'sample'):
        value = loss(student, teacher, mask, reduction, **needs)
        grad = _grads(value, student)[0]
        assert torch.equal(grad[3], torch.zeros_like(grad[3]))
        if reduction == 'sample':
            assert value.shape == (N,)
            assert value[3].item() == 0
            value = value[:3]
        expected = loss(student[:3], teacher[:3], mask[:3], reduction, **rest)
        torch.testing.assert_close(value, expected)
        assert expected.abs().sum() > 0


@every_loss
@pytest.mark.parametrize('kind', [None, 'bool', 'weights'])
def test_reductions_agree(name, kind):
    loss = _build(name)
    student, teacher = _maps()
    mask = None if kind is None else _mask(kind)
    out = {r: loss(student, teacher, mask, r, **_needs(loss)) for r in loss.reductions}
    assert out['mean'].shape == out['sum'].shape == ()
    assert out['sample'].shape == (N,)
    low, high = out['sample'].min() - 1e-12, out['sample'].max() + 1e-12
    assert low <= out['mean'] <= high
    if 'none' in out:
        torch.testing.assert_close(out['none'].sum(), out['sum'])
    for reduction, value in out.items():
        loss.reduction = reduction
        assert torch.equal(loss(student, teacher, mask, **_needs(loss)), value)
    with pytest.raises(MMKDError, match="no reduction 'meen'.*Did you mean 'mean'"):
        loss(student, teacher, mask, 'meen', **_needs(loss))


@every_loss
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_is_computed_in_float32(name, dtype):
    loss = _build(name, torch.float32)
    student, teacher = (x.detach() for x in _maps(dtype))
    mask, needs = _mask('weights', torch.float32), _needs(loss)
    exact = loss(student.float(), teacher.float(), mask, **needs)
    assert exact.dtype == torch.float32
    assert torch.equal(loss(student, teacher, mask, **needs), exact)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(loss(student, teacher, mask, **needs), exact)
    student = student.clone().requires_grad_()
    loss(student, teacher.float(), mask, **needs).backward()
    assert student.grad.dtype == dtype


@every_loss
def test_maps_that_do_not_meet_are_both_named(name):
    loss = _build(name)
    student, teacher = _maps()
    with pytest.raises(MMKDError) as caught:
        loss(student, teacher[:, :, :2], **_needs(loss))
    assert type(loss).__name__ in str(caught.value)
    assert f'({N}, {C}, {H}, {W})' in str(caught.value)
    assert f'({N}, {C}, 2, {W})' in str(caught.value)
    if loss.same_channels:
        with pytest.raises(MMKDError, match=rf'\({N}, {C}, {H}, {W}\).*\({N}, 2, {H}, {W}\)'):
            loss(student, teacher[:, :2], **_needs(loss))
    else:
        loss(student, teacher[:, :2], **_needs(loss))
    with pytest.raises(MMKDError, match=rf'mask of shape \({N}, 1, {H}, {W}\)'):
        loss(student, teacher, torch.ones(N, H, W), **_needs(loss))


@every_loss
def test_inputs_stay_as_they_are(name):
    loss = _build(name)
    student, teacher = (x.detach() for x in _maps())
    mask = _mask('weights')
    before = [x.clone() for x in (student, teacher, mask)]
    loss(student, teacher, mask, **_needs(loss))
    assert all(torch.equal(a, b) for a, b in zip(before, (student, teacher, mask)))


class _NoWaiting(TorchDispatchMode):
    """Fails on what makes the host wait for a device."""

    WAITS = ('_local_scalar_dense', 'nonzero', '_unique2', 'unique_dim', 'masked_select', 'equal')

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().split('::')[1].split('.')[0]
        assert name not in self.WAITS, f'{func} waits for the device'
        if name.startswith(('index', '_index')) and len(args) > 1:
            indices = args[1] if isinstance(args[1], (list, tuple)) else [args[1]]
            for index in indices:
                of = getattr(index, 'dtype', None)
                assert of not in (torch.bool, torch.uint8), f'{func} with a bool index waits'
        return func(*args, **(kwargs or {}))


def test_waiting_is_noticed():
    x = torch.rand(3)
    for wait in (
        lambda: x[x > 0.5],
        lambda: x.sum().item(),
        lambda: x.nonzero(),
        lambda: bool(x[0]),
    ):
        with pytest.raises(AssertionError, match='waits'), _NoWaiting():
            wait()


@every_loss
@pytest.mark.parametrize('kind', [None, 'bool', 'weights'])
def test_the_host_never_waits(name, kind):
    loss = _build(name).train()
    mask = None if kind is None else _mask(kind)
    needs = _needs(loss)
    for reduction in loss.reductions:
        student, teacher = _maps()
        with _NoWaiting():
            loss(student, teacher, mask, reduction, **needs).sum().backward()


@every_loss
def test_runs_on_shapes_alone(name):
    if not NEW_TORCH:
        pytest.skip('this release lacks some operators on the meta device')
    loss = _build(name).to('meta').train()
    student, teacher = (x.detach().to('meta').requires_grad_() for x in _maps())
    needs = _needs(loss)
    if 'labels' in needs:
        needs['labels'] = needs['labels'].to('meta')
    if 'instances' in needs:
        found = needs['instances']
        moved = {k: getattr(found, k).to('meta') for k in ('boxes', 'image', 'ids', 'labels')}
        needs['instances'] = found._replace(**moved)
    if 'response' in needs:
        given = needs['response']
        needs['response'] = given._replace(
            matched=given.matched.to('meta'),
            positive=given.positive.to('meta'),
            teacher={'cls': given.teacher['cls'].to('meta')},
        )
    value = loss(student, teacher, _mask('bool').to('meta'), **needs)
    value.backward()
    assert value.shape == ()
    assert student.grad.shape == student.shape


@pytest.mark.slow
@every_loss
def test_compiles_in_one_piece(name):
    if not NEW_TORCH:
        pytest.skip('torch.compile of this release cannot trace a switched-off autocast')
    loss = _build(name)
    mask, needs = _mask('weights'), _needs(loss)
    torch._dynamo.reset()
    compiled = torch.compile(loss, backend='aot_eager', fullgraph=True)
    found = []
    for run in (loss, compiled):
        student, teacher = _maps()
        value = run(student, teacher, mask, **needs)
        found.append([value, *_grads(value, student, *loss.parameters())])
    for a, b in zip(*found):
        torch.testing.assert_close(a, b)


@every_loss
def test_vectors_are_maps_of_one_place(name):
    loss = _build(name)
    if 'instances' in loss.needs or name in ('at', 'at-1', 'cwd', 'pkd-image'):
        pytest.skip('compares places')
    student, teacher = (x[:, :, 0, 0] for x in _maps())
    needs = _needs(loss)
    if 'response' in needs:
        needs['response'] = _response(h=1, w=1)
    torch.testing.assert_close(
        loss(student, teacher, **needs),
        loss(student[:, :, None, None], teacher[:, :, None, None], **needs),
    )
    mask = torch.tensor([True, False, True, True])[:, None, None, None]
    sample = loss(student, teacher, mask, 'sample', **needs)
    assert sample.shape == (N,)
    assert sample[1].item() == 0
