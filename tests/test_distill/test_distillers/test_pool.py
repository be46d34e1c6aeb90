import copy
import pickle

import pytest

from mmkd.distill.distillers.pool import TeacherPool
from mmkd.errors import MMKDError

from ..toys import TINY, ToyStudent, batch, build

TEACHER = {'type': 'mmkd.DINOv2Teacher', 'arch': dict(TINY), 'weights': 'random'}
BIGGER = dict(TEACHER, arch=dict(TINY, embed_dim=32))
SEVERAL = [
    {'student': 'neck[0]', 'teacher': 'dino.last', 'name': 'a'},
    {'student': 'neck[1]', 'teacher': 'big.block_1', 'name': 'b', 'weight': 0.5},
]


def _several(**changes):
    changes.setdefault('distill', SEVERAL)
    return build(teacher=None, teachers={'dino': TEACHER, 'big': BIGGER}, **changes)


def test_one_teacher_needs_no_name():
    pool = TeacherPool(TEACHER)
    assert pool.split('last') == ('teacher', 'last')
    assert pool.split('backbone.layer2') == ('teacher', 'backbone.layer2')
    assert pool.only() is pool['teacher']


def test_of_several_each_has_a_name():
    pool = TeacherPool(None, {'dino': TEACHER, 'big': BIGGER})
    assert list(pool) == ['dino', 'big']
    assert pool.split('big.head.heatmap.0') == ('big', 'head.heatmap.0')
    with pytest.raises(MMKDError, match='several teachers: dino, big'):
        pool.only()


@pytest.mark.parametrize('path', ['last', 'dyno.last', 'dino', 'dino.'])
def test_a_teacher_that_is_not_there(path):
    with pytest.raises(MMKDError, match="as in 'dino.last'.*dino"):
        TeacherPool(None, {'dino': TEACHER}).split(path)


@pytest.mark.parametrize(
    ('teacher', 'teachers', 'said'),
    [
        (None, None, 'either teacher=.*or'),
        (TEACHER, {'dino': TEACHER}, 'either teacher=.*or'),
        (None, {}, 'either teacher=.*or'),
        (None, {'di.no': TEACHER}, "plain word, but got 'di.no'"),
        (None, {1: TEACHER}, 'plain word, but got 1'),
    ],
)
def test_mistakes_are_told(teacher, teachers, said):
    with pytest.raises(MMKDError, match=said):
        TeacherPool(teacher, teachers)


def test_copies_and_pickles_have_all_teachers():
    pool = TeacherPool(None, {'dino': TEACHER, 'big': BIGGER})
    pool.load(['dino'], ToyStudent())
    assert copy.deepcopy(pool)['dino'] is pool['dino']
    other = pickle.loads(pickle.dumps(pool))
    assert list(other) == ['dino', 'big']
    assert not other['dino'].loaded


def test_every_pair_hears_its_own_teacher():
    distiller = _several().train()
    out = distiller(*batch(), mode='loss')
    assert {'loss_kd_a', 'loss_kd_b'} <= set(out)
    assert out['loss_kd_b'].item() == pytest.approx(0.25 * out['kd_b'].item())
    assert distiller.distill['a'].transform.project.out_channels == TINY['embed_dim']
    assert distiller.distill['b'].transform.project.out_channels == 32
    alone = build(
        teacher=BIGGER, distill=[{'student': 'neck[1]', 'teacher': 'block_1', 'name': 'b'}]
    ).train()
    alone.load_state_dict(distiller.state_dict(), strict=False)
    alone.student.backbone[3].p = distiller.student.backbone[3].p = 0.0
    again, expected = (m(*batch(), mode='loss')['kd_b'] for m in (distiller, alone))
    assert again.item() == pytest.approx(expected.item(), abs=1e-6)


def test_a_teacher_without_work_is_never_loaded():
    distiller = _several(distill=[SEVERAL[0], dict(SEVERAL[1], weight=0)]).train()
    distiller(*batch(), mode='loss')
    assert distiller.teachers['dino'].loaded
    assert not distiller.teachers['big'].loaded
    assert [p['teacher'] for p in distiller.report()['pairs']] == ['dino']


def test_a_list_of_taps_stands_for_as_many_entries():
    distiller = build(distill=[{'student': ['backbone', 'neck[0]'], 'teacher': 'last'}])
    assert list(distiller.distill) == ['backbone', 'neck_0']
    distiller = build(
        distill=[{'student': ['backbone', 'neck[0]'], 'teacher': ['last', 'block_0'], 'name': 'x'}]
    )
    assert [distiller.distill[n].feature for n in ('x_0', 'x_1')] == ['last', 'block_0']
    with pytest.raises(MMKDError, match='2 maps of the student and 1 features'):
        build(distill=[{'student': ['backbone', 'neck[0]'], 'teacher': ['last']}])


RELATIONAL = {'type': 'mmkd.EmbeddingDistillLoss', 'mode': 'relational'}


@pytest.mark.parametrize(
    ('loss', 'trained'),
    [
        ({'type': 'mmkd.RKDLoss'}, False),
        (RELATIONAL, False),
        (dict(RELATIONAL, mode='cosine'), True),
        ({'type': 'mmkd.CosineDistillLoss'}, True),
    ],
)
def test_relations_are_brought_to_one_grid_and_no_more(loss, trained):
    distiller = build(distill=[{'student': 'neck[0]', 'teacher': 'last', 'loss': loss}])
    assert bool(list(distiller.distill['neck_0'].transform.parameters())) == trained


def test_relations_of_grids_that_differ_need_no_more_than_their_name():
    loss = {'type': 'mmkd.RKDLoss', 'over': 'grid'}
    distiller = build(distill=[{'student': 'neck[0]', 'teacher': 'last', 'loss': loss}]).train()
    assert distiller(*batch(), mode='loss')['kd_neck_0'] > 0


def test_a_transform_that_could_not_learn_is_refused():
    entry = {
        'student': 'neck[0]',
        'teacher': 'last',
        'direction': 'teacher_to_student',
        'transform': {'type': 'mmkd.FeatureTransform'},
        'loss': {'type': 'mmkd.RKDLoss'},
    }
    with pytest.raises(MMKDError, match='RKDLoss never trains what is on the side of the teacher'):
        build(distill=[entry])


def test_channels_that_cannot_meet_are_told_before_training():
    entry = {'student': 'neck[0]', 'teacher': 'last', 'transform': None}
    with pytest.raises(
        MMKDError, match=r"'neck\[0\]' of the student has 10 and 'last' of the t.* 24"
    ):
        build(distill=[entry])
    build(distill=[dict(entry, loss={'type': 'mmkd.RKDLoss'})])
