"""configs/kd/sdst: every config builds and takes a step, saves the plain student, and unfreezes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.structures import InstanceData

import mmkd  # noqa: F401
from mmkd.registry import MODELS

FOLDER = Path(__file__).parents[1] / 'configs' / 'kd' / 'sdst'
CONFIGS = {
    path.stem: path
    for path in sorted(FOLDER.rglob('sdst_*.py'))
    if not path.stem.endswith('chain') and '_base_' not in path.parts
}
DISTILLED = [
    name for name in CONFIGS if 'student' in name and ('_general' in name or '_sdst' in name[5:])
]
GROUPS = {
    'occlusion': 'POC',
    'fast_motion': 'FM',
    'motion_blur': 'MB',
    'out_of_view': 'OV',
    'similar_object': 'SOB',
    'scale_variation': 'SV',
}


def config(name: str, width: float = 0.0625) -> dict:
    """A config's model whose AlexNets are narrow, without files."""
    model = Config.fromfile(CONFIGS[name]).model.to_dict()
    for part in [model, model.get('student'), model.get('mutual', {}).get('student')]:
        narrow(part, width)
    teachers = [model[key] for key in ('general',) if key in model]
    teachers += [each['teacher'] for each in model.get('specialists', {}).values()]
    for number, teacher in enumerate(teachers):
        net = Config.fromfile(teacher['config']).model.to_dict()
        narrow(net, 2 * width)
        teacher.update(config=net, weights='random', dtype=None)
        assert number < 5
    return model


def narrow(model, width: float) -> None:
    backbone = (model or {}).get('backbone', {})
    if backbone.get('type') == 'mmkd.SOTAlexNet':
        backbone['width_mult'] = width
        model['head']['in_channels'] = [int(256 * width)]
    backbone.pop('init_cfg', None)


def pairs(names=((), ('occlusion',), ('fast_motion', 'scale_variation', 'similar_object'))):
    """A batch of pairs with one target each, as the data preprocessor leaves it."""
    from mmtrack.structures import TrackDataSample

    generator = torch.Generator().manual_seed(0)
    samples = []
    for number, groups in enumerate(names):
        gt = InstanceData()
        gt.bboxes = torch.tensor([[90.0 + number, 80.0, 165.0, 160.0 + 5 * number]])
        gt.labels = torch.tensor([1])
        sample = TrackDataSample()
        sample.gt_instances, sample.search_gt_instances = gt, gt
        sample.set_metainfo(
            dict(attributes=tuple(GROUPS[g] for g in groups), attribute_groups=tuple(groups))
        )
        samples.append(sample)
    n = len(samples)
    inputs = {
        'img': torch.rand(n, 1, 3, 127, 127, generator=generator) * 255,
        'search_img': torch.rand(n, 1, 3, 255, 255, generator=generator) * 255,
    }
    return inputs, samples


def test_there_is_one_of_everything():
    for family in ('lasot', 'pets', 'synthetic'):
        names = {name for name in CONFIGS if name.startswith(f'sdst_{family}_')}
        assert any('specialist' in name for name in names)
        assert any(name.endswith('_general') and 'student' in name for name in names)
        assert any(name.endswith('_sdst') for name in names)
        assert (FOLDER / family / f'sdst_{family}_chain.py').is_file()
    assert len(DISTILLED) > 12


@pytest.mark.parametrize('name', CONFIGS)
def test_schedules_build(name):
    """A list replaces the list of a base whole: _delete_ in it would be an argument."""
    import mmengine.optim  # noqa: F401  fills the registry
    from mmengine.registry import PARAM_SCHEDULERS, DefaultScope

    cfg = Config.fromfile(CONFIGS[name])
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=cfg.optim_wrapper.optimizer.lr)
    with DefaultScope.overwrite_default_scope('mmtrack'):
        for scheduler in cfg.param_scheduler:
            settings = {'end': cfg.train_cfg.max_epochs, **scheduler}
            PARAM_SCHEDULERS.build(settings, default_args=dict(optimizer=optimizer, epoch_length=2))


def strings_in(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [found for item in value for found in strings_in(item)]
    return [value] if isinstance(value, str) else []


CHECKPOINT = re.compile(r'work_dirs/sdst/(\w+)/([\w-]+?)(?:_seed\d+)?/epoch_(\d+)\.pth')


def test_checkpoints_are_called_as_the_runs_leave_them():
    """work_dirs/sdst/<family>/<run>/epoch_<n>.pth: n is how long the config of that run trains."""
    configs = {name: Config.fromfile(path) for name, path in CONFIGS.items()}
    seen = set()
    for name, cfg in configs.items():
        for text in strings_in(cfg.to_dict()):
            if text.startswith('work_dirs/') and text.endswith('.pth'):
                found = CHECKPOINT.fullmatch(text)
                assert found, f'{name}: {text}'
                maker = configs[f'sdst_{found[1]}_{found[2]}']
                assert int(found[3]) == maker.train_cfg.max_epochs, f'{name}: {text}'
                seen.add(found[1])
    assert seen == {'lasot', 'pets', 'synthetic'}


@pytest.mark.parametrize('name', [name for name in CONFIGS if name not in DISTILLED])
def test_plain_models_build(name):
    # R50 and the other large ones are run by the tests of their own configs.
    model = MODELS.build(config(name))
    assert model.response_taps == {'cls': 'head[0]', 'reg': 'head[1]'}


@pytest.mark.parametrize('name', [n for n in DISTILLED if 'lasot' not in n])
def test_each_term_teaches_the_student(name):
    torch.manual_seed(0)
    distiller = MODELS.build(config(name)).train()
    losses = distiller(*pairs(), mode='loss')
    terms = {key: value for key, value in losses.items() if key.startswith('loss_kd_')}
    entries = {'cls', 'reg', 'hard', 'response', 'search'}
    teachers = {'general'}
    if '_sdst' in name[len('sdst_') :]:
        teachers |= set(Config.fromfile(CONFIGS[name]).model.specialists)
    assert set(terms) == {f'loss_kd_{e}_{t}' for e in entries for t in teachers}
    parameters = [p for p in distiller.student.parameters() if p.requires_grad]
    for key, value in terms.items():
        if 'hard' in key:
            # A student that knows nothing may be better than a teacher that does not either.
            continue
        assert value > 0, key
        gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        assert any(g is not None and bool(g.abs().sum() > 0) for g in gradients), key


@pytest.mark.slow
@pytest.mark.parametrize('name', [n for n in DISTILLED if 'lasot' in n])
def test_r50_teaches_each_lasot_student(name):
    """The real sizes: 25 x 25 against 17 x 17, 31 x 31 against 22 x 22, necks of other widths."""
    model = config(name, width=0.125)
    if 'specialists' in model:
        # One is enough to see that they meet; each is as large as the general teacher.
        model['specialists'] = {'occlusion': model['specialists']['occlusion']}
    if 'staged' in name:
        model.update(general_weight=1.0, specialist_weight=1.0)
    distiller = MODELS.build(model).train()
    losses = distiller(*pairs([('occlusion',)] * 2), mode='loss')
    total, _ = distiller.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
    assert losses['loss_kd_cls_general'] > 0
    if 'mutual' in name:
        assert losses['peer_loss_rpn_cls'] > 0


@pytest.mark.parametrize('name', ['sdst_synthetic_student_sdst', 'sdst_pets_student_general'])
def test_the_checkpoint_is_the_plain_students(name):
    distiller = MODELS.build(config(name))
    state = distiller.state_dict()
    own = {key: value for key, value in state.items() if not key.startswith('distill.')}
    plain = MODELS.build(config(name.rpartition('_')[0]))
    plain.load_state_dict(own, strict=True)
    assert list(own) == list(plain.state_dict())


class Run:
    """What mmtrack's hook asks of a runner."""

    def __init__(self, model):
        self.model, self.epoch = model, 0


def _unfreeze(rank: int, folder: str) -> None:
    from mmengine.model import MMDistributedDataParallel
    from mmengine.optim import OptimWrapper
    from mmtrack.engine.hooks import SiamRPNBackboneUnfreezeHook

    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}/rendezvous', rank=rank, world_size=2)
    torch.manual_seed(0)
    model = config('sdst_synthetic_student_sdst')
    model['student']['backbone'].update(frozen_stages=5, norm_eval=True)
    # What is frozen cannot be taught: these reach the head.
    model['transfers'] = model['transfers'][:2]
    wrapper = MMDistributedDataParallel(MODELS.build(model), find_unused_parameters=True)
    run = Run(wrapper.train())
    hook = SiamRPNBackboneUnfreezeHook(1, ['layer4', 'layer5'])
    optimizer = OptimWrapper(torch.optim.SGD(wrapper.parameters(), lr=0.01))
    inputs, samples = pairs([('occlusion',) if rank else ('fast_motion',)] * 2)
    seen = []
    for run.epoch in range(3):
        hook.before_train_epoch(run)
        wrapper.train()
        losses = wrapper(inputs, samples, mode='loss')
        optimizer.update_params(wrapper.module.parse_losses(losses)[0])
        student = wrapper.module.student
        seen.append({name: p.detach().clone() for name, p in student.named_parameters()})
    torch.save(seen, f'{folder}/{rank}.pth')
    dist.barrier()
    os._exit(0)


@pytest.mark.slow
def test_the_unfreeze_hook_works_through_the_distiller_under_ddp(tmp_path):
    mp.spawn(_unfreeze, args=(str(tmp_path),), nprocs=2)
    one, two = (torch.load(tmp_path / f'{rank}.pth') for rank in (0, 1))
    before = {name: p for name, p in one[0].items() if name.startswith('backbone')}
    changed = [name for name, p in before.items() if not torch.equal(p, one[2][name])]
    assert changed
    assert all(name.split('.')[1] in ('layer4', 'layer5') for name in changed)
    for ours, theirs in zip(one, two):
        for name, value in ours.items():
            assert torch.equal(value, theirs[name]), name
