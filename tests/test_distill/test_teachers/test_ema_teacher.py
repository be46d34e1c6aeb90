import copy
import pickle

import pytest
import torch

from mmkd.distill.teachers import EMATeacher
from mmkd.errors import MMKDError

from ..toys import PREPROCESSOR, ToyStudent, batch, build

TAP = 'neck[0]'


def _student(seed=0):
    torch.manual_seed(seed)
    return ToyStudent(dict(PREPROCESSOR))


def _teacher(student, **kwargs):
    teacher = EMATeacher(**kwargs)
    teacher.bind(student)
    teacher.request([TAP])
    return teacher


def _train(student, seed):
    """Something that changes every parameter and buffer."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*student.parameters(), *student.backbone.buffers()]:
            if tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, generator=generator))
            else:
                tensor.add_(1)


def _state(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def _images(height=32, width=48):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 255


@pytest.mark.parametrize('warm_up', [False, True])
@pytest.mark.parametrize('buffers', ['copy', 'average'])
def test_averages_as_the_formula_says(warm_up, buffers):
    student = _student()
    teacher = _teacher(student, momentum=0.3, warm_up=warm_up, buffers=buffers).load()
    expected = _state(student)
    parameters = dict(student.named_parameters())
    for step in range(6):
        teacher.update(student)
        weight = max(0.3, 1 / (1 + step)) if warm_up else 0.3
        for key, value in student.state_dict().items():
            averaged = key in parameters or buffers == 'average'
            if averaged and value.is_floating_point():
                expected[key] = (1 - weight) * expected[key] + weight * value
            else:
                expected[key] = value.clone()
        found = teacher.net.state_dict()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, msg=f'{step} {key}')
        _train(student, step)


def test_begins_as_the_mean_of_the_first_students():
    student = _student()
    teacher = _teacher(student, momentum=1e-4).load()
    seen = []
    for step in range(5):
        seen.append(student.head.weight.detach().clone())
        teacher.update(student)
        _train(student, step)
    torch.testing.assert_close(teacher.net.head.weight.detach(), torch.stack(seen).mean(dim=0))


def test_gives_what_the_average_gives():
    student = _student()
    teacher = _teacher(student, momentum=0.5, warm_up=False).load()
    _train(student, 1)
    teacher.update(student)
    average = copy.deepcopy(student).eval()
    average.load_state_dict(teacher.net.state_dict())
    images = _images()
    found = teacher(images)[TAP]
    # The student's input is made by its own data preprocessor, of the file's BGR.
    data = {'inputs': [image.flip(0) for image in images], 'data_samples': [None] * 2}
    inputs = student.data_preprocessor(data)['inputs']
    with torch.no_grad():
        expected = average.neck(average.backbone(inputs))[0]
        other = student.eval().neck(student.backbone(inputs))[0]
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)
    assert not torch.allclose(found, other, rtol=1e-2)


def test_the_student_is_no_part_of_it_and_not_touched():
    student = _student().train()
    student(torch.randn(2, 3, 32, 32), mode='loss')['loss_heat'].backward()
    before = _state(student)
    teacher = _teacher(student)
    assert list(teacher.parameters()) == []
    teacher.load()
    assert not {id(p) for p in teacher.parameters()} & {id(p) for p in student.parameters()}
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())
    teacher.update(student)
    teacher(_images())
    teacher.double()
    assert student.training
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())
    assert next(student.parameters()).dtype == torch.float32


def test_knows_the_students_features_and_input():
    student = _student()
    teacher = _teacher(student)
    assert (teacher.channels, teacher.strides) == ({TAP: 10}, {TAP: 4})
    assert teacher.channel_order == 'rgb'
    torch.testing.assert_close(teacher.mean.flatten(), torch.tensor(PREPROCESSOR['mean']))
    # What the student reads is padded already.
    assert teacher.target_size((33, 45)) == (33, 45)
    with pytest.raises(MMKDError, match=r"no module 'nekc' in the teacher, the student's own av"):
        teacher.check(['nekc'])


@pytest.mark.parametrize('when', ['before', 'after'])
def test_resumes_exactly(when):
    def run(first, last, student, teacher):
        for step in range(first, last):
            teacher.update(student)
            _train(student, step)

    student = _student()
    whole = _teacher(student, momentum=0.1, buffers='average').load()
    run(0, 3, student, whole)
    saved = copy.deepcopy((_state(student), whole.memory()))
    run(3, 6, student, whole)

    other = _student(7)
    other.load_state_dict(saved[0])
    resumed = _teacher(other, momentum=0.1, buffers='average')
    if when == 'before':
        resumed.load_memory(saved[1])
        # A checkpoint that is written before it is loaded has it, too.
        assert set(resumed.memory()) == set(saved[1])
        resumed.load()
    else:
        resumed.load()
        resumed.load_memory(saved[1])
    run(3, 6, other, resumed)
    for key, value in whole.net.state_dict().items():
        assert torch.equal(resumed.net.state_dict()[key], value), key
    assert int(resumed.memory()['steps']) == 6


def test_goes_on_after_it_was_freed():
    student = _student()
    teacher = _teacher(student, momentum=0.5, warm_up=False).load()
    _train(student, 1)
    teacher.update(student)
    before = _state(teacher.net)
    teacher.release()
    assert not teacher.loaded
    teacher.update(student)
    teacher.load()
    assert all(torch.equal(value, before[key]) for key, value in teacher.net.state_dict().items())


def test_memory_of_another_student_is_told():
    teacher = _teacher(_student()).load()
    memory = teacher.memory()
    del memory['net.head.weight']
    with pytest.raises(MMKDError, match='another student.*head.weight'):
        teacher.load_memory(memory)
    assert 'net.head.weight' in teacher.memory()


def test_a_student_that_changed_is_told():
    student = _student()
    teacher = _teacher(student).load()
    student.head = torch.nn.Conv2d(10, 3, 1)
    with pytest.raises(MMKDError, match='other parameters'):
        teacher.update(student)


def test_the_fingerprint_is_of_its_kind():
    student = _student()
    teacher = _teacher(student)
    before = teacher.fingerprint()
    teacher.load()
    _train(student, 1)
    teacher.update(student)
    assert teacher.fingerprint() == before
    assert _teacher(student, momentum=0.5).fingerprint() != before
    assert teacher.stateful


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'momentum': 0}, r'number in \(0, 1\], but got 0'),
        ({'momentum': '1'}, r"number in \(0, 1\], but got '1'"),
        ({'momentum': True}, 'but got True'),
        ({'buffers': 'copied'}, "Did you mean 'copy'"),
        ({'dtype': 'bf16'}, 'rounded away'),
        ({'compile': True}, 'cannot be compiled'),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(MMKDError, match=message):
        EMATeacher(**options)


def test_it_needs_a_student():
    with pytest.raises(MMKDError, match='no student to average'):
        EMATeacher().check([TAP])
    with pytest.raises(MMKDError, match='no student to average'):
        EMATeacher().load()


def test_copies_follow_the_copied_student():
    student = _student()
    teacher = _teacher(student).load()
    _train(student, 1)
    teacher.update(student)
    copied, other = copy.deepcopy([student, teacher])
    assert other._student[0] is copied
    before = _state(teacher.net)
    _train(copied, 2)
    other.update(copied)
    assert all(torch.equal(value, before[key]) for key, value in teacher.net.state_dict().items())
    pickled, third = pickle.loads(pickle.dumps([student, teacher]))
    assert third._student[0] is pickled
    assert torch.equal(third(_images())[TAP], teacher(_images())[TAP])


def _distiller(**kwargs):
    return build(
        teacher={'type': 'mmkd.EMATeacher', 'momentum': 0.1, **kwargs},
        distill=[{'student': TAP, 'teacher': TAP, 'transform': None}],
    )


def test_teaches_within_a_distiller():
    distiller = _distiller().train()
    optimizer = torch.optim.SGD(distiller.parameters(), lr=0.1)
    teacher = distiller.teacher
    weights = teacher.net.head.weight.clone()
    for _ in range(3):
        losses = distiller(*batch(), mode='loss')
        distiller.parse_losses(losses)[0].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses['kd_neck_0'] > 0
    assert not torch.equal(teacher.net.head.weight, weights)
    assert not torch.equal(teacher.net.head.weight, distiller.student.head.weight)
    ours = {id(p) for p in distiller.parameters()}
    assert not ours & {id(p) for p in teacher.parameters()}


def test_is_in_a_distillers_checkpoint():
    distiller = _distiller().train()
    for seed in range(3):
        distiller(*batch(seed=seed), mode='loss')
        _train(distiller.student, seed)
    resumed = _distiller()
    resumed.load_state_dict(distiller.state_dict())
    resumed.train()
    for key, value in distiller.teacher.net.state_dict().items():
        assert torch.equal(resumed.teacher.net.state_dict()[key], value), key
    assert resumed.teacher._steps == distiller.teacher._steps == 3


def test_follows_also_while_its_entries_rest():
    from mmengine.logging import MessageHub

    weight = {'value': 1.0, 'begin_iter': 2}
    distiller = build(
        teacher={'type': 'mmkd.EMATeacher', 'momentum': 0.5, 'warm_up': False},
        distill=[{'student': TAP, 'teacher': TAP, 'transform': None, 'weight': weight}],
    ).train()
    hub = MessageHub.get_current_instance()
    before = dict(hub.runtime_info)
    try:
        expected = distiller.student.head.weight.detach().clone()
        for step in range(3):
            _train(distiller.student, step)
            expected += 0.5 * (distiller.student.head.weight.detach() - expected)
            hub.update_info('iter', step)
            distiller(*batch(), mode='loss')
    finally:
        hub.runtime_info.clear()
        hub.runtime_info.update(before)
    torch.testing.assert_close(distiller.teacher.net.head.weight.data, expected)
