import pytest
import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import nn

from mmkd.distill.dry_run import TapInfo, probe
from mmkd.distill.taps import Tap
from mmkd.errors import MMKDError

from .toys import ToyStudent, build


def _probe(student, *paths, **kwargs):
    return probe(student, [Tap(student, path) for path in paths], **kwargs)


def test_finds_channels_and_strides():
    found, error = _probe(ToyStudent(), 'backbone', 'neck[1]')
    assert error is None
    assert found == {'backbone': TapInfo(6, 4), 'neck[1]': TapInfo(4, 8)}


def _fingerprint(model):
    return [(k, v.clone(), v.dtype) for k, v in model.state_dict().items()]


class NoMeta(ToyStudent):
    """Has an operator that the meta device lacks."""

    def forward(self, inputs, data_samples=None, mode='tensor'):
        float(inputs.sum())
        return super().forward(inputs, data_samples, mode)


@pytest.mark.parametrize('kind', [ToyStudent, NoMeta])
def test_leaves_no_trace(kind):
    student = kind().train()
    student.backbone[1].eval()
    before, modes = _fingerprint(student), [m.training for m in student.modules()]
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    found, _ = _probe(student, 'neck[0]')
    assert found['neck[0]'].channels == 10
    assert torch.equal(torch.rand(3), expected)
    assert [m.training for m in student.modules()] == modes
    assert all(torch.equal(a[1], b[1]) for a, b in zip(before, _fingerprint(student)))
    assert not any(m._forward_hooks for m in student.modules())
    assert {p.device.type for p in student.parameters()} == {'cpu'}


def test_stops_when_every_tap_has_been_seen():
    student = ToyStudent()
    ran = []
    student.head.register_forward_pre_hook(lambda *args: ran.append('head'))
    assert _probe(student, 'neck[0]')[1] is None
    assert ran == []
    _probe(student, 'head')
    assert ran == ['head']


def test_runs_in_eval_mode():
    student = ToyStudent().train()
    modes = []
    student.backbone.register_forward_pre_hook(
        lambda module, args: modes.append(module[1].training)
    )
    _probe(student, 'neck[0]')
    assert modes == [False]


class TrackDataPreprocessor(BaseDataPreprocessor):
    """Named as mmtrack's, which is recognised by that."""


class Clip(BaseModel):
    """Reads what mmtrack's models read; of other inputs it makes nonsense."""

    def __init__(self, key='img'):
        super().__init__(TrackDataPreprocessor())
        self.conv = nn.Conv2d(3, 5, 3, stride=2)
        self.key = key

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.conv(inputs[self.key][:, 0])


def test_clips_are_tried_as_mmtrack_reads_them():
    assert _probe(Clip(), 'conv')[0]['conv'].channels == 5


def test_other_inputs_are_described():
    found, error = _probe(Clip('other_img'), 'conv')
    assert found == {}
    assert isinstance(error, KeyError)
    shapes = {'other_img': (1, 1, 3, 32, 32)}
    assert _probe(Clip('other_img'), 'conv', dry_input=shapes)[0]['conv'].channels == 5


class Needs128(ToyStudent):
    def forward(self, inputs, data_samples=None, mode='tensor'):
        if inputs.shape[-1] < 128:
            raise ValueError('too small')
        return super().forward(inputs, data_samples, mode)


def test_larger_inputs_are_tried():
    assert _probe(Needs128(), 'neck[0]')[0]['neck[0]'] == TapInfo(10, 4)


def test_channels_that_cannot_be_found_can_be_typed():
    with pytest.raises(MMKDError, match='no tensor mode.*dry_input.*type in_channels='):
        build(student=ToyStudent(fail_dry=True))
    typed = {'type': 'mmkd.FeatureTransform', 'in_channels': 10}
    distiller = build(
        student=ToyStudent(fail_dry=True),
        distill=[{'student': 'neck[0]', 'teacher': 'last', 'transform': typed}],
    )
    assert distiller.distill['neck_0'].transform.in_channels == 10
    assert distiller.report()['pairs'][0]['student_channels'] == '?'
