"""The association of FairMOT's own code, run from a user's checkout, without its network.

It holds none of that code. It imports ``src/lib/tracker/multitracker.py`` of a checkout of
https://github.com/ifzhang/FairMOT and calls its ``JDETracker.update``; what lies before the
association (network, decoding, mapping to the image) is replaced by functions that hand over the
detections of the frame. What that code needs and newer environments lack is put in its place while
it is loaded: compiled packages that are not installed, and the aliases that NumPy 1.24 removed.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Container, Dict, Iterator, List

import numpy as np
import torch

from mmkd.errors import MMKDError

PACKAGES = ('tracker', 'tracking_utils', 'models', 'utils')


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU (n, m) as the package cython_bbox counts it: a box of corners 0 and 9 is 10 wide."""
    sizes = [b[:, 2:] - b[:, :2] + 1 for b in (boxes, others)]
    shared = np.minimum(boxes[:, None, 2:], others[:, 2:])
    shared = shared - np.maximum(boxes[:, None, :2], others[:, :2]) + 1
    shared = np.where((shared > 0).all(axis=2), shared.prod(axis=2), 0)
    return shared / (sizes[0].prod(axis=1)[:, None] + sizes[1].prod(axis=1) - shared)


class _Network:
    """Stands for network, decoding and post-processing: all give what the frame holds."""

    def __init__(self) -> None:
        self.table = np.zeros((0, 5), dtype=np.float32)
        self.embeddings = torch.zeros(1, 1, 0)

    def to(self, device) -> _Network:
        return self

    def eval(self) -> _Network:
        return self

    def __call__(self, image) -> List[Dict[str, torch.Tensor]]:
        none = torch.zeros(1)
        return [{'hm': none, 'wh': none, 'reg': none, 'id': self.embeddings}]


def _stand_ins(network: _Network) -> Dict[str, ModuleType]:
    """Modules, by name, that are put in the place of the checkout's or of missing packages."""

    def module(name: str, **content) -> ModuleType:
        made = ModuleType(name)
        made.__dict__.update(content)
        return made

    stand_ins = [
        module('models', __path__=[]),
        module(
            'models.model',
            create_model=lambda *args, **kwargs: network,
            load_model=lambda model, *args, **kwargs: model,
        ),
        module(
            'models.decode',
            mot_decode=lambda *args, **kwargs: (torch.from_numpy(network.table)[None], None),
        ),
        module(
            'models.utils', _tranpose_and_gather_feat=lambda feature, _: feature.transpose(1, 2)
        ),
        module('utils', __path__=[]),
        module('utils.image', get_affine_transform=None),
        module('utils.post_process', ctdet_post_process=lambda *args: [{1: network.table}]),
        module('tracking_utils.utils'),
    ]
    if not _installed('cython_bbox'):
        stand_ins.append(module('cython_bbox', bbox_overlaps=overlaps))
    if not _installed('numba'):
        stand_ins.append(module('numba', jit=lambda *args, **kwargs: lambda function: function))
    return {made.__name__: made for made in stand_ins}


def _installed(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _numpy_with_aliases() -> ModuleType:
    made = ModuleType('numpy')
    made.__dict__.update(vars(np))
    made.__dict__.update(float=float, int=int, bool=bool)
    return made


@contextlib.contextmanager
def _restored(names: Container[str]) -> Iterator[None]:
    """Leaves the search path, the root logger and modules of the names in question as they were."""
    root = logging.getLogger()
    path, modules = list(sys.path), dict(sys.modules)
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        sys.path[:] = path
        for name in list(sys.modules):
            if name not in modules and (name in names or name.split('.')[0] in PACKAGES):
                del sys.modules[name]
        sys.modules.update(modules)
        root.handlers[:] = handlers
        root.setLevel(level)


def _load(checkout: Path, network: _Network) -> ModuleType:
    library = checkout / 'src' / 'lib'
    if not (library / 'tracker' / 'multitracker.py').is_file():
        raise MMKDError(
            f'{checkout} is no checkout of FairMOT: it has no src/lib/tracker/multitracker.py. '
            'Get one with: git clone https://github.com/ifzhang/FairMOT'
        )
    stand_ins = _stand_ins(network)
    with _restored(stand_ins):
        for name in list(sys.modules):
            if name.split('.')[0] in PACKAGES:
                del sys.modules[name]
        sys.modules.update(stand_ins)
        sys.path.insert(0, str(library))
        try:
            module = importlib.import_module('tracker.multitracker')
        except ImportError as error:
            raise MMKDError(f"FairMOT's tracker needs what is not installed: {error}.") from error
        numpy = _numpy_with_aliases()
        for name, loaded in list(sys.modules.items()):
            if name.split('.')[0] in PACKAGES and getattr(loaded, 'np', None) is np:
                loaded.np = numpy
    # It would tell every frame of its tracks, on the root logger.
    module.logger = logging.getLogger('fairmot')
    return module


class OriginalTracker:
    """FairMOT's ``JDETracker``, fed with detections.

    Every instance loads the code anew, so that ids start at 1.

    Args:
        checkout: Folder of a checkout of https://github.com/ifzhang/FairMOT.
        fps: Frames per second of the video.
        conf_thr: Its ``--conf_thres``.
        track_buffer: Its ``--track_buffer``.

    Raises:
        MMKDError: If there is no such checkout, or one of its packages is missing.
    """

    def __init__(
        self, checkout, fps: float = 30, conf_thr: float = 0.4, track_buffer: int = 30
    ) -> None:
        self._network = _Network()
        self.module = _load(Path(checkout), self._network)
        self.compiled_overlap = _installed('cython_bbox')
        options = SimpleNamespace(
            gpus=[-1],
            arch='',
            heads={},
            head_conv=0,
            load_model='',
            conf_thres=conf_thr,
            track_buffer=track_buffer,
            K=sys.maxsize,
            mean=[0, 0, 0],
            std=[1, 1, 1],
            down_ratio=4,
            num_classes=1,
            ltrb=True,
            reg_offset=True,
        )
        with contextlib.redirect_stdout(io.StringIO()):  # It announces a model.
            self.tracker = self.module.JDETracker(options, frame_rate=fps)
        # Only their shapes are asked for.
        self._blob, self._image = torch.zeros(1, 3, 4, 4), np.zeros((4, 4, 3), np.uint8)

    def feed(self, boxes: np.ndarray, scores: np.ndarray, embeddings: np.ndarray) -> None:
        """Lays out the detections of the next frame.

        Args:
            boxes: (m, 4) corners in pixels of the image.
            scores: (m,).
            embeddings: (m, D).
        """
        self._network.table = np.column_stack([boxes, scores]).astype(np.float32)
        features = torch.from_numpy(np.asarray(embeddings, dtype=np.float32))
        self._network.embeddings = features.t()[None]

    def update(self) -> list:
        """The original's ``update`` with what was laid out: its tracks seen in this frame."""
        return self.tracker.update(self._blob, self._image)

    def step(self) -> Dict[int, np.ndarray]:
        """:meth:`update`, told as corners (4,) by id."""
        return {int(track.track_id): track.tlbr for track in self.update()}
