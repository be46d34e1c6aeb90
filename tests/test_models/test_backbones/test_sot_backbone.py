"""What all backbones of Siamese trackers do: their grid, freezing, and what unfreezes them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmtrack.engine.hooks import SiamRPNBackboneUnfreezeHook
from torch import nn

from mmkd.errors import MMKDError
from mmkd.models.backbones import SOTAlexNet, SOTResNet, SOTTimmBackbone

from .sot_cases import CASES, lively


@pytest.fixture(params=CASES)
def make(request):
    torch.manual_seed(0)
    return CASES[request.param]


def grad(net, name):
    return {p.requires_grad for p in getattr(net, name).parameters()}


def norms_train(net, name):
    return {m.training for m in getattr(net, name).modules() if isinstance(m, nn.BatchNorm2d)}


def unfreeze(net, epoch, layers=('layer3', 'layer4')):
    """What mmengine does when an epoch begins: the hook, then ``model.train()``."""
    model = nn.Module()
    model.backbone = net
    hook = SiamRPNBackboneUnfreezeHook(10, list(layers))
    hook.before_train_epoch(SimpleNamespace(epoch=epoch, model=model))
    model.train()


def test_cells_lie_symmetric_about_the_images_centre(make):
    """Mirrored kernels on a mirrored image give the mirrored maps: the grid has no side."""
    net = lively(make()).double()
    image = torch.rand(1, 3, 127, 127, dtype=torch.float64) * 255
    with torch.no_grad():
        expected = [level.flip(-1, -2) for level in net(image)]
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.data.flip(-1, -2)
        for got, level in zip(net(image.flip(-1, -2)), expected):
            assert torch.allclose(got, level)
            assert level.std() > 0


def test_sizes(make):
    net = make().eval()
    alexnet = type(net).__name__ == 'SOTAlexNet'
    for size, cells in ((127, 6 if alexnet else 15), (255, 22 if alexnet else 31)):
        with torch.no_grad():
            maps = net(torch.rand(2, 3, size, size))
        assert isinstance(maps, tuple)
        shapes = [(2, channels, cells, cells) for channels in net.out_channels]
        assert [tuple(level.shape) for level in maps] == shapes


def test_a_shift_by_eight_pixels_is_a_shift_by_one_cell(make):
    """Far from the borders."""
    net = lively(make()).double()
    if any(type(module).__name__ == 'SqueezeExcite' for module in net.modules()):
        pytest.skip('squeeze-and-excitation looks at the whole image')
    image = torch.rand(1, 3, 263, 263, dtype=torch.float64) * 255
    with torch.no_grad():
        first = net(image[..., :255, :255])[0]
        second = net(image[..., 8:263, 8:263])[0]
    assert torch.allclose(first[..., 9:-8, 9:-8], second[..., 8:-9, 8:-9])


def test_every_parameter_is_used_and_trained_by_default(make):
    net = make().train()
    sum(level.sum() for level in net(torch.rand(2, 3, 127, 127))).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    assert all(m.training for m in net.modules())


def test_frozen_stages_are_frozen_from_the_first_train_on(make):
    net = make(frozen_stages=3)
    # Before, all ask for gradients: distributed training lists parameters now.
    assert all(p.requires_grad for p in net.parameters())
    net.train()
    for number, modules in net.stages().items():
        frozen = number <= 3
        assert {p.requires_grad for m in modules for p in m.parameters()} == {not frozen}
        assert {m.training for m in modules} == {not frozen}
    net.eval()
    net.train()
    assert grad(net, 'layer3') == {False}


def test_norm_eval_keeps_statistics(make):
    net = make(norm_eval=True).train()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(m.training for m in norms)
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize('resumed', [False, True])
def test_mmtracks_hook_unfreezes(make, resumed):
    last = max(make().stages())
    net = make(frozen_stages=last, norm_eval=True)
    if not resumed:
        for epoch in (0, 9):
            unfreeze(net, epoch)
            assert grad(net, 'layer3') == {False}
            net.eval()
    for epoch in (10, 11):
        unfreeze(net, epoch)
        assert grad(net, 'layer4') == grad(net, 'layer3') == {True}
        assert norms_train(net, 'layer4') == {True}
        assert grad(net, 'layer2') == grad(net, 'layer1') == {False}
        assert norms_train(net, 'layer2') == {False}
        net.eval()  # the validation between
        assert not any(m.training for m in net.modules())


def test_the_hook_unfreezes_synchronised_norms_too():
    """It looks for BatchNorm2d, which they are not: the parameters alone tell."""
    net = SOTAlexNet(0.0625, frozen_stages=5, norm_eval=True)
    model = nn.Module()
    model.backbone = net
    nn.SyncBatchNorm.convert_sync_batchnorm(model)
    unfreeze(net, 9, ['layer4', 'layer5'])
    assert grad(net, 'layer4') == {False}
    unfreeze(net, 10, ['layer4', 'layer5'])
    for name, trains in (('layer3', False), ('layer4', True), ('layer5', True)):
        assert grad(net, name) == {trains}
        norms = [m for m in getattr(net, name).modules() if isinstance(m, nn.SyncBatchNorm)]
        assert [norm.training for norm in norms] == [trains]


def test_mmtracks_own_backbone_is_frozen_again():
    """Why ours notices: mmengine calls the hook before ``model.train()``."""
    from mmtrack.models.backbones import SOTResNet as Stock

    stock = Stock(depth=50, base_channels=4, frozen_stages=4, norm_eval=True)
    unfreeze(stock, 10)
    assert grad(stock, 'layer4') == {False}


def test_layers_of_timm_have_the_unfreeze_hooks_names_and_no_keys():
    net = SOTTimmBackbone('test_convnext', out_indices=(2, 3, 4))
    assert not any('layer4' in key for key in net.state_dict())
    ours = {
        id(p) for n in range(5) if n in net.stages() for p in getattr(net, f'layer{n}').parameters()
    }
    assert ours == {id(p) for p in net.parameters()}
    with pytest.raises(AttributeError):
        _ = net.layer9


def test_a_stage_without_batchnorm_is_released_by_its_parameters():
    net = SOTTimmBackbone('test_convnext', frozen_stages=4)
    unfreeze(net, 0)
    assert grad(net, 'layer4') == {False}
    unfreeze(net, 10)
    assert grad(net, 'layer4') == {True}
    assert grad(net, 'layer2') == {False}


def test_random_weights_are_drawn_for_relu():
    net = SOTResNet(18, base_channels=16)
    before = net.layer3[0].conv1.weight.detach().clone()
    net.init_weights()
    weight = net.layer3[0].conv1.weight
    assert not torch.equal(weight, before)
    fan_out = weight.shape[0] * 9
    assert weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)


def test_a_stage_that_is_not_there_cannot_be_frozen(make):
    last = max(make().stages())
    with pytest.raises(MMKDError, match=f'frozen_stages is {last + 1}; expected -1 .* to {last}'):
        make(frozen_stages=last + 1)
