from __future__ import annotations

import argparse
import json

import pytest
from mmengine.config import DictAction

from mmkd.apis import chain
from mmkd.errors import MMKDError

TABLE = """
work_dir = '{root}/runs'
_seeds = [0, 3]
runs = [
    dict(name='general', config='big.py', train_args=['--amp']),
    dict(name='hard', config='big.py', options={{'load_from': '{{general}}', 'a.b': [1, 2]}}),
    dict(name='small', config='small.py', seeds=_seeds,
         options={{'model.general.weights': '{{general}}', 'model.hard': '{{hard}}'}}),
]
compare = dict(arms={{'teacher': 'general', 'student': 'small'}})
"""


@pytest.fixture
def table(tmp_path):
    for name in ('big', 'small'):
        (tmp_path / f'{name}.py').write_text('a = 1\n')
    path = tmp_path / 'table.py'

    def write(text=TABLE):
        path.write_text(text.format(root=tmp_path) if text is TABLE else text)
        return str(path)

    return write


def test_a_table_is_read_in_order(table, tmp_path):
    found = chain.read_chain(table())
    assert [run.title for run in found.runs] == ['general', 'hard', 'small_seed0', 'small_seed3']
    assert [run.seed for run in found.runs] == [None, None, 0, 3]
    assert found.runs[2].needs == ('general', 'hard')
    assert found.runs[0].train_args == ('--amp',)
    assert found.runs[2].folder == tmp_path / 'runs' / 'small_seed0'
    assert found.runs[0].config == str(tmp_path / 'big.py')
    assert found.compare == {'arms': {'teacher': 'general', 'student': 'small'}}


def test_checkpoints_and_seeds_are_put_into_the_options(table):
    runs = chain.read_chain(table()).runs
    checkpoints = dict(general='g.pth', hard='h.pth')
    assert chain.options_of(runs[3], checkpoints) == {
        'model.general.weights': 'g.pth',
        'model.hard': 'h.pth',
        'randomness.seed': 3,
    }
    assert chain.as_arguments(chain.options_of(runs[1], checkpoints)) == [
        '--cfg-options',
        'load_from=g.pth',
        'a.b=[1,2]',
    ]
    assert chain.as_arguments({}) == []


def test_what_is_done_is_read_from_the_folder(table, tmp_path):
    run = chain.read_chain(table()).runs[0]
    assert chain.checkpoint_of(run) is None
    assert chain.last_checkpoint(run.folder) is None
    run.folder.mkdir(parents=True)
    file = run.folder / 'epoch_2.pth'
    (run.folder / 'last_checkpoint').write_text(str(file))
    assert chain.last_checkpoint(run.folder) == str(file)
    assert chain.checkpoint_of(run) is None, 'begun is not done'
    (run.folder / chain.TRAINED).write_text(json.dumps({'checkpoint': str(file), 'config': 'x'}))
    with pytest.raises(MMKDError, match='no checkpoint .*epoch_2.pth.* of the run .general.'):
        chain.checkpoint_of(run)
    file.write_bytes(b'')
    assert chain.checkpoint_of(run) == str(file)
    chain.check_same(run.folder / chain.TRAINED, {'config': 'x'}, run)
    with pytest.raises(MMKDError, match="config was 'x' and is 'y'.*Move that folder away"):
        chain.check_same(run.folder / chain.TRAINED, {'config': 'y'}, run)


def test_a_given_checkpoint_is_looked_for(table, tmp_path):
    text = f"""
runs = [dict(name='a', config='{tmp_path}/big.py', checkpoint='none.pth'),
        dict(name='b', config='{tmp_path}/big.py', checkpoint='https://x/y.pth')]
"""
    runs = chain.read_chain(table(text)).runs
    with pytest.raises(MMKDError, match="'none.pth' of the run 'a'; the table names it"):
        chain.checkpoint_of(runs[0])
    assert chain.checkpoint_of(runs[1]) == 'https://x/y.pth'
    assert runs[0].folder.parts[0] == 'work_dirs'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('runs = []', 'runs is a list'),
        ('rans = [1]', "no 'rans'.*'runs'"),
        ('runs = [1]', 'a run is dict'),
        ("runs = [dict(name='a b', config='big.py')]", "named by letters.*'a b'"),
        ("runs = [dict(name='a', config='big.py')] * 2", "another name, but got 'a'"),
        ("runs = [dict(name='a', config='bog.py')]", "no config 'bog.py'.*'big.py'"),
        ("runs = [dict(name='a', config='big.py', seed=1)]", "no 'seed'.*'seeds'"),
        (
            "runs = [dict(name='a', config='big.py', options={'x': '{b}'})]",
            "needs the checkpoint of 'b', which is no run before it",
        ),
        (
            "runs = [dict(name='a', config='big.py')]\ncompare = dict(arms={'x': 'b'})",
            "compare: 'x' is no run",
        ),
    ],
)
def test_mistakes_are_told(table, text, message):
    with pytest.raises(MMKDError, match=message):
        chain.read_chain(table(text))


def test_a_missing_table_is_told(tmp_path):
    with pytest.raises(MMKDError, match='no table of runs'):
        chain.read_chain(str(tmp_path / 'none.py'))


OPTIONS = """
runs = [
    dict(name='a', config='{root}/big.py'),
    dict(name='b', config='{root}/big.py', options={options}),
]
"""


@pytest.mark.parametrize('value', [None, True, 3, 0.5, 'x', ['a', 'b'], (1, 2), [[1], 'y'], []])
def test_options_arrive_as_they_are(table, tmp_path, value):
    """What the other side of the command line reads is what the table says."""
    run = chain.read_chain(table(OPTIONS.format(root=tmp_path, options={'x.y': value}))).runs[1]
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    found = parser.parse_args(chain.as_arguments(chain.options_of(run, {}))).cfg_options['x.y']
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize('value', ['1e-3', 'with,comma', 'a b', '(a,b', ['a b']])
def test_options_that_would_arrive_as_others_are_told(table, tmp_path, value):
    run = chain.read_chain(table(OPTIONS.format(root=tmp_path, options={'x.y': value}))).runs[1]
    with pytest.raises(MMKDError, match="option 'x.y' is .* it would arrive as"):
        chain.as_arguments(chain.options_of(run, {}))


def test_a_dict_among_the_options_is_told(table, tmp_path):
    text = OPTIONS.format(root=tmp_path, options={'model.alpha': dict(value=1.0, stop_epoch=2)})
    run = chain.read_chain(table(text)).runs[1]
    with pytest.raises(MMKDError, match=r'model.alpha.*as keys with dots'):
        chain.as_arguments(chain.options_of(run, {}))


def test_checkpoints_are_put_into_lists(table, tmp_path):
    text = OPTIONS.format(root=tmp_path, options={'x': ['{a}', 'b']})
    run = chain.read_chain(table(text)).runs[1]
    assert chain.options_of(run, dict(a='a.pth')) == {'x': ['a.pth', 'b']}


def test_what_was_done_is_the_same_by_another_way_to_the_table(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = table(OPTIONS.format(root='.', options={'x': (1, 2)}))
    run = chain.read_chain('table.py').runs[1]
    what = {'config': run.config, 'options': run.options, 'args': list(run.train_args)}
    record = tmp_path / 'trained.json'
    record.write_text(json.dumps(what))
    chain.check_same(record, what, run)
    again = chain.read_chain(path).runs[1]
    chain.check_same(record, {**what, 'config': again.config}, again)
    assert again.config != run.config


def test_a_comparison_without_arms_is_told(table, tmp_path):
    text = f"runs = [dict(name='a', config='{tmp_path}/big.py')]\ncompare = dict(resamples=3)"
    with pytest.raises(MMKDError, match='compare takes arms='):
        chain.read_chain(table(text))
