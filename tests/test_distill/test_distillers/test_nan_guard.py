import copy
import json
import pickle

import pytest
import torch
from mmengine.logging import MMLogger
from torch import nn

from mmkd.distill.distillers import nan_guard
from mmkd.distill.distillers.nan_guard import NaNGuard, batch_files
from mmkd.errors import MMKDError

from ..toys import ToyStudent, batch, build, sample


class Poisoned(ToyStudent):
    """Gives NaN or Inf in one place."""

    where = None

    def forward(self, inputs, data_samples=None, mode='tensor'):
        features = self.backbone(inputs)
        if self.where == 'features':
            features = features + torch.tensor([0.0, float('inf')]).view(2, 1, 1, 1)
        heat = self.head(self.neck(features)[0])
        if mode != 'loss':
            return heat
        task = heat.square().mean()
        return {'loss_heat': task * float('nan') if self.where == 'task' else task}


def _build(where, policy='stop'):
    student = Poisoned()
    distiller = build(student=student, nan_policy=policy).train()
    student.where = where
    return distiller


def _samples():
    return [sample(img_shape=(56, 84), img_path=f'seq/{i}.jpg') for i in range(2)]


def _backward(out):
    sum(v for k, v in out.items() if 'loss' in k).backward()


def test_the_student_the_sample_and_its_file_are_named():
    distiller = _build('features')
    distiller(batch()[0], _samples(), mode='loss')
    with pytest.raises(MMKDError) as error:
        distiller(batch()[0], _samples(), mode='loss')
    text = str(error.value)
    assert 'neck[0] of the student (of sample 1)' in text
    assert 'Sample 1 is seq/1.jpg' in text
    assert 'last of teacher' not in text


def test_a_bad_picture_is_named_on_both_sides():
    distiller = _build(None)
    inputs, samples = batch()
    inputs[0, 0, 5, 5] = float('nan')
    distiller(inputs, _samples(), mode='loss')
    with pytest.raises(MMKDError, match=r'neck\[0\] of the student') as error:
        distiller(*batch(), mode='loss')
    assert 'last of teacher (of sample 0)' in str(error.value)
    assert 'the images (of sample 0)' in str(error.value)
    assert 'seq/0.jpg' in str(error.value)


def test_a_task_loss_is_named():
    distiller = _build('task')
    distiller(*batch(), mode='loss')
    with pytest.raises(MMKDError, match=r'loss_heat \(of the whole batch\)'):
        distiller(*batch(), mode='loss')


def test_a_plain_step_is_looked_at_too():
    student = Poisoned()
    student.where = 'task'
    distiller = build(student=student, alpha=0.0).train()
    distiller(*batch(), mode='loss')
    with pytest.raises(MMKDError, match='loss_heat'):
        distiller(*batch(), mode='loss')


def test_nothing_bad_is_ever_saved():
    distiller = _build('task')
    distiller(*batch(), mode='loss')
    with pytest.raises(MMKDError, match='NaN or Inf'):
        distiller.state_dict()


def test_a_finite_run_is_left_alone():
    distiller = _build(None)
    for _ in range(3):
        _backward(distiller(*batch(), mode='loss'))
    distiller.state_dict()


def test_off_is_off():
    distiller = _build('task', 'off')
    for _ in range(2):
        assert distiller(*batch(), mode='loss')['loss_heat'].isnan()


@pytest.mark.parametrize('where', ['features', 'task'])
def test_a_skipped_batch_teaches_nothing_and_leaves_no_trace(where):
    distiller = _build(where, 'skip')
    before = {k: v.clone() for k, v in distiller.state_dict().items()}
    out = distiller(*batch(), mode='loss')
    assert all(v == 0 for k, v in out.items() if 'loss' in k)
    _backward(out)
    trained = [p for p in distiller.parameters() if p.requires_grad]
    assert all(p.grad is not None and not p.grad.any() for p in trained)
    after = distiller.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    distiller.student.where = None
    distiller.zero_grad()
    _backward(distiller(*batch(), mode='loss'))
    assert any(p.grad.any() for p in trained)
    assert distiller.guard.skipped == 1


def test_too_many_bad_batches_in_a_row_are_no_accident(monkeypatch):
    monkeypatch.setattr(nan_guard, 'MAX_SKIPS', 3)
    distiller = _build('task', 'skip')
    distiller(*batch(), mode='loss')
    distiller.student.where = None
    distiller(*batch(), mode='loss')
    distiller.student.where = 'task'
    for _ in range(2):
        distiller(*batch(), mode='loss')
    with pytest.raises(MMKDError, match='batch number 3 in a row'):
        distiller(*batch(), mode='loss')


def test_the_record_is_written_beside_the_log(tmp_path, monkeypatch):
    logger = MMLogger('nan_guard', logger_name='nan_guard', log_file=str(tmp_path / 'x.log'))
    monkeypatch.setattr(MMLogger, 'get_current_instance', classmethod(lambda cls: logger))
    guard = NaNGuard('stop')
    guard.watch('a', torch.tensor([[1.0, 2.0], [float('nan'), 0.0]]))
    guard.watch('b', torch.tensor(1.0))
    guard.finish(17, ['x.jpg', 'y.jpg'], 2)
    with pytest.raises(MMKDError, match='step 17.*y.jpg.*nan_step17_rank0.json'):
        guard.read()
    record = json.loads((tmp_path / 'nan_step17_rank0.json').read_text())
    assert record == {'step': 17, 'tensors': {'a': [1]}, 'files': ['x.jpg', 'y.jpg']}


def test_large_half_precision_maps_do_not_overflow_the_sum():
    guard = NaNGuard('skip')
    guard.watch('a', torch.full((2, 3, 40, 40), 6e4, dtype=torch.float16))
    assert guard.finish(0, [], 2) is False


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize('bad', [None, float('nan'), float('inf'), -float('inf')])
def test_one_number_in_a_large_map_is_enough(dtype, layout, bad):
    value = torch.full((2, 3, 40, 41), 6e4 if dtype == torch.float16 else 3e33, dtype=dtype)
    value = value.to(memory_format=layout)
    if bad is not None:
        value[1, 2, 7, 40] = bad
    guard = NaNGuard('skip')
    guard.watch('a', value)
    assert guard.finish(0, [], 2) is (bad is not None)


def test_copies_have_made_no_step():
    guard = NaNGuard('stop')
    guard.watch('a', torch.tensor(float('nan')))
    guard.finish(0, [], 1)
    for other in (copy.deepcopy(guard), pickle.loads(pickle.dumps(guard))):
        assert other.read() is False
        assert other.policy == 'stop'


def test_files_of_clips_are_one_per_frame():
    clip = sample(img_path=['a/1.jpg', 'a/2.jpg'])
    assert batch_files([clip], 2) == ['a/1.jpg', 'a/2.jpg']
    assert batch_files([sample(img_path='a.jpg'), sample()], 4) == ['a.jpg', 'a.jpg', '', '']
    assert batch_files([sample(search_img_path='s.jpg')], 1) == ['s.jpg']
    assert batch_files(None, 3) == []


def test_an_unknown_policy_is_told():
    with pytest.raises(MMKDError, match="nan_policy='stopp'.*'stop'"):
        build(nan_policy='stopp')


def test_a_student_without_buffers_can_be_skipped_too():
    module = nn.Linear(2, 2)
    assert nan_guard.snapshot(module) == []
    zero = nan_guard.nothing(module)
    zero.backward()
    assert zero == 0
    assert not module.weight.grad.any()


class Twice(Poisoned):
    """Runs its neck on the features, then on something that is not a number."""

    def forward(self, inputs, data_samples=None, mode='tensor'):
        features = self.backbone(inputs)
        heat = self.head(self.neck(features)[0])
        second = features if self.where is None else features * float('inf')
        other = self.head(self.neck(second)[0])
        return {'loss_heat': heat.square().mean()} if mode == 'loss' else heat + other


def test_two_runs_of_one_module_are_watched_apart():
    """A name is looked at once in a step; the runs of a module have names of their own."""
    student = Twice()
    pairs = [dict(student='neck[0]', teacher='last', call=run, name=f'run{run}') for run in (0, 1)]
    distiller = build(student=student, distill=pairs, nan_policy='stop').train()
    student.where = 'the second run'
    distiller(batch()[0], _samples(), mode='loss')
    with pytest.raises(MMKDError) as error:
        distiller(batch()[0], _samples(), mode='loss')
    assert 'neck[0]@1 of the student' in str(error.value)
    assert 'neck[0]@0' not in str(error.value)
