"""The student's side of the bargain: used, saved and loaded as if nobody distilled."""

import copy
import io
import pickle

import pytest
import torch
from mmengine.model import ExponentialMovingAverage, MMDistributedDataParallel
from mmengine.optim import build_optim_wrapper
from mmengine.runner.checkpoint import get_state_dict
from mmengine.runner.checkpoint import load_state_dict as mmengine_load
from torch import nn

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..toys import PREPROCESSOR, ToyStudent, batch, build, config


class Wrapped(nn.Module):
    """Stands where DDP or EMA would, with their prefix."""

    def __init__(self, model):
        super().__init__()
        self.module = model


def _scramble(model):
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_()
    return model


def _equal(first, second):
    return list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)


def _torch_load(module, state):
    result = module.load_state_dict(state, strict=False)
    return result.missing_keys, result.unexpected_keys


@pytest.mark.parametrize('save', [lambda m: m.state_dict(), get_state_dict])
def test_the_state_dict_is_the_students_then_distill(save):
    distiller, plain = build(), ToyStudent()
    state, expected = save(distiller), save(plain)
    keys = list(state)
    assert keys[: len(expected)] == list(expected)
    assert all(key.startswith('distill.neck_0.') for key in keys[len(expected) :])
    assert len(keys) > len(expected)
    theirs = {k: v for k, v in state._metadata.items() if k.split('.')[0] != 'distill'}
    assert theirs == dict(expected._metadata)


@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize('strict', [True, False])
def test_goes_round_through_torch(prefix, strict):
    source, target = _scramble(build()), build()
    outer = (Wrapped(source), Wrapped(target)) if prefix else (source, target)
    state = outer[0].state_dict()
    outer[1].load_state_dict(state, strict=strict)
    assert _equal(source.state_dict(), target.state_dict())
    assert all(key.startswith(prefix) for key in state)
    assert not any('student' in key for key in state)


def test_goes_round_through_mmengine():
    source, target = _scramble(build()), build()
    mmengine_load(target, get_state_dict(source), strict=True)
    assert _equal(source.state_dict(), target.state_dict())


@pytest.mark.parametrize('load', [nn.Module.load_state_dict, mmengine_load])
def test_the_callers_dict_stays_as_it_was(load):
    state = _scramble(build()).state_dict()
    before, metadata = dict(state), dict(state._metadata)
    load(build(), state)
    assert list(before) == list(state)
    assert metadata == dict(state._metadata)


@pytest.mark.parametrize('load', [nn.Module.load_state_dict, mmengine_load])
def test_a_distilled_checkpoint_fits_the_plain_model(load):
    state = _scramble(build()).state_dict()
    plain = ToyStudent()
    missing, unexpected = _torch_load(plain, state)
    assert missing == []
    assert {key.split('.')[0] for key in unexpected} == {'distill'}
    student_only = {k: v for k, v in state.items() if not k.startswith('distill.')}
    load(plain, student_only, strict=True)
    assert _equal(plain.state_dict(), student_only)


def test_a_plain_checkpoint_fits_the_distiller():
    plain, distiller = _scramble(ToyStudent()), build()
    missing, unexpected = _torch_load(distiller, plain.state_dict())
    assert unexpected == []
    assert {key.split('.')[0] for key in missing} == {'distill'}
    assert _equal(distiller.student.state_dict(), plain.state_dict())


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_missing_and_unexpected_keys_are_named_as_in_the_file(prefix):
    distiller = build()
    outer = Wrapped(distiller) if prefix else distiller
    state = outer.state_dict()
    del state[f'{prefix}head.bias']
    state[f'{prefix}head.extra'] = torch.zeros(1)
    assert _torch_load(outer, state) == ([f'{prefix}head.bias'], [f'{prefix}head.extra'])


@pytest.mark.parametrize('load', [nn.Module.load_state_dict, mmengine_load])
def test_the_students_modules_see_the_versions_of_the_file(load):
    distiller = build()
    seen = []

    def look(state, prefix, local_metadata, *args):
        seen.append(local_metadata.get('version'))

    distiller.student.backbone[1]._register_load_state_dict_pre_hook(look)
    load(distiller, distiller.state_dict())
    load(distiller, ToyStudent().state_dict()) if load is mmengine_load else load(
        distiller, ToyStudent().state_dict(), strict=False
    )
    assert seen == [2, 2]


def test_a_student_within_a_student_keeps_its_names():
    class Nested(ToyStudent):
        def __init__(self):
            super().__init__()
            self.student = nn.Sequential(nn.Linear(1, 1))
            self.student.add_module('student', nn.Linear(1, 1))

    distiller = build(student=Nested())
    assert set(Nested().state_dict()) <= set(distiller.state_dict())
    other = build(student=Nested())
    other.load_state_dict(_scramble(distiller).state_dict(), strict=True)
    assert _equal(distiller.state_dict(), other.state_dict())


def test_a_student_with_a_part_named_distill_is_refused():
    class Taken(ToyStudent):
        def __init__(self):
            super().__init__()
            self.distill = nn.Linear(1, 1)

    with pytest.raises(MMKDError, match="Taken has a part named 'distill'"):
        build(student=Taken())


def test_the_student_must_be_a_model_of_openmmlab():
    with pytest.raises(MMKDError, match='BaseModel.*Linear'):
        build(student=nn.Linear(1, 1))


def test_public_attributes_fall_through_and_private_ones_do_not():
    distiller = build()
    assert distiller.tracker == 'a plain attribute'
    assert distiller.backbone is distiller.student.backbone
    assert distiller.data_preprocessor is distiller.student.data_preprocessor
    distiller.student._secret = 1
    assert not hasattr(distiller, '_secret')
    assert not hasattr(distiller, 'no_such_thing')
    with pytest.raises(AttributeError, match='FeatureDistiller nor its student ToyStudent'):
        distiller.no_such_thing  # noqa: B018
    # Nothing is asked of a student that is not there yet.
    empty = type(distiller).__new__(type(distiller))
    assert not hasattr(empty, 'anything')


def test_the_data_preprocessor_is_the_students():
    distiller = build()
    assert [n for n, _ in distiller.named_children()] == ['student', 'distill']
    other = MODELS.build(PREPROCESSOR)
    distiller.data_preprocessor = other
    assert distiller.student.data_preprocessor is other
    # mmengine's Runner hands a config's top-level one to the outermost model.
    given = build(data_preprocessor=dict(PREPROCESSOR, mean=[1.0, 2.0, 3.0]))
    assert given.data_preprocessor.mean.flatten().tolist() == [1, 2, 3]


def test_predict_and_tensor_are_the_students_and_load_no_teacher():
    distiller = build(teacher=dict(config()['teacher'], weights='no/such/file.pth')).eval()
    inputs, samples = batch()
    with torch.no_grad():
        for mode in ('tensor', 'predict'):
            ours = distiller(inputs, samples, mode=mode)
            theirs = distiller.student(inputs, samples, mode=mode)
            assert torch.equal(ours[0], theirs[0])
        data = {'inputs': [torch.zeros(3, 28, 28, dtype=torch.uint8)]}
        assert len(distiller.val_step(data)) == len(distiller.test_step(data)) == 1
    distiller.init_weights()
    assert not distiller.teacher.loaded
    with pytest.raises(MMKDError, match='no DINOv2 weights file'):
        distiller.train()


def test_the_teacher_comes_with_training():
    for begin in (lambda d: d.train(), lambda d: d(*batch(), mode='loss')):
        distiller = build().eval()
        assert not distiller.teacher.loaded
        begin(distiller)
        assert distiller.teacher.loaded
        assert not any(module.training for module in distiller.teacher.modules())


def test_the_teacher_is_nowhere():
    distiller = build().train()
    teachers = {id(t) for t in (*distiller.teacher.parameters(), *distiller.teacher.buffers())}
    assert teachers
    for tensors in (distiller.parameters(), distiller.buffers()):
        assert not teachers & {id(t) for t in tensors}
    assert not any(module is distiller.teacher for module in distiller.modules())
    wrapper = build_optim_wrapper(
        distiller, {'optimizer': {'type': 'AdamW', 'lr': 1e-3}, 'type': 'OptimWrapper'}
    )
    assert not teachers & {id(p) for g in wrapper.param_groups for p in g['params']}
    more = set(distiller.state_dict()) - set(build().state_dict())
    assert more == {f'distill.teachers.teacher.{what}' for what in ('fingerprint', 'identity')}


def test_the_teacher_follows_moves_and_casts():
    distiller = build().train()
    distiller.double()
    assert {p.dtype for p in distiller.teacher.parameters()} == {torch.float64}
    distiller.float().to('meta')
    assert {p.device.type for p in distiller.teacher.parameters()} == {'meta'}
    late = build().half()
    late.start()
    assert {p.dtype for p in late.teacher.parameters()} == {torch.float16}


def test_init_weights_is_the_students_and_never_the_teachers():
    distiller = build().train()
    before = distiller.teacher.fingerprint()
    distiller.init_weights()
    assert distiller.student.init_calls == 1
    assert distiller.teacher.fingerprint() == before


def test_the_student_starts_as_the_plain_one_would():
    torch.manual_seed(0)
    plain = ToyStudent()
    after = torch.rand(3)
    distiller = build()
    assert _equal(plain.state_dict(), distiller.student.state_dict())
    assert torch.equal(torch.rand(3), after)


def test_a_copy_shares_the_teacher_until_it_is_moved():
    distiller = build().train()
    twin = copy.deepcopy(distiller)
    assert twin.teacher is distiller.teacher
    assert twin.student is not distiller.student
    assert _equal(twin.state_dict(), distiller.state_dict())
    twin.double()
    assert {p.dtype for p in distiller.teacher.parameters()} == {torch.float32}
    twin.train()
    assert twin.teacher is not distiller.teacher
    assert {p.dtype for p in twin.teacher.parameters()} == {torch.float64}
    loss = twin(batch()[0].double(), batch()[1], mode='loss')['loss_kd_neck_0']
    assert torch.isfinite(loss)


def test_a_pickle_leaves_the_teachers_weights_out():
    distiller = build(distill=[{'student': 'neck[0]', 'teacher': 'block_1'}])
    small = len(pickle.dumps(distiller))
    distiller.train()
    data = pickle.dumps(distiller)
    assert len(data) < small + 2000
    twin = pickle.loads(data)
    assert not twin.teacher.loaded
    twin.train()
    assert twin.teacher.fingerprint() == distiller.teacher.fingerprint()
    assert torch.isfinite(twin(*batch(), mode='loss')['loss_kd_neck_0'])
    torch.save(distiller, io.BytesIO())


@pytest.mark.parametrize('buffers', [False, True])
def test_mmengines_moving_average(buffers):
    distiller = build().train()
    ema = ExponentialMovingAverage(distiller, momentum=0.5, update_buffers=buffers)
    ema.update_parameters(distiller)
    _scramble(distiller)
    ema.update_parameters(distiller)
    state = ema.state_dict()
    assert {k[7:] for k in state if k.startswith('module.')} == set(distiller.state_dict())
    again = ExponentialMovingAverage(build(), momentum=0.5, update_buffers=buffers)
    again.load_state_dict(state, strict=True)
    assert _equal(again.module.state_dict(), ema.module.state_dict())
    assert ema.module.teacher is distiller.teacher


@pytest.mark.parametrize('alpha', [-0.1, 1.5, 'half', None, True, float('nan')])
def test_alpha_is_a_share(alpha):
    with pytest.raises(MMKDError, match=r'number in \[0, 1\]'):
        build(alpha=alpha)


def test_alpha_one_warns():
    with pytest.warns(UserWarning, match='erases the task loss'):
        build(alpha=1)


def test_a_teacher_must_be_one():
    with pytest.raises(MMKDError, match='needs a teacher.*ToyStudent'):
        build(teacher={'type': 'ToyStudent'})


def test_unwraps_under_ddps_class_name():
    # mmengine's loader goes through its wrappers without a prefix.
    class Local(MMDistributedDataParallel):
        def __init__(self, module):
            nn.Module.__init__(self)
            self.module = module

    source, target = _scramble(build()), build()
    state = get_state_dict(Local(source))
    assert list(state)[:2] == list(ToyStudent().state_dict())[:2]
    mmengine_load(Local(target), state, strict=True)
    assert _equal(source.state_dict(), target.state_dict())
