"""How often the host waits for the device: once a batch in testing, never in training."""

from __future__ import annotations

import warnings

import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData

from mmkd.models.heads import FairMOTHead
from mmkd.models.heads.fairmot_targets import FairMOTTargets


def make_head(num_classes: int = 1, **kwargs) -> FairMOTHead:
    torch.manual_seed(0)
    head = FairMOTHead(
        in_channels=4, feat_channels=4, embed_dims=6, num_classes=num_classes, **kwargs
    )
    head.set_num_ids(5)
    return head


def make_samples(count: int, device='cpu'):
    samples = []
    for _ in range(count):
        element = BaseDataElement()
        element.gt_instances = InstanceData(
            bboxes=torch.tensor([[8.0, 8, 24, 40], [30, 8, 50, 40]], device=device),
            labels=torch.zeros(2, dtype=torch.long, device=device),
            instances_id=torch.tensor([0, 3], device=device),
        )
        element.set_metainfo(dict(homography_matrix=[[0.5, 0, 8.0], [0, 0.5, 2.0], [0, 0, 1.0]]))
        samples.append(element)
    return samples


@pytest.mark.parametrize(('num_classes', 'batch'), [(1, 1), (1, 4), (20, 4)])
def test_a_batch_comes_over_in_one_transfer(num_classes, batch, monkeypatch):
    calls = []
    real = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, 'cpu', lambda self: calls.append(self.shape) or real(self))
    head = make_head(num_classes)
    results = head.predict((torch.randn(batch, 4, 16, 24),), make_samples(batch))
    assert calls == [(batch, min(500, num_classes * 16 * 24), 6 + 6)]
    assert len(results) == batch


def test_what_is_kept_does_not_hold_the_batch_in_memory():
    head = make_head()
    head.score_thr = 0.5
    (found,) = head.predict((torch.randn(1, 4, 16, 24),), make_samples(1))
    assert found.embeddings.untyped_storage().nbytes() <= 4 * 12 * max(1, len(found))


@pytest.mark.parametrize('loss_id', ['cross_entropy', 'focal'])
def test_the_losses_need_no_value_on_the_host(loss_id):
    # Tensors without values: reading one, or a size that hangs on values, is an error there.
    head = make_head(loss_id=loss_id)
    targets = head.get_targets(make_samples(2), (16, 24))
    head = head.to('meta')
    outputs = head((torch.empty(2, 4, 16, 24, device='meta'),))
    losses = head.loss_by_targets(outputs, FairMOTTargets(*(t.to('meta') for t in targets)))
    (losses['loss_det'] + losses['loss_id']).backward()


def test_targets_on_a_device_need_no_value_on_the_host():
    targets = make_head().get_targets(make_samples(2, device='meta'), (16, 24))
    assert targets.heatmap.shape == (2, 1, 16, 24)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_gpu_is_waited_for_once_in_testing_and_never_in_training():
    head = make_head(num_classes=7).cuda()
    feats = (torch.randn(4, 4, 16, 24, device='cuda'),)
    samples = make_samples(4, device='cuda')

    def waits(run) -> int:
        run()  # libraries may wait when they start
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode('warn')
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter('always')
                run()
        finally:
            torch.cuda.set_sync_debug_mode('default')
        return sum('synchroniz' in str(warning.message) for warning in told)

    assert waits(lambda: head.predict(feats, samples)) == 1
    assert waits(lambda: head.loss(feats, samples)['loss_det'].backward()) == 0
