from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmkd.distill.instances import collect_instances
from mmkd.errors import MMKDError

from . import boxes


def sample(*bboxes, **fields):
    bboxes = torch.tensor(bboxes, dtype=torch.float64).reshape(-1, 4)
    return SimpleNamespace(gt_instances=SimpleNamespace(bboxes=bboxes, **fields))


def test_images_with_and_without_boxes_and_ids():
    samples = [
        sample((1, 2, 3, 4), (5, 6, 7, 8), instances_id=torch.tensor([4, -1], dtype=torch.int32)),
        sample(labels=np.zeros(0, dtype=np.int64)),
        SimpleNamespace(),
        sample((0.5, 0, 9, 9), labels=np.array([2]), instances_ids=[40_000_000_001]),
    ]
    found = collect_instances(samples, 4, (10, 20), torch.device('cpu'))
    assert found.boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [0.5, 0, 9, 9]]
    assert found.boxes.dtype == torch.float32
    assert found.image.tolist() == [0, 0, 3]
    assert found.ids.tolist() == [4, -1, 40_000_000_001]
    assert found.labels.tolist() == [-1, -1, 2]
    assert found.ids.dtype == found.labels.dtype == found.image.dtype == torch.long
    assert (found.size, found.num_images, found.counts) == ((10, 20), 4, (2, 0, 0, 1))
    assert found.most == 2


def test_clips_are_sorted_by_frame():
    clip = sample(
        *[(k, 0, k + 1, 1) for k in range(4)],
        instances_id=torch.arange(4),
        map_instances_to_img_idx=torch.tensor([2, 0, 2, 1]),
    )
    other = sample((9, 0, 10, 1), map_instances_to_img_idx=np.array([1], dtype=np.int32))
    empty = sample()
    found = collect_instances([clip, empty, other], 9, (4, 4), torch.device('cpu'))
    assert found.image.tolist() == [0, 1, 2, 2, 7]
    assert found.ids.tolist() == [1, 3, 0, 2, -1]
    assert found.boxes[:, 0].tolist() == [1, 3, 0, 2, 9]
    assert found.counts == (4, 0, 1)


def test_slots_and_table():
    instances = boxes.make()
    assert instances.slots().tolist() == [0, 1, 2, 3, 8, 9, 10]
    table = instances.table(instances.ids)
    assert table.tolist() == [[7, 3, -1, 5], [0, 0, 0, 0], [7, 3, 9, 0]]
    assert boxes.empty().table(torch.zeros(0, 6)).shape == (3, 0, 6)


def test_inside():
    assert boxes.make().inside().tolist() == [True, True, True, False, False, True, True]


def test_one_copy_to_another_device_keeps_every_bit():
    samples = [
        sample((0.1, -1e-30, 3e7, float('inf')), instances_id=torch.tensor([2**40])),
        sample((1, 2, 3, 4)),
    ]
    here = collect_instances(samples, 2, (8, 8), torch.device('cpu'))
    with pytest.MonkeyPatch.context() as patch:
        moved = []
        real = torch.Tensor.to

        def to(self, *args, **kwargs):
            if args and args[0] == 'meta':
                moved.append(self)
                return self
            return real(self, *args, **kwargs)

        patch.setattr(torch.Tensor, 'to', to)
        there = collect_instances(samples, 2, (8, 8), 'meta')
    assert len(moved) == 1
    for a, b in zip(here[:4], there[:4]):
        assert torch.equal(a, b)


@pytest.mark.parametrize('samples', [None, [], [SimpleNamespace()] * 2])
def test_no_boxes_at_all_is_no_silent_zero(samples):
    with pytest.raises(MMKDError, match="no data sample has 'ref_gt_instances'"):
        collect_instances(samples, 2, (8, 8), torch.device('cpu'), prefix='ref_')


@pytest.mark.parametrize(
    ('wrong', 'images', 'message'),
    [
        (sample((1, 2, 3, 4)), 2, 'map_instances_to_img_idx'),
        (SimpleNamespace(gt_instances=SimpleNamespace()), 1, 'without.*loading annotations'),
        (sample((1, 2, 3, 4), labels=torch.zeros(2)), 1, r'labels of gt_instances.*\(2,\)'),
        (SimpleNamespace(gt_instances=SimpleNamespace(bboxes=torch.ones(2, 5))), 1, r'\(2, 5\)'),
    ],
)
def test_mistakes_are_told(wrong, images, message):
    with pytest.raises(MMKDError, match=message):
        collect_instances([wrong], images, (8, 8), torch.device('cpu'))


def test_images_that_fit_no_samples_are_told():
    with pytest.raises(MMKDError, match='3 images'):
        collect_instances([sample(), sample()], 3, (8, 8), torch.device('cpu'))


def test_mmdets_samples():
    structures = pytest.importorskip('mmdet.structures')
    from mmdet.structures.bbox import HorizontalBoxes
    from mmengine.structures import InstanceData

    data = structures.DetDataSample()
    data.gt_instances = InstanceData(
        bboxes=HorizontalBoxes(torch.tensor([[1.0, 2, 3, 4]])), labels=torch.tensor([5])
    )
    found = collect_instances([data], 1, (8, 8), torch.device('cpu'))
    assert found.boxes.tolist() == [[1, 2, 3, 4]]
    assert (found.labels.tolist(), found.ids.tolist()) == ([5], [-1])


def test_mmtracks_clips():
    import mmkd  # noqa: F401  # mmtrack needs its compat layer

    formatting = pytest.importorskip('mmtrack.datasets.transforms')
    counts = [2, 0, 1]  # boxes of the key frame and of two reference frames
    packed = formatting.PackTrackInputs(ref_prefix='ref', num_key_frames=1)(
        dict(
            img=[np.zeros((8, 8, 3), np.uint8)] * 3,
            gt_bboxes=[np.full((n, 4), k, np.float32) for k, n in enumerate(counts)],
            gt_bboxes_labels=[np.zeros(n, np.int64) for n in counts],
            gt_instances_id=[np.full(n, 7 + k, np.int32) for k, n in enumerate(counts)],
        )
    )
    samples = [packed['data_samples']] * 2
    key = collect_instances(samples, 2, (8, 8), torch.device('cpu'))
    assert (key.image.tolist(), key.ids.tolist()) == ([0, 0, 1, 1], [7, 7, 7, 7])
    ref = collect_instances(samples, 4, (8, 8), torch.device('cpu'), prefix='ref_')
    assert (ref.image.tolist(), ref.ids.tolist()) == ([1, 3], [9, 9])
