"""DLA-34 against timm's, with the same weights, and what a training asks of a backbone."""

import pytest
import timm
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from mmkd.errors import MMKDError
from mmkd.models.backbones import DLA
from mmkd.registry import MODELS


def disturb_statistics(model):
    """A fresh BatchNorm hides a wrong order of layers: it neither scales nor shifts."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            for tensor, low in ((module.weight, 0.5), (module.running_var, 0.5), (module.bias, -1)):
                tensor.data.uniform_(low, 1.5, generator=generator)
            module.running_mean.uniform_(-0.5, 0.5, generator=generator)


@pytest.fixture(scope='module')
def theirs():
    torch.manual_seed(0)
    model = timm.create_model('dla34', pretrained=False)
    disturb_statistics(model)
    return model


def test_equals_timms_with_the_same_weights(theirs):
    ours = DLA().eval()
    state = theirs.state_dict()
    # All names but the classifier's are the same.
    assert set(ours.state_dict()) == {key for key in state if not key.startswith('fc.')}
    ours.load_state_dict(state)
    image = torch.rand(2, 3, 64, 96)
    expected = {}
    for i in range(2, 6):
        getattr(theirs, f'level{i}').register_forward_hook(
            lambda module, args, out, i=i: expected.__setitem__(i, out)
        )
    with torch.no_grad():
        theirs.eval()(image)
        maps = ours(image)
    assert [tuple(x.shape) for x in maps] == [
        (2, 64, 16, 24),
        (2, 128, 8, 12),
        (2, 256, 4, 6),
        (2, 512, 2, 3),
    ]
    for i, x in enumerate(maps, start=2):
        torch.testing.assert_close(x, expected[i], atol=1e-5, rtol=1e-5)


def test_loads_the_originals_file_with_all_that_it_has_beside(theirs, tmp_path):
    state = dict(theirs.state_dict())
    for i, (low, high) in ((3, (64, 128)), (4, (128, 256))):
        state[f'level{i}.project.0.weight'] = torch.zeros(high, low, 1, 1)
        for name in ('weight', 'bias', 'running_mean', 'running_var'):
            state[f'level{i}.project.1.{name}'] = torch.zeros(high)
    # Files of 2018 know no such counter.
    state = {key: value for key, value in state.items() if 'num_batches' not in key}
    torch.save(state, tmp_path / 'dla34.pth')
    checkpoint = str(tmp_path / 'dla34.pth')
    model = MODELS.build(
        dict(type='mmkd.DLA', init_cfg=dict(type='Pretrained', checkpoint=checkpoint))
    )
    model.init_weights()
    loaded = model.state_dict()
    assert len([key for key in loaded if key in state]) > 150
    assert all(torch.equal(loaded[key], state[key]) for key in loaded if key in state)
    result = DLA().load_state_dict(state, strict=False)
    assert result.unexpected_keys == []
    assert 'fc.weight' in state  # the caller's own dict keeps everything


@pytest.mark.parametrize('out_indices', [(2, 3, 4, 5), (3,), (0, 4)])
def test_every_parameter_is_trained(out_indices):
    model = DLA(out_indices=out_indices)
    maps = model(torch.rand(2, 3, 64, 64))
    assert [64 // x.shape[-1] for x in maps] == [2**i for i in out_indices]
    assert tuple(x.shape[1] for x in maps) == model.out_channels
    sum(x.sum() for x in maps).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_frozen_levels_and_statistics_stay():
    model = DLA(frozen_stages=2, norm_eval=True).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.rand(2, 3, 32, 32))[-1].sum().backward()
    frozen = {name.split('.')[0] for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {'base_layer', 'level0', 'level1', 'level2'}
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    trained = DLA(frozen_stages=2).train()
    norms = [m for m in trained.modules() if isinstance(m, _BatchNorm)]
    assert {m.training for m in norms} == {True, False}
    assert all(m.training for m in trained.level3.modules() if isinstance(m, _BatchNorm))


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(depth=35), "Did you mean '34'"),
        (dict(out_indices=(2, 6)), '0 to 5 in rising order'),
        (dict(out_indices=(3, 2)), 'in rising order'),
        (dict(out_indices=()), 'in rising order'),
        (dict(frozen_stages=6), r'-1 \(train everything\) to 5'),
    ],
)
def test_wrong_arguments_are_told(kwargs, message):
    with pytest.raises(MMKDError, match=message):
        DLA(**kwargs)


def test_a_size_that_the_tree_cannot_halve_is_told():
    with pytest.raises(MMKDError, match='48 x 64; expected multiples of 32'):
        DLA()(torch.rand(1, 3, 48, 64))
