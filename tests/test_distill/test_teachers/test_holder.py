import copy
import pickle

import pytest
import torch
from torch import nn

from mmkd.distill.teachers.holder import TeacherHolder
from mmkd.errors import MMKDError

from ..toys import PREPROCESSOR, TINY, ToyStudent

TAP = 'neck[0]'
CONFIGS = {
    'dinov2': ({'type': 'mmkd.DINOv2Teacher', 'arch': dict(TINY), 'weights': 'random'}, 'last'),
    'model': (
        {'type': 'mmkd.ModelTeacher', 'config': {'type': 'ToyStudent'}, 'weights': 'random'},
        TAP,
    ),
    'average': ({'type': 'mmkd.EMATeacher', 'momentum': 0.5}, TAP),
}


class Wrapper(nn.Module):
    """As a distiller has them: the student in the tree, the teacher beside it."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.student = ToyStudent(dict(PREPROCESSOR))
        config, self.feature = CONFIGS[kind]
        self.holder = TeacherHolder(config)
        self.teacher.bind(self.student)
        self.teacher.request([self.feature])

    @property
    def teacher(self):
        return self.holder.teacher

    def look(self):
        self.holder.load(next(self.student.parameters()))
        images = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 255
        return self.teacher(images)[self.feature]

    def step(self):
        with torch.no_grad():
            for parameter in self.student.parameters():
                parameter.add_(0.1)
        self.teacher.update(self.student)

    def _apply(self, fn, *args, **kwargs):
        super()._apply(fn, *args, **kwargs)
        self.holder.apply(fn)
        return self


def _copies(wrapper):
    return [copy.deepcopy(wrapper), pickle.loads(pickle.dumps(wrapper))]


@pytest.mark.parametrize('kind', CONFIGS)
@pytest.mark.parametrize('loaded', [False, True])
def test_copies_and_pickles_teach_the_same(kind, loaded):
    wrapper = Wrapper(kind)
    if loaded:
        wrapper.look()
    for other in _copies(wrapper):
        assert other.teacher._requested == (wrapper.feature,)
        assert torch.equal(other.look(), wrapper.look())


@pytest.mark.parametrize('kind', ['dinov2', 'model'])
def test_copies_share_what_never_changes(kind):
    wrapper = Wrapper(kind)
    wrapper.look()
    other = copy.deepcopy(wrapper)
    assert other.teacher is wrapper.teacher
    # A pickle has the config alone.
    assert not pickle.loads(pickle.dumps(wrapper)).teacher.loaded
    # Nothing is moved under the original's feet.
    other.double()
    assert next(wrapper.teacher.parameters()).dtype == torch.float32
    assert other.look().dtype == torch.float64


def test_an_average_is_copied_with_its_student():
    wrapper = Wrapper('average')
    wrapper.look()
    wrapper.step()
    wrapper.step()
    before = wrapper.look()
    for other in _copies(wrapper):
        assert other.teacher is not wrapper.teacher
        assert other.teacher._student[0] is other.student
        assert other.student is not wrapper.student
        assert torch.equal(other.look(), before)
        other.step()
        assert not torch.equal(other.look(), before)
        assert torch.equal(wrapper.look(), before)
    wrapper.step()
    assert not torch.equal(wrapper.look(), before)


def test_it_is_no_part_of_the_tree():
    wrapper = Wrapper('average')
    names = set(wrapper.state_dict())
    wrapper.look()
    assert set(wrapper.state_dict()) == names
    assert len(list(wrapper.parameters())) == len(list(wrapper.student.parameters()))


def test_only_teachers_are_held():
    with pytest.raises(MMKDError, match='needs a teacher.*got a Conv2d'):
        TeacherHolder(nn.Conv2d(1, 1, 1))
