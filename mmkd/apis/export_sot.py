"""A Siamese tracker as two ONNX files: the template's, once per video, and the frame's."""

from __future__ import annotations

import inspect
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from mmkd.errors import MMKDError

from .sot_branches import SearchBranch, TemplateBranch, check_siamese

# The oldest that has all operators; the newest that the exporter of both stacks' torch knows.
OPSETS = (11, 17)
# Largest difference between onnxruntime and torch, relative to the largest value of an output.
TOLERANCE = 1e-3


@dataclass
class Exported:
    """One file.

    Attributes:
        path: Where.
        inputs: Name to shape.
        outputs: Name to shape.
        checked: What looked at it: 'onnx' (its checker), 'onnxruntime' (runs it); empty if neither
            is installed.
        error: Largest difference to torch, relative to the largest value; None if it did not run.
    """

    path: Path
    inputs: Dict[str, Tuple[int, ...]]
    outputs: Dict[str, Tuple[int, ...]]
    checked: Tuple[str, ...] = ()
    error: Optional[float] = None


def export_siamese(model: nn.Module, out: str | Path, opset: int = 13) -> List[Exported]:
    """Writes ``template.onnx`` and ``search.onnx``.

    The first maps a template (1, 3, 127, 127), BGR 0..255, to kernels; the second a search image
    and these kernels to ``cls`` (1, 2A, h, w) and ``reg`` (1, 4A, h, w). Softmax, decoding and
    penalties are left to whoever runs them; :mod:`mmkd.models.heads.siamese_rpn_decode` has them.

    Args:
        model: :class:`mmkd.SiamRPN` in eval mode, on the processor.
        out: Folder; made if it is not there.
        opset: Version of ONNX's operators, 11 to 17.

    Returns:
        The two files.

    Raises:
        MMKDError: If the model is no Siamese tracker, the opset is not supported, torch's exporter
            needs a package that is not there, or the check fails.
    """
    check_siamese(model)
    if not hasattr(model.head, 'kernels'):
        raise MMKDError(
            f"{type(model.head).__name__} does not tell the template's half from the frame's. "
            "Give the config type='mmkd.SiamRPN'; weights stay as they are."
        )
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise MMKDError(f'The opset is {OPSETS[0]} to {OPSETS[1]}, but got {opset}.')
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    test = model.test_cfg
    template, search = (
        torch.rand(1, 3, n, n) * 255 for n in (test.exemplar_size, test.search_size)
    )
    first, second = TemplateBranch(model), SearchBranch(model)
    with torch.no_grad():
        kernels = first(template)
        named = dict(search=search, **dict(zip(first.names, kernels)))
        return [
            _write(first, out / 'template.onnx', dict(template=template), first.names, opset),
            _write(second, out / 'search.onnx', named, ['cls', 'reg'], opset),
        ]


def _write(
    branch: nn.Module, path: Path, inputs: Dict[str, Tensor], names: Sequence[str], opset: int
) -> Exported:
    """Exports one branch and looks at the file with what is installed."""
    expected = branch(*inputs.values())
    settings: Dict[str, Any] = dict(
        input_names=list(inputs), output_names=list(names), opset_version=opset
    )
    if 'dynamo' in inspect.signature(torch.onnx.export).parameters:
        # The other exporter needs packages that neither stack has.
        settings['dynamo'] = False
    try:
        with _quiet():
            torch.onnx.export(branch, tuple(inputs.values()), str(path), **settings)
    except (ImportError, torch.onnx.errors.OnnxExporterError) as error:
        raise MMKDError(
            f"torch's ONNX exporter stops: {error} (pip install onnx onnxruntime)"
        ) from error
    found = Exported(
        path,
        {name: tuple(x.shape) for name, x in inputs.items()},
        {name: tuple(x.shape) for name, x in zip(names, expected)},
    )
    if find_spec('onnx'):
        _check(path)
        found.checked += ('onnx',)
    if find_spec('onnxruntime'):
        found.error = _compare(path, inputs, expected)
        found.checked += ('onnxruntime',)
        if found.error > TOLERANCE:
            raise MMKDError(
                f'{path} gives other numbers in onnxruntime than in torch: they differ by '
                f'{found.error:.1e} of the largest value, more than {TOLERANCE:.0e}.'
            )
    return found


def _check(path: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except onnx.checker.ValidationError as error:
        raise MMKDError(f'{path} is no valid ONNX model: {error}') from error


def _compare(path: Path, inputs: Dict[str, Tensor], expected: Sequence[Tensor]) -> float:
    """Runs the file; the largest difference, relative to each output's largest value."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    # An input that the graph does not read is not in it.
    known = {node.name for node in session.get_inputs()}
    outputs = session.run(None, {k: v.numpy() for k, v in inputs.items() if k in known})
    differences = [
        (torch.from_numpy(a) - b).abs().max() / b.abs().max().clamp(min=1e-6)
        for a, b in zip(outputs, expected)
    ]
    return float(torch.stack(differences).max())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that tracing constant sizes gives."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield
