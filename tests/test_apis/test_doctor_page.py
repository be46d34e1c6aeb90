import pytest

from mmkd.apis.doctor_page import WIDTH, Section, as_json, count_of, duration, render, size_of, some


def page():
    good, bad = Section('Good'), Section('Bad')
    good.fact('short', 'x')
    good.fact('a longer label', 'word ' * 40)
    good.table(('name', 'count'), [('a', '1,000'), ('bb', '2')])
    good.table(('never', 'shown'), [])
    bad.warn('first', 'do this')
    bad.stop('second: ' + 'word ' * 40, 'do that')
    bad.data['answer'] = 42
    return [good, bad]


def test_it_reads_well_in_a_log_file():
    text = render('title', page())
    lines = text.splitlines()
    assert '\x1b' not in text
    assert max(map(len, lines)) <= WIDTH
    assert '  short           x' in lines
    # Numbers are flush right, names flush left.
    assert '  a     1,000' in lines
    assert '  bb        2' in lines
    assert 'never' not in text


def test_a_terminal_gets_the_same_in_colour():
    import re

    text = render('title', page(), colour=True)
    assert '\x1b[31m' in text
    assert re.sub(r'\x1b\[\d+m', '', text) == render('title', page())


def test_problems_are_numbered_where_they_are_and_told_at_the_end():
    text = render('title', page())
    body, end = text.split('What to do')
    assert 'WARNING 1, see below' in body
    assert 'PROBLEM 2, see below' in body
    assert '1. WARNING (Bad)' in end
    assert '-> do this' in end
    assert '2. PROBLEM (Bad)' in end
    assert end.rstrip().endswith('Verdict: 1 problem stops this training (1 warning).')


def test_nothing_found():
    text = render('title', page()[:1])
    assert 'What to do' not in text
    assert text.endswith('Verdict: nothing that was looked at stops this training.\n')


def test_for_programs():
    found = as_json('c.py', page())
    assert found['ok'] is False
    assert [problem['stops'] for problem in found['problems']] == [False, True]
    assert found['problems'][0]['remedy'] == 'do this'
    assert found['sections']['Bad'] == {'answer': 42}
    assert as_json('c.py', page()[:1])['ok'] is True


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [
        (0.0123, '12.3 ms'),
        (45.6, '45.6 s'),
        (150, '2 min'),
        (3600 + 300, '1 h 05 min'),
        (72 * 3600, '3 d 0 h'),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ('size', 'text'), [(0, '0 B'), (2048, '2 KiB'), (5 * 2**20, '5 MiB'), (3 * 2**40, '3,072 GiB')]
)
def test_sizes(size, text):
    assert size_of(size) == text


def test_words():
    assert (count_of(1, 'box'), count_of(2, 'box'), count_of(0, 'id')) == (
        '1 box',
        '2 boxes',
        '0 ids',
    )
    assert some(['a', 'b', 'c', 'd']) == 'a, b, c and 1 more'
    assert some(['a']) == 'a'
