"""Size, work and speed of trackers, side by side."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Dict, List, Sequence, Tuple

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.analysis.jit_handles import (
    addmm_flop_jit,
    bmm_flop_jit,
    conv_flop_jit,
    einsum_flop_jit,
    get_shape,
    linear_flop_jit,
    matmul_flop_jit,
)
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmkd.errors import MMKDError

from .inference import inference_pipeline, init_tracker
from .publish import ID_CLASSIFIER


@dataclass
class Complexity:
    """What one model costs.

    Attributes:
        name: Of the config.
        shape: (height, width) of the network's input, in pixels.
        params: Parameters of the deployed model, without the identity classifier.
        train_params: Parameters with it.
        macs: Multiply-accumulates of convolutions and matrix products for one image.
        uncounted: Calls of operators that ``macs`` leaves out, by name.
        fps: Images per second through network and decoding; None if not measured.
        speed: The same as a multiple of the first model's, measured side by side.
    """

    name: str
    shape: Tuple[int, int]
    params: int
    train_params: int
    macs: int
    uncounted: Dict[str, int] = field(default_factory=dict)
    fps: float | None = None
    speed: float | None = None


class _Maps(nn.Module):
    """The network alone, as a function from a tensor to tensors, which can be traced."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor):
        out = self.model(images, mode='tensor')
        return tuple(out.values()) if isinstance(out, dict) else out


def _deform_conv_macs(inputs: Sequence, outputs: Sequence) -> Counter:
    """As a plain convolution; interpolating what it reads is not counted, as for ``upsample``.

    Args:
        inputs: Traced map, offsets, mask, weight and perhaps bias.
        outputs: Traced map.
    """
    _, per_group, *kernel = get_shape(inputs[3])
    macs = per_group
    for size in (*kernel, *get_shape(outputs[0])):
        macs *= size
    return Counter(deform_conv=macs)


_HANDLES = {
    'aten::_convolution': conv_flop_jit,
    'aten::addmm': addmm_flop_jit,
    'aten::bmm': bmm_flop_jit,
    'aten::einsum': einsum_flop_jit,
    'aten::linear': linear_flop_jit,
    'aten::matmul': matmul_flop_jit,
    'aten::mm': matmul_flop_jit,
    'prim::PythonOp.ModulatedDeformConv2dFunction': _deform_conv_macs,
}


def count_macs(model: nn.Module, shape: Tuple[int, int]) -> Tuple[Dict[str, int], Dict[str, int]]:
    """Counts multiply-accumulates of one forward pass, with mmengine's analysis of the trace.

    What is counted are convolutions, deformable ones among them, and matrix products. BatchNorm
    can be folded into them, and the rest is a few operations per value.

    Args:
        model: Any OpenMMLab model with ``mode='tensor'``, or a module from images to tensors.
        shape: (height, width) of the input in pixels.

    Returns:
        Multiply-accumulates by kind of operator, and the calls of each operator that was left out.
    """
    network = _Maps(model) if hasattr(model, 'data_preprocessor') else model
    device = next(model.parameters()).device
    analyzer = FlopAnalyzer(network, (torch.rand(1, 3, *shape, device=device),))
    analyzer.clear_op_handles().set_op_handle(**_HANDLES)
    analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analyzer.tracer_warnings('none')
    training = model.training
    model.eval()
    with torch.no_grad():
        macs = {name: int(count) for name, count in analyzer.by_operator().items()}
    model.train(training)
    left_out = analyzer.unsupported_ops()
    return macs, {name.split('::')[-1]: count for name, count in sorted(left_out.items())}


def count_parameters(model: nn.Module) -> Tuple[int, int]:
    """Parameters of the deployed model and those in training, with the identity classifier."""
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    deployed = sum(size for name, size in sizes.items() if ID_CLASSIFIER not in name)
    return deployed, sum(sizes.values())


def input_shape(cfg: Config, shape: Sequence[int] | None = None) -> Tuple[int, int]:
    """Size of the network's input.

    Args:
        cfg: The model's config.
        shape: (height, width) to use; by default the ``scale`` of the config's test pipeline.

    Returns:
        (height, width), rounded up to what the data preprocessor pads to.

    Raises:
        MMKDError: If neither says a size.
    """
    if shape is None:
        has_pipeline = cfg.get('test_dataloader') or cfg.get('test_pipeline')
        steps = inference_pipeline(cfg) if has_pipeline else []
        scales = [step['scale'] for step in steps if 'scale' in step]
        if not scales:
            raise MMKDError(
                f'{_name(cfg)}: the config has no test pipeline with a scale, so the size of its '
                'input is unknown. Give it, e.g. --shape 608 1088 (height and width).'
            )
        shape = scales[0][::-1]
    if len(shape) != 2 or min(shape) < 1:
        raise MMKDError(f'The shape {tuple(shape)} is no height and width in pixels.')
    model = cfg.model.get('student', cfg.model)
    divisor = (model.get('data_preprocessor') or {}).get('pad_size_divisor', 1)
    height, width = (-(-size // divisor) * divisor for size in shape)
    return height, width


def analyze(
    configs: Sequence[str],
    shape: Sequence[int] | None = None,
    rounds: int = 0,
    num_ids: int = 0,
    device: str = 'cpu',
    cfg_options: dict | None = None,
) -> List[Complexity]:
    """Counts, and on request times, the models of some configs; the weights do not matter.

    Args:
        configs: Config files. Of a distillation config the student is taken.
        shape: (height, width) of the input; by default each config's own.
        rounds: Rounds of timing; 0 leaves it out.
        num_ids: Identities that the classifier is sized for in ``train_params``.
        device: Where to time.
        cfg_options: Settings that replace those of every config.

    Returns:
        One entry per config, in order.

    Raises:
        MMKDError: If a config cannot be built or says no input size.
    """
    models, results = [], []
    for config in configs:
        model = init_tracker(config, cfg_options=cfg_options)
        size = input_shape(model.cfg, shape)
        macs, left_out = count_macs(model, size)
        if num_ids and hasattr(model, 'set_num_ids'):
            model.set_num_ids(num_ids)
        params, train_params = count_parameters(model)
        name = Path(config).stem
        results.append(Complexity(name, size, params, train_params, sum(macs.values()), left_out))
        models.append(model)
    if rounds:
        fps, speed = measure_fps(models, [result.shape for result in results], rounds, device)
        for i, result in enumerate(results):
            result.fps, result.speed = fps[i], speed[i]
    return results


def measure_fps(
    models: Sequence[nn.Module],
    shapes: Sequence[Tuple[int, int]],
    rounds: int = 10,
    device: str = 'cpu',
) -> Tuple[List[float], List[float]]:
    """Times network and decoding, one image at a time, in turns, so that all see the same machine.

    Neither reading and resizing the image nor the association is in it.

    Args:
        models: Trackers with a ``tracker`` that can be left out, such as :class:`mmkd.FairMOT`.
        shapes: (height, width) of each model's input.
        rounds: How often each of them has its turn, after one that does not count.
        device: Where to run.

    Returns:
        Images per second of each model (median over rounds), and the speed as a multiple of the
        first model's (median of the ratios within a round).
    """
    steps = []
    for model, shape in zip(models, shapes):
        model.to(device)
        model.tracker = None
        image = torch.rand(1, 3, *shape, device=device)
        _settle(model, image)
        steps.append(lambda model=model, image=image: _predict(model, image))
    times: List[List[float]] = [[] for _ in models]
    for turn in range(rounds + 1):
        for step, taken in zip(steps, times):
            _wait(device)
            start = time.perf_counter()
            step()
            _wait(device)
            if turn:
                taken.append(time.perf_counter() - start)
    fps = [1 / median(taken) for taken in times]
    speed = [median(first / own for first, own in zip(times[0], taken)) for taken in times]
    return fps, speed


def _predict(model: nn.Module, image: Tensor) -> None:
    from mmtrack.structures import TrackDataSample

    sample = TrackDataSample(metainfo=dict(frame_id=0, homography_matrix=torch.eye(3).tolist()))
    with torch.no_grad():
        model(dict(img=image[:, None]), [sample], mode='predict')


def _settle(model: nn.Module, image: Tensor) -> None:
    """Takes BatchNorm's statistics from an image: without training, deep maps fade to denormal
    numbers or explode, and processors are slow with both."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.train()
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model(image, mode='tensor')
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    model.eval()


def _wait(device: str) -> None:
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)


def as_markdown(results: Sequence[Complexity]) -> str:
    """A table for a README, with a line below that names what was not counted."""
    timed = any(result.fps is not None for result in results)
    classified = any(result.train_params != result.params for result in results)
    head = ['Model', 'Input', 'Params (M)']
    head += ['with id classifier (M)'] if classified else []
    head += ['GMACs'] + (['fps', 'speed'] if timed else [])
    rows = []
    for result in results:
        row = [result.name, '{} x {}'.format(*result.shape), f'{result.params / 1e6:.2f}']
        row += [f'{result.train_params / 1e6:.2f}'] if classified else []
        row.append(f'{result.macs / 1e9:.1f}')
        row += [f'{result.fps:.2f}', f'{result.speed:.2f}x'] if timed else []
        rows.append(row)
    rule = [':--'] + ['--:'] * (len(head) - 1)
    lines = ['| ' + ' | '.join(cells) + ' |' for cells in (head, rule, *rows)]
    names = sorted({name for result in results for name in result.uncounted})
    if names:
        lines += ['', f'Not counted: {", ".join(names)}.']
    return '\n'.join(lines)


def _name(cfg: Config) -> str:
    return Path(cfg.filename).name if cfg.filename else 'The config'
