"""FairMOT in lower precision and compiled, against float32 run as it stands."""

from __future__ import annotations

import sys

import pytest
import torch
from mmengine.structures import InstanceData

from .test_fairmot import HEIGHT, WIDTH, batch, build

# A number of 8 (bfloat16) or 11 (float16) bits is off by 2^-9 or 2^-12 of itself, and about forty
# roundings follow one another in this network: in the mean they add up to sqrt(40), at worst to 40
# times that. Maps are measured against their largest value.
DTYPES = {torch.bfloat16: 0.05, torch.float16: 0.01}

COMPILES = hasattr(torch, 'compiler') and hasattr(torch.compiler, 'disable')
needs_compile = pytest.mark.skipif(
    not COMPILES or (torch.__version__ < '2.1' and sys.version_info >= (3, 11)),
    reason='torch before 2.1 cannot compile under Python 3.11',
)


def can_autocast(dtype) -> bool:
    if dtype == torch.bfloat16:
        return True
    try:
        with torch.autocast('cpu', dtype):
            out = torch.nn.functional.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3))
    except RuntimeError:
        return False
    return out.dtype == dtype


@pytest.fixture(params=list(DTYPES), ids=str)
def dtype(request):
    if not can_autocast(request.param):
        pytest.skip(f'this build of torch has no {request.param} on a processor')
    return request.param


def prepared(model, objects: int):
    data = batch(2)
    for sample in data['data_samples']:
        gt = InstanceData()
        gt.bboxes = torch.tensor([[8.0 + 3 * i, 8, 24 + 3 * i, 48] for i in range(objects)])
        gt.bboxes = gt.bboxes.view(-1, 4)
        gt.labels = torch.zeros(objects, dtype=torch.long)
        gt.instances_id = torch.arange(objects) % 4
        sample.gt_instances = gt
    return model.data_preprocessor(data, True)


def test_maps_in_lower_precision(dtype):
    model = build().eval()
    image = torch.rand(2, 3, HEIGHT, WIDTH)
    with torch.no_grad():
        reference = model(image, mode='tensor')
        with torch.autocast('cpu', dtype):
            maps = model(image, mode='tensor')
    for name, value in maps.items():
        assert value.dtype == dtype, 'autocast did nothing'
        error = (value.float() - reference[name]).abs().max() / reference[name].abs().max()
        assert error < DTYPES[dtype], name


def test_a_training_step_in_lower_precision(dtype):
    starts, gains = [], []
    for lower in (False, True):
        model = build()
        data = prepared(model, 3)
        with torch.autocast('cpu', dtype, enabled=lower):
            losses = model(**data, mode='loss')
        assert {v.dtype for v in losses.values()} == {torch.float32}
        before = losses['loss_det'] + losses['loss_id']
        before.backward()
        # Single gradients differ much: the signs of L1 flip, batch statistics of a few cells
        # cancel. What counts is that a step along them gains as much.
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 1e-4 * parameter.grad
            losses = model(**data, mode='loss')
        starts.append(before.item())
        gains.append(before.item() - (losses['loss_det'] + losses['loss_id']).item())
        if lower:  # measured from the same start
            gains[1] += starts[0] - starts[1]
    assert starts[1] == pytest.approx(starts[0], rel=DTYPES[dtype])
    assert gains[0] > 0.1
    assert gains[1] > 0.8 * gains[0]


def test_detections_are_decoded_in_float32(dtype):
    model = build().eval()
    model.head.score_thr = 0.0
    image = torch.rand(1, 3, HEIGHT, WIDTH)
    with torch.no_grad(), torch.autocast('cpu', dtype):
        maps = model(image, mode='tensor')
    # A box at x = 200 would be a whole pixel off in bfloat16.
    from mmkd.models.heads.fairmot_decode import decode_peaks

    low = decode_peaks(**maps, topk=20)
    full = decode_peaks(**{name: value.float() for name, value in maps.items()}, topk=20)
    for a, b in zip(low, full):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


class Counting:
    """A backend of torch.compile that runs each graph as it is, and counts them."""

    def __init__(self) -> None:
        self.graphs = []

    def __call__(self, module, inputs):
        self.graphs.append(sum(node.op == 'call_function' for node in module.graph.nodes))
        return module.forward


@needs_compile
@pytest.mark.slow
def test_training_breaks_at_the_targets_alone_for_any_number_of_objects():
    model, backend = build(), Counting()
    compiled = torch.compile(model.forward, backend=backend)
    counts = []
    for objects in (3, 5, 7, 0, 1):
        data = prepared(model, objects)
        expected = {k: v.detach() for k, v in model(**data, mode='loss').items()}
        losses = compiled(**data, mode='loss')
        torch.testing.assert_close({k: v.detach() for k, v in losses.items()}, expected)
        (losses['loss_det'] + losses['loss_id']).backward()
        counts.append(len(backend.graphs))
    assert counts[0] == 3, 'neck, head and losses: the only break is at the targets'
    assert counts[1] == counts[2] == 4, 'the losses once more, for any number of objects'
    assert counts[-1] <= 6, 'and for none, and for one'


@needs_compile
@pytest.mark.slow
def test_testing_has_two_graphs():
    model, backend = build().eval(), Counting()
    model.head.score_thr = 0.0
    compiled = torch.compile(model.forward, backend=backend)
    with torch.no_grad():
        for _ in range(3):
            data = prepared(model, 2)
            model.tracker.reset()
            expected = [s.pred_det_instances for s in model(**data, mode='predict')]
            model.tracker.reset()
            found = [s.pred_det_instances for s in compiled(**data, mode='predict')]
            for a, b in zip(found, expected):
                torch.testing.assert_close(a.bboxes, b.bboxes)
                torch.testing.assert_close(a.embeddings, b.embeddings)
    # One up to the neck and one to the decoded peaks; the tracker is left alone.
    assert len(backend.graphs) == 2


@needs_compile
@pytest.mark.slow
def test_inductor_s_code_computes_the_same():
    model = build()
    compiled = torch.compile(model.forward)
    data = prepared(model, 3)
    expected = model(**data, mode='loss')
    (expected['loss_det'] + expected['loss_id']).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    losses = compiled(**data, mode='loss')
    torch.testing.assert_close(dict(losses), dict(expected), rtol=1e-4, atol=1e-4)
    (losses['loss_det'] + losses['loss_id']).backward()
    for name, parameter in model.named_parameters():
        scale = gradients[name].abs().max().item()
        torch.testing.assert_close(
            parameter.grad, gradients[name], rtol=1e-3, atol=1e-3 * max(scale, 1e-6), msg=name
        )
