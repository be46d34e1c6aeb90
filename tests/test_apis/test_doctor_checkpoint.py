import pytest
import torch
from mmengine.config import Config

from mmkd.apis import doctor_checkpoint, doctor_teacher
from mmkd.apis.doctor_case import teachers_of
from mmkd.apis.doctor_explain import Difference, explain
from mmkd.errors import MMKDError
from tests.test_apis.doctor_toy import case, look, told
from tests.test_distill import toys


def examine(tmp_path, state, meta=None, loaded=False, **changes):
    examined = case(tmp_path, **changes)
    if loaded:
        look(doctor_teacher.look, examined)
    file = tmp_path / 'x.pth'
    torch.save(dict(state_dict=state(examined.model), meta=meta or {}), str(file))
    examined.checkpoint = str(file)
    return examined, look(doctor_checkpoint.look, examined)


def own(model):
    return dict(model.state_dict())


def student(model):
    return {key: v for key, v in own(model).items() if not key.startswith('distill.')}


def test_the_models_own_checkpoint(tmp_path):
    examined, section = examine(tmp_path, own, meta=dict(epoch=3, iter=30))
    assert section.data['missing'] == section.data['extra'] == []
    assert section.data['fit'] == len(examined.model.state_dict())
    assert 'epoch 3, iteration 30' in told(section)
    assert not section.problems


def test_a_plain_checkpoint_in_a_distillation(tmp_path):
    _, section = examine(tmp_path, student)
    assert 'the transforms start anew' in told(section)
    assert not section.problems


def test_a_distillations_checkpoint_in_the_plain_config(tmp_path):
    kd = {'distill.neck.transform.project.weight': torch.zeros(1)}
    _, section = examine(tmp_path, lambda model: dict(own(model), **kd), plain=True)
    assert 'of which this plain config needs nothing' in told(section)
    assert not section.problems


def test_the_prefix_of_data_parallel_training(tmp_path):
    _, section = examine(tmp_path, lambda m: {f'module.{k}': v for k, v in own(m).items()})
    assert section.data['missing'] == section.data['extra'] == []


def test_settings_that_differ_are_named(tmp_path):
    text = "model = dict(type='ToyStudent', fail_dry=True, neck=dict(width=(1, 2)))"
    _, section = examine(tmp_path, own, meta=dict(cfg=text))
    assert ['model.student.fail_dry', 'True', '-'] in section.data['config_changes']
    assert ['model.student.neck.width', '[1, 2]', '-'] in section.data['config_changes']
    assert len(section.data['config_changes']) == 2


def test_settings_of_a_distillation_are_compared_student_with_student():
    cfg = Config(dict(model=toys.config()))
    before = "model = dict(student=dict(type='ToyStudent'), alpha=0.1)"
    assert doctor_checkpoint.config_changes(before, cfg) == []
    assert doctor_checkpoint.config_changes('model = (', cfg) == []
    assert doctor_checkpoint.config_changes(None, cfg) == []


def with_fingerprint(value, name='teacher'):
    key = f'distill.teachers.{name}.fingerprint'
    return lambda model: dict(own(model), **{key: torch.tensor(list(value), dtype=torch.uint8)})


def test_the_same_teacher(tmp_path):
    def state(model):
        print_of = bytes.fromhex(teachers_of(model)['teacher'].fingerprint())
        return with_fingerprint(print_of)(model)

    _, section = examine(tmp_path, state, loaded=True)
    assert 'teacher: the same' in told(section)
    assert section.data['missing'] == section.data['extra'] == []
    assert not section.problems


def test_another_teacher_stops_with_both_fingerprints(tmp_path):
    examined, section = examine(tmp_path, with_fingerprint(bytes(range(32))), loaded=True)
    (problem,) = section.problems
    assert problem.stops
    assert bytes(range(32)).hex() in problem.text
    assert teachers_of(examined.model)['teacher'].fingerprint() in problem.text
    assert 'on_other_teacher' in problem.remedy


def test_a_teacher_that_is_gone_and_one_that_is_new(tmp_path):
    _, section = examine(tmp_path, with_fingerprint(bytes(32), 'big'), loaded=True)
    texts = [problem.text for problem in section.problems]
    assert any("a teacher 'big'" in text for text in texts)
    assert any("Teacher 'teacher' is new" in text for text in texts)


def test_a_plain_config_needs_no_teacher(tmp_path):
    _, section = examine(tmp_path, with_fingerprint(bytes(32)), plain=True)
    assert 'a plain config does not need them' in told(section)
    assert not section.problems


def test_what_is_no_checkpoint(tmp_path):
    (tmp_path / 'x.pth').write_text('no')
    with pytest.raises(MMKDError, match='cannot be read'):
        doctor_checkpoint.load(str(tmp_path / 'x.pth'))
    with pytest.raises(MMKDError, match='no checkpoint'):
        doctor_checkpoint.load(str(tmp_path / 'y.pth'))
    with pytest.raises(MMKDError, match='no tensors'):
        doctor_checkpoint.state_of(dict(epoch=1), 'x.pth')


# Why keys differ. The model, one tensor a name; a checkpoint changes it.
MODEL = {
    'backbone.conv.weight': (4, 3),
    'backbone.layer.0.weight': (4, 4),
    'backbone.layer.1.weight': (4, 4),
    'backbone.norm.num_batches_tracked': (),
    'neck.lateral.weight': (4, 4),
    'head.heatmap.2.weight': (1, 4),
    'head.id_classifier.weight': (5, 4),
}
KD = {'distill.neck.transform.project.weight': (8, 4)}


def tensors(shapes):
    return {key: torch.zeros(shape) for key, shape in shapes.items()}


def reasons(shapes, model=MODEL, distils=False):
    found = Difference.between(tensors(model), tensors(shapes))
    given = explain(found, distils)
    return given, [(reason.what, reason.harm) for reason in given], ' '.join(r.why for r in given)


def without(*parts, shapes=MODEL):
    return {key: v for key, v in shapes.items() if not any(part in key for part in parts)}


@pytest.mark.parametrize(
    ('shapes', 'kinds', 'why'),
    [
        (MODEL, [], ''),
        (dict(MODEL, **KD), [('extra', 'none')], 'trained by a distillation'),
        (without('id_classifier'), [('missing', 'none')], 'which only training reads'),
        (without('num_batches'), [('missing', 'none')], 'counters of BatchNorm'),
        (without('layer.1'), [('missing', 'stops')], 'another depth'),
        (
            dict(MODEL, **{'backbone.layer.2.weight': (4, 4)}),
            [('extra', 'warns')],
            'goes on to backbone.layer.2',
        ),
        (without('neck'), [('missing', 'stops')], 'model.neck, or an option of it, is not in'),
        (
            dict(without('neck'), **{'neck.other.weight': (4, 4)}),
            [('missing', 'stops'), ('extra', 'none')],
            'model.neck is of another type',
        ),
        (
            dict(MODEL, **{'head.heatmap.2.weight': (3, 4)}),
            [('resized', 'stops')],
            '(3, 4) in the checkpoint, (1, 4) here: num_classes of model.head',
        ),
        (
            dict(MODEL, **{'backbone.conv.weight': (8, 3)}),
            [('resized', 'stops')],
            'model.backbone has another width',
        ),
        (
            dict(MODEL, **{'head.id_classifier.weight': (9, 4)}),
            [('resized', 'warns')],
            '9 identities in the checkpoint, 5 in the training data',
        ),
        (
            {f'detector.{key}': shape for key, shape in MODEL.items()},
            [('missing', 'stops')],
            "the file has them under 'detector.'",
        ),
        (
            {key.split('.', 1)[1]: v for key, v in MODEL.items() if key.startswith('backbone')},
            [('missing', 'stops'), ('missing', 'none'), ('missing', 'stops'), ('missing', 'stops')],
            "the file has them without 'backbone.'",
        ),
        ({'weights': (1,)}, [('missing', 'stops')], 'nothing in the file belongs'),
    ],
)
def test_a_difference_is_explained(shapes, kinds, why):
    _, found, text = reasons(shapes)
    assert found == kinds
    assert why in text


@pytest.mark.parametrize(
    ('kd', 'kinds', 'why'),
    [
        (KD, [], ''),
        ({}, [('missing', 'none')], '--resume would fail'),
        (
            {'distill.other.transform.project.weight': (8, 4)},
            [('missing', 'warns'), ('extra', 'warns')],
            'model.distill names, transforms or losses differ',
        ),
        (
            {'distill.neck.transform.project.weight': (12, 4)},
            [('resized', 'warns')],
            'a teacher of another width',
        ),
    ],
)
def test_a_difference_within_a_distillation_is_explained(kd, kinds, why):
    _, found, text = reasons(dict(MODEL, **kd), dict(MODEL, **KD), distils=True)
    assert found == kinds
    assert why in text


def test_the_settings_of_a_student_are_under_its_name():
    given, _, text = reasons(dict(without('neck'), **KD), dict(MODEL, **KD), distils=True)
    assert 'model.student.neck' in text
    assert given[0].keys == ['neck.lateral.weight']
