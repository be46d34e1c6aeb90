import pytest

from mmkd.apis import doctor_teacher
from mmkd.apis.doctor_case import LeftOut, teachers_of
from tests.test_apis.doctor_toy import case, look, told
from tests.test_distill import toys


def teacher(weights):
    return dict(type='mmkd.DINOv2Teacher', arch=dict(toys.TINY), weights=str(weights))


def test_a_random_teacher_is_a_warning(tmp_path):
    examined = case(tmp_path)
    section = look(doctor_teacher.look, examined)
    assert [problem.stops for problem in section.problems] == [False]
    entry = section.data['teachers']['teacher']
    assert entry['weights'] == 'random'
    assert entry['fingerprint'] == teachers_of(examined.distiller)['teacher'].fingerprint()


def test_a_missing_file_stops_and_a_random_network_stands_in_for_the_timing(tmp_path):
    examined = case(tmp_path, model=toys.config(teacher=teacher(tmp_path / 'none.pth')))
    before = examined.model
    section = look(doctor_teacher.look, examined)
    (problem,) = section.problems
    assert problem.stops
    assert 'none.pth' in problem.text
    assert 'model.teacher.weights=FILE' in problem.remedy
    assert section.data['teachers']['teacher']['weights'] == 'missing'
    assert 'random networks of the same size' in told(section)
    assert examined.failed_teachers == ('teacher',)
    assert examined.teachers_ready
    assert examined.model is not before
    assert teachers_of(examined.model)['teacher'].loaded
    assert examined.cfg.model.teacher.weights.endswith('none.pth')


def test_one_of_several_teachers_has_its_own_setting(tmp_path):
    model = toys.config(
        teachers=dict(good=teacher('random'), bad=teacher(tmp_path / 'none.pth')),
        distill=[
            dict(student='neck[0]', teacher='good.last', name='a'),
            dict(student='neck[1]', teacher='bad.last', name='b'),
        ],
    )
    del model['teacher']
    section = look(doctor_teacher.look, case(tmp_path, model=model))
    (stopping,) = [problem for problem in section.problems if problem.stops]
    assert "Teacher 'bad'" in stopping.text
    assert 'model.teachers.bad.weights=FILE' in stopping.remedy
    assert section.data['teachers']['good']['error'] == ''


def test_distillation_that_is_switched_off(tmp_path):
    examined = case(tmp_path, model=toys.config(alpha=0))
    section = look(doctor_teacher.look, examined)
    assert 'switched off' in section.problems[0].text
    assert not teachers_of(examined.distiller)['teacher'].loaded


@pytest.mark.parametrize(
    ('given', 'kind'), [('file.pth', 'file'), ('folder', 'folder'), ('nothing', 'missing')]
)
def test_where_weights_are(tmp_path, given, kind):
    (tmp_path / 'file.pth').write_text('x')
    (tmp_path / 'folder').mkdir()
    from mmkd.registry import MODELS

    built = MODELS.build(teacher(tmp_path / given))
    assert doctor_teacher.source_of(built) == (kind, str(tmp_path / given))


def test_a_plain_config_has_none(tmp_path):
    with pytest.raises(LeftOut, match='does not distil'):
        look(doctor_teacher.look, case(tmp_path, plain=True))
