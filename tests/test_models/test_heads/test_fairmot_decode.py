"""Decoding: peaks, what is read at them, and the way back to the original image."""

import math

import numpy as np
import pytest
import torch

from mmkd.models.heads.fairmot_decode import decode_peaks, split_table, to_original


def maps(num_classes=1, height=8, width=12, embed_dims=3):
    return (
        torch.full((1, num_classes, height, width), -8.0),
        torch.zeros(1, 4, height, width),
        torch.zeros(1, 2, height, width),
        torch.randn(1, embed_dims, height, width),
    )


def test_a_peak_gives_its_box_class_and_embedding():
    heatmap, ltrb, offset, embedding = maps(num_classes=3)
    heatmap[0, 2, 5, 7] = 4.0
    ltrb[0, :, 5, 7] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    offset[0, :, 5, 7] = torch.tensor([0.25, 0.5])
    embedding[0, :, 5, 7] = torch.tensor([3.0, 0.0, 4.0])
    peaks = decode_peaks(heatmap, ltrb, offset, embedding, topk=5)
    assert peaks.labels[0, 0] == 2
    torch.testing.assert_close(peaks.scores[0, 0], torch.tensor(4.0).sigmoid())
    torch.testing.assert_close(peaks.bboxes[0, 0], torch.tensor([6.25, 3.5, 10.25, 9.5]))
    torch.testing.assert_close(peaks.embeddings[0, 0], torch.tensor([0.6, 0.0, 0.8]))


def test_the_lower_neighbour_of_a_peak_is_no_object():
    heatmap, ltrb, offset, embedding = maps()
    heatmap[0, 0, 4, 4], heatmap[0, 0, 4, 5], heatmap[0, 0, 4, 7] = 3.0, 2.9, 1.0
    peaks = decode_peaks(heatmap, ltrb, offset, embedding, topk=4)
    found = peaks.bboxes[0, peaks.scores[0] > 0.5, :2].tolist()
    assert found == [[4.0, 4.0], [7.0, 4.0]]


def test_topk_is_at_most_the_number_of_cells():
    heatmap, ltrb, offset, embedding = maps(height=2, width=3)
    assert decode_peaks(heatmap, ltrb, offset, embedding, topk=500).scores.shape == (1, 6)


def test_peaks_of_several_images_do_not_mix():
    heatmap, ltrb, offset, embedding = (torch.cat([m, m]) for m in maps())
    heatmap[0, 0, 1, 1], heatmap[1, 0, 6, 9] = 5.0, 5.0
    embedding[0, :, 1, 1] = torch.tensor([1.0, 0.0, 0.0])
    embedding[1, :, 6, 9] = torch.tensor([0.0, 1.0, 0.0])
    peaks = decode_peaks(heatmap, ltrb, offset, embedding, topk=1)
    assert peaks.bboxes[:, 0, :2].tolist() == [[1.0, 1.0], [9.0, 6.0]]
    torch.testing.assert_close(peaks.embeddings[:, 0], torch.eye(3)[:2])


def test_to_original_undoes_a_letterbox():
    homography = torch.tensor([[0.5, 0.0, 16.0], [0.0, 0.5, 4.0], [0.0, 0.0, 1.0]])
    original = torch.tensor([[10.0, 20.0, 110.0, 220.0]])
    corners = np.array([[10.0, 20.0, 1.0], [110.0, 220.0, 1.0]]) @ homography.numpy().T
    boxes = torch.tensor(corners[:, :2].reshape(1, 4), dtype=torch.float32)
    torch.testing.assert_close(to_original(boxes, homography), original)


def loop_decode(heatmap, ltrb, offset, topk):
    """Peaks of one image, class by class and cell by cell: the best of each class, then of all."""
    found = []
    for label, plane in enumerate(heatmap.tolist()):
        rows, columns = len(plane), len(plane[0])
        best = []
        for y in range(rows):
            for x in range(columns):
                around = [
                    plane[v][u]
                    for v in range(max(0, y - 1), min(rows, y + 2))
                    for u in range(max(0, x - 1), min(columns, x + 2))
                ]
                if plane[y][x] == max(around):
                    cx, cy = x + float(offset[0, y, x]), y + float(offset[1, y, x])
                    left, top, right, bottom = ltrb[:, y, x].tolist()
                    score = 1 / (1 + math.exp(-plane[y][x]))
                    best.append((score, label, [cx - left, cy - top, cx + right, cy + bottom]))
        found += sorted(best, key=lambda item: -item[0])[:topk]
    return sorted(found, key=lambda item: -item[0])[:topk]


@pytest.mark.parametrize('num_classes', [1, 4])
def test_the_best_of_all_classes_are_the_best_of_each(num_classes):
    generator = torch.Generator().manual_seed(num_classes)
    maps = [
        torch.randn(2, channels, 13, 17, generator=generator) for channels in (num_classes, 4, 2, 3)
    ]
    peaks = decode_peaks(*maps, topk=9)
    for n in range(2):
        for k, (score, label, box) in enumerate(loop_decode(*(m[n] for m in maps[:3]), topk=9)):
            assert peaks.scores[n, k].item() == pytest.approx(score, abs=1e-6)
            assert peaks.labels[n, k].item() == label
            torch.testing.assert_close(peaks.bboxes[n, k], torch.tensor(box))


def test_a_table_holds_all_of_the_peaks():
    maps = [torch.randn(2, channels, 9, 8) for channels in (3, 4, 2, 5)]
    peaks = decode_peaks(*maps, topk=6)
    for before, after in zip(peaks, split_table(peaks.table())):
        assert after.dtype == before.dtype
        torch.testing.assert_close(after, before, rtol=0, atol=0)


@pytest.mark.parametrize('num_classes', [1, 80])
def test_decoding_needs_no_value_on_the_host(num_classes):
    # Tensors without values: reading one, or a size that hangs on values, is an error there.
    maps = [torch.empty(3, channels, 24, 40, device='meta') for channels in (num_classes, 4, 2, 16)]
    assert decode_peaks(*maps, topk=500).table().shape == (3, 500, 6 + 16)
