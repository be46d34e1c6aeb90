"""The doctor as a whole, on the toys."""

import cv2
import pytest

from mmkd.apis import doctor
from mmkd.apis.doctor_case import LeftOut, examine
from mmkd.apis.doctor_page import as_json, render
from mmkd.errors import MMKDError
from tests.test_apis.doctor_toy import case
from tests.test_distill import toys


def problems(sections):
    return [problem for section in sections for problem in section.problems if problem.stops]


@pytest.mark.parametrize('plain', [True, False])
def test_a_page_without_a_problem(tmp_path, plain):
    examined = case(tmp_path, ready=False, plain=plain)
    sections = doctor.diagnose(examined)
    assert not problems(sections)
    assert len(sections) == 8
    text = render('toy', sections)
    assert ('does not distil' in text) == plain
    assert ('loss_kd_neck_0' in text) != plain
    assert as_json('toy.py', sections)['ok']
    assert cv2.imread(str(tmp_path / 'out' / 'doctor_first_sample.png')) is not None


def test_a_problem_in_one_section_hides_no_other(tmp_path):
    """Bad data, a teacher without weights, a checkpoint that is none: each is told."""
    broken = dict(type='ToyTracks', length=0)
    model = toys.config()
    model['teacher']['weights'] = str(tmp_path / 'none.pth')
    examined = case(
        tmp_path,
        ready=False,
        model=model,
        train_dataloader=dict(sampler=dict(type='DefaultSampler'), dataset=broken, batch_size=2),
    )
    examined.checkpoint = str(tmp_path / 'no.pth')
    sections = {section.title: section for section in doctor.diagnose(examined)}
    stopping = [title for title, section in sections.items() if problems([section])]
    assert stopping == ['Training samples', 'Teachers', 'Checkpoint']
    assert sections['Distillation'].data['pairs'][0]['student_channels'] == 10
    assert sections['The whole run'].data['disk']['checkpoints'] == 3


def test_a_model_that_cannot_be_built(tmp_path):
    model = toys.config(student=dict(type='NoSuchModel'))
    sections = {
        section.title: section
        for section in doctor.diagnose(case(tmp_path, ready=False, model=model))
    }
    (problem,) = problems(sections.values())
    assert 'NoSuchModel' in problem.text
    assert sections['Training samples'].data['samples'] == 4
    assert 'could not be built' in ' '.join(map(str, sections['One training step'].blocks))


@pytest.mark.parametrize(
    ('error', 'text', 'stops'),
    [
        (MMKDError('said well'), 'said well', 1),
        (KeyError('x'), "KeyError: 'x' (raised in test_doctor.py:", 1),
        (LeftOut('nothing to see'), 'nothing to see', 0),
    ],
)
def test_whatever_happens_in_a_section_is_told(tmp_path, error, text, stops):
    def look(examined, section):
        section.fact('before', 1)
        raise error

    section = examine('title', look, case(tmp_path, ready=False), 'remedy')
    page = render('title', [section])
    assert 'before' in page
    assert text in page
    assert len(problems([section])) == stops
