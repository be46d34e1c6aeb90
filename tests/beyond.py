"""Trains a config of configs/kd/beyond/ on a toy data set, in an interpreter without mmtrack.

Run as ``python beyond.py CONFIG FOLDER``; its last line of output is what it found, as JSON.
"""

from __future__ import annotations

import json
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import cv2
import numpy as np

TRACKING = ('mmtrack', 'mmcls')
IMAGES = 4
STEPS = 6


class WithoutTracking(PathFinder):
    """Looks for modules as Python does, on a machine where nobody installed mmtrack."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if fullname.split('.')[0] in TRACKING:
            return None
        return super().find_spec(fullname, path, target)


def draw(folder: Path) -> list:
    """Images with one bright rectangle each, and where it is: x, y, width, height."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    boxes = []
    for number in range(IMAGES):
        image = random.integers(0, 60, (96, 128, 3), dtype=np.uint8)
        x, y = (int(value) for value in random.integers(8, 40, 2))
        image[y : y + 48, x : x + 64] = random.integers(120, 255, 3, dtype=np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), image)
        boxes.append([x, y, 64, 48])
    return boxes


def detection(cfg, root: Path) -> None:
    """A COCO file; every image as large as it is, in the order of the file."""
    boxes = draw(root / 'images')
    images = [dict(id=i, file_name=f'{i}.png', width=128, height=96) for i in range(IMAGES)]
    annotations = [
        dict(id=i, image_id=i, category_id=1, bbox=box, area=64 * 48, iscrowd=0)
        for i, box in enumerate(boxes)
    ]
    content = dict(images=images, annotations=annotations, categories=[dict(id=1, name='person')])
    (root / 'train.json').write_text(json.dumps(content))
    dataset = cfg.train_dataloader.dataset
    dataset.update(data_root=str(root), ann_file='train.json', data_prefix=dict(img='images/'))
    for step in dataset.pipeline:
        if step.type == 'Resize':
            step.scale = (128, 96)


def classification(cfg, root: Path) -> None:
    """A folder of ImageNet with its list."""
    draw(root / 'train')
    (root / 'train.txt').write_text(''.join(f'{i}.png {i}\n' for i in range(IMAGES)))
    cfg.train_dataloader.dataset.update(
        data_root=str(root), ann_file='train.txt', data_prefix='train'
    )
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type == 'RandomResizedCrop':
            step.scale = 64


def shrink(cfg, root: Path) -> None:
    """What a processor trains in seconds: nothing of the distillation but the teacher's size."""
    teacher = dict(embed_dim=24, depth=3, num_heads=2, grid=4)
    cfg.model.teacher.update(arch=teacher, weights='random')
    cfg.model.student.backbone.init_cfg = None
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type == 'RandomFlip':
            step.prob = 0.0
    cfg.train_dataloader.update(batch_size=IMAGES, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.sampler.shuffle = False
    cfg.train_cfg = dict(by_epoch=True, max_epochs=STEPS)  # of one batch
    for stage in ('val', 'test'):
        for part in ('dataloader', 'cfg', 'evaluator'):
            cfg[f'{stage}_{part}'] = None
    cfg.param_scheduler = None
    cfg.optim_wrapper = dict(optimizer=dict(type='Adam', lr=3e-4))
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=STEPS)
    cfg.default_hooks.logger.interval = 1
    cfg.log_processor = dict(window_size=1)
    cfg.work_dir = str(root / 'work')
    cfg.randomness = dict(seed=0)


def main(config: str, folder: str) -> None:
    sys.meta_path[:] = [WithoutTracking if f is PathFinder else f for f in sys.meta_path]
    import torch
    from mmengine.config import Config
    from mmengine.runner import Runner

    import mmkd  # noqa: F401
    from mmkd.registry import MODELS

    root = Path(folder)
    cfg = Config.fromfile(config)
    # Taken before: building a model completes its config.
    plain = cfg.model.student.to_dict()
    plain.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    (detection if cfg.default_scope == 'mmdet' else classification)(cfg, root)
    shrink(cfg, root)
    plain['backbone']['init_cfg'] = None
    runner = Runner.from_cfg(cfg)
    runner.train()
    (scalars,) = (root / 'work').glob('*/vis_data/scalars.json')
    log = [json.loads(line) for line in scalars.read_text().splitlines()]
    (name,) = (key for key in log[0] if key.startswith('kd_') and 'loss' not in key)
    checkpoint = torch.load(
        str(root / 'work' / f'epoch_{STEPS}.pth'), map_location='cpu', weights_only=False
    )['state_dict']
    student = MODELS.build(plain)
    wanted = {k: v for k, v in checkpoint.items() if not k.startswith('distill.')}
    student.load_state_dict(wanted, strict=True)
    trained = runner.model.student.state_dict()
    found = dict(
        steps=len(log),
        kd=[step[name] for step in log],
        task=[step['task_raw'] for step in log],
        student=type(student).__module__.split('.')[0],
        same=all(torch.equal(v, trained[k]) for k, v in student.state_dict().items()),
        of_teacher={k: v.numel() for k, v in checkpoint.items() if 'teacher' in k},
        tracking=sorted({k.split('.')[0] for k in sys.modules} & set(TRACKING)),
    )
    print(json.dumps(found))


if __name__ == '__main__':
    main(*sys.argv[1:])
