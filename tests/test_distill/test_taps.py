import gc
import weakref

import pytest
import torch
from torch import nn

from mmkd.distill.taps import Tap, TapRecorder
from mmkd.errors import MMKDError

from .toys import ToyStudent, batch


@pytest.fixture
def student():
    return ToyStudent()


@pytest.mark.parametrize(
    ('path', 'channels'),
    [
        ('backbone', 6),
        ('backbone.1', 6),
        ('neck[0]', 10),
        ('neck.0', 10),
        ('neck.1', 4),
        ('neck[-1]', 4),
        ('neck.lateral', 10),
        ('head', 1),
    ],
)
def test_a_path_names_a_module_and_a_part_of_its_output(student, path, channels):
    recorder = TapRecorder([Tap(student, path)])
    with recorder.record(student):
        student(batch()[0])
    assert recorder.get(path).shape[1] == channels


def test_a_child_goes_before_an_index(student):
    assert Tap(student, 'backbone.1').module(student) is student.backbone[1]
    assert Tap(student, 'neck.1').module(student) is student.neck


def test_a_dict_output_is_tapped_by_its_key(student):
    tap = Tap(student, 'head[heatmap]')
    value = torch.zeros(1, 1, 2, 2)
    assert tap.select({'heatmap': value}) is value
    with pytest.raises(MMKDError, match=r'\[heatmap\].*other: a tensor \(1, 1, 2, 2\)'):
        tap.select({'other': value})


def test_a_wrong_path_names_the_nearest_and_shows_that_level(student):
    with pytest.raises(MMKDError, match='neck') as error:
        Tap(student, 'nek')
    assert "Did you mean 'neck'" in str(error.value)
    assert 'backbone (Sequential); neck (ToyNeck)' in str(error.value)
    with pytest.raises(MMKDError, match=r"Children of 'neck': lateral \(Conv2d\)"):
        Tap(student, 'neck.latral')


@pytest.mark.parametrize('path', ['', None, 3, '0'])
def test_what_is_no_path_is_refused(student, path):
    with pytest.raises(MMKDError):
        Tap(student, path)


def test_an_ambiguous_output_lists_its_parts(student):
    with pytest.raises(MMKDError, match=r'neck\[0\].*neck\[1\]'):
        Tap(student, 'neck').select(student.neck(torch.zeros(1, 6, 4, 4)))


def test_an_index_too_far_tells_the_shapes(student):
    with pytest.raises(MMKDError, match=r'asks for \[2\].*\(1, 10, 4, 4\)'):
        Tap(student, 'neck[2]').select(student.neck(torch.zeros(1, 6, 4, 4)))


def test_calls_are_kept_apart(student):
    recorder = TapRecorder([Tap(student, 'backbone')])
    inputs = batch()[0]
    with recorder.record(student.eval()):
        student(inputs)
        student(2 * inputs)
    first, second = recorder.get('backbone', 0), recorder.get('backbone', 1)
    assert not torch.equal(first, second)
    assert recorder.get('backbone', -1) is second
    with pytest.raises(MMKDError, match='ran 2 times.*call=0 to call=1'):
        recorder.get('backbone')
    with pytest.raises(MMKDError, match='call=2'):
        recorder.get('backbone', 2)


def test_a_module_that_did_not_run_is_told(student):
    recorder = TapRecorder([Tap(student, 'head')])
    with recorder.record(student):
        student.backbone(batch()[0])
    with pytest.raises(MMKDError, match="'head' did not run"):
        recorder.get('head')


def test_hooks_are_gone_even_after_an_error(student):
    recorder = TapRecorder([Tap(student, 'backbone'), Tap(student, 'neck[0]')])
    hooked = []

    def fail(module, args):
        hooked.append(len(student.neck._forward_hooks))
        raise RuntimeError

    student.head.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError), recorder.record(student):
        student(batch()[0])
    assert hooked == [1]
    assert not any(module._forward_hooks for module in student.modules())


def test_nothing_keeps_the_graph_alive(student):
    recorder = TapRecorder([Tap(student, 'backbone')])
    with recorder.record(student):
        student(batch()[0])
    seen = weakref.ref(recorder.get('backbone'))
    del recorder
    gc.disable()
    try:
        # Reference counts alone free it: no cycle waits for the collector.
        assert seen() is None
    finally:
        gc.enable()


def test_what_is_no_tensor_at_all_is_described():
    class Counter(nn.Module):
        def forward(self, x):
            return 3

    model = nn.Sequential(Counter())
    with pytest.raises(MMKDError, match='must be one tensor, but that module gives a int'):
        Tap(model, '0').select(3)


@pytest.mark.parametrize('path', ['neck[0].lateral', 'backbone[0].1'])
def test_an_index_stands_at_the_end(student, path):
    with pytest.raises(MMKDError, match='index before the end'):
        Tap(student, path)


def test_no_image_is_picked_out_of_a_batch():
    with pytest.raises(MMKDError, match=r'asks for \[0\] of what .* a tensor \(2, 3, 4, 5, 6\)'):
        Tap(ToyStudent(), 'head[0]').select(torch.zeros(2, 3, 4, 5, 6))
