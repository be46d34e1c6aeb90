import pytest
import torch

from mmkd.distill.teachers.fingerprint import explain, identify


def _state():
    generator = torch.Generator().manual_seed(0)
    return {
        'conv.weight': torch.rand(4, 3, 2, 2, generator=generator),
        'conv.bias': torch.rand(4, generator=generator),
        'bn.num_batches_tracked': torch.tensor(7),
        'mask': torch.tensor([True, False]),
    }


SETTINGS = {'mean': [1.0, 2.0], 'input_size': (3, 4), 'patch': 2}


def _changes():
    state = _state()
    for name, tensor in state.items():
        other = tensor.clone().reshape(-1)
        other[-1] = ~other[-1] if tensor.dtype == torch.bool else other[-1] + 1
        yield {**state, name: other.reshape(tensor.shape)}
    yield {**state, 'conv.bias': state['conv.bias'].reshape(2, 2)}
    yield {**state, 'conv.bias': state['conv.bias'].flip(0)}
    yield {key: value for key, value in state.items() if key != 'mask'}
    yield {**state, 'more': torch.zeros(1)}
    swapped = {'conv.weight': 'other'}
    yield {swapped.get(key, key): value for key, value in state.items()}


@pytest.mark.parametrize('number', range(9))
def test_everything_counts(number):
    same, other = identify(_state(), SETTINGS), identify(list(_changes())[number], SETTINGS)
    assert other.hash != same.hash
    assert explain(same, other)


@pytest.mark.parametrize('key', SETTINGS)
def test_preprocessing_counts(key):
    before, now = identify(_state(), SETTINGS), identify(_state(), {**SETTINGS, key: 9})
    assert before.hash != now.hash
    assert explain(before, now).startswith(f'{key} was ')


def test_storage_does_not_count():
    before = identify(_state(), SETTINGS)
    state = dict(reversed(list(_state().items())))
    state['conv.weight'] = state['conv.weight'].to(memory_format=torch.channels_last)
    state['conv.bias'] = state['conv.bias'].double()
    now = identify(state, SETTINGS)
    assert now.hash == before.hash
    assert explain(before, now) == ''


def test_a_cast_counts_where_it_rounds():
    rounded = {'w': _state()['conv.weight'].bfloat16()}
    wide = {'w': rounded['w'].float()}
    assert identify(rounded, {}).hash == identify(wide, {}).hash
    assert identify(rounded, {}).hash != identify({'w': _state()['conv.weight']}, {}).hash


def test_what_differs_is_told():
    before = identify(_state(), SETTINGS)
    state = _state()
    state['conv.bias'] = state['conv.bias'] + 1
    state['new'] = state.pop('mask')
    told = explain(before, identify(state, {**SETTINGS, 'patch': 14}))
    assert told == (
        'patch was 2 and is 14. 1 of 3 tensors differ: conv.bias. 1 of 3 tensors are new: new. '
        '1 of 3 tensors are gone: mask.'
    )


def test_rounding_is_thought_of():
    state = {'a': torch.rand(3), 'b': torch.rand(3)}
    told = explain(identify(state, {}), identify({k: v.half() for k, v in state.items()}, {}))
    assert 'rounded to another dtype' in told


def test_parts_survive_a_checkpoint(tmp_path):
    whole = identify(_state(), SETTINGS)
    torch.save(whole._asdict(), tmp_path / 'x.pth')
    back = type(whole)(**torch.load(tmp_path / 'x.pth', weights_only=True))
    assert back == whole
    assert explain(back, whole) == ''
