"""doctor and a model with specialists: several taps in a pair, teachers within specialists."""

from __future__ import annotations

from mmkd.apis import doctor_teacher
from mmkd.apis.doctor_taps import ANSWER, taps_of
from tests.test_apis.doctor_toy import case, look
from tests.test_distill import siamese_toy


def test_several_taps_or_none_are_told_apart():
    student = siamese_toy.build().student
    ((tap, run),) = taps_of(student, dict(tap='neck@1'))
    assert (tap.path, run) == ('neck', 1)
    found = taps_of(student, dict(tap='backbone@0, head[0]'))
    assert [(tap.path, run) for tap, run in found] == [('backbone', 0), ('head[0]', None)]
    assert taps_of(student, dict(tap=ANSWER)) == []


def test_a_specialists_missing_file_has_its_own_setting(tmp_path):
    model = siamese_toy.config()
    model['specialists']['occlusion']['teacher']['weights'] = str(tmp_path / 'none.pth')
    examined = case(tmp_path, model=model)
    section = look(doctor_teacher.look, examined)
    (stopping,) = [problem for problem in section.problems if problem.stops]
    assert "Teacher 'occlusion'" in stopping.text
    assert 'model.specialists.occlusion.teacher.weights=FILE' in stopping.remedy
    assert set(section.data['teachers']) == {'general', 'occlusion', 'fast_motion'}
    # A random network of the same size stands in, so that a step can be timed.
    assert examined.teachers_ready


def test_a_general_teachers_missing_file_has_its_own_setting(tmp_path):
    model = siamese_toy.config()
    model['general']['weights'] = str(tmp_path / 'none.pth')
    section = look(doctor_teacher.look, case(tmp_path, model=model))
    (stopping,) = [problem for problem in section.problems if problem.stops]
    assert 'model.general.weights=FILE' in stopping.remedy
