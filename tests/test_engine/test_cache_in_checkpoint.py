"""What the comparison of a cache with the live teacher found goes into a training's checkpoints."""

import pytest
import torch
from mmengine.logging import MessageHub

from mmkd.distill.cache.comparison import Comparison
from mmkd.distill.cache.manifest import Manifest
from mmkd.errors import MMKDError

from .test_replayed_data import _cached, _runner


def _info(file):
    content = torch.load(file, map_location='cpu', weights_only=False)
    return content['message_hub']['runtime_info']


@pytest.mark.parametrize(
    ('mode', 'least', 'most'), [('exact', 1e-5, 2**-8), ('warp', 0.01, float('inf'))]
)
def test_every_start_leaves_it_in_its_checkpoints(tmp_path, mode, least, most):
    options = dict(mode=mode, threshold=-1.0, verify=2)
    teacher = dict(_cached(tmp_path, **options), storage='bf16')
    runner = _runner(tmp_path, teacher, dict(by_epoch=True, max_epochs=1))
    runner.train()
    file = tmp_path / 'work' / 'epoch_1.pth'
    key = f'cache/{tmp_path}/cache/map'
    found = _info(file)[key]
    assert set(found) == {'cosine', 'lowest', 'error'}
    assert all(type(value) is float for value in found.values())
    assert least < found['error'] < most
    assert found['lowest'] <= found['cosine'] <= 1 + 1e-6
    # A training that goes on is a start too.
    content = torch.load(file, map_location='cpu', weights_only=False)
    content['message_hub']['runtime_info'][key] = dict(cosine=-5.0)
    torch.save(content, file)
    again = _runner(tmp_path, teacher, dict(by_epoch=True, max_epochs=2))
    again._resume, again._load_from = True, str(file)
    again.train()
    after = _info(tmp_path / 'work' / 'epoch_2.pth')[key]
    assert set(after) == {'cosine', 'lowest', 'error'}
    assert least < after['error'] < most


@pytest.mark.parametrize('mode', ['exact', 'warp'])
def test_numbers_that_are_refused_are_left_too_and_no_runner_is_needed(tmp_path, mode):
    path = str(tmp_path / 'cache')
    manifest = Manifest(mode, 'fp32', ('a', 'b'), None, 0, None, None, {}, {})
    comparison = Comparison(path, manifest, 0.95, 2)
    one = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    other = torch.tensor([[3.0, 0.0], [2.0, 0.0]])
    hub = MessageHub.get_current_instance()
    with pytest.raises(MMKDError, match="'a'"):
        comparison.add({'a': other, 'b': one}, {'a': one, 'b': one}, 2)
    state = MessageHub('another')
    state.load_state_dict(hub.state_dict())
    assert state.get_info(f'cache/{path}/a') == pytest.approx(
        dict(cosine=0.5, lowest=0.0, error=(8 / 13) ** 0.5)
    )
    assert state.get_info(f'cache/{path}/b') == dict(cosine=1.0, lowest=1.0, error=0.0)
