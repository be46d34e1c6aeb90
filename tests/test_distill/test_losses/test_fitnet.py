import pytest
import torch

from mmkd.distill.losses import FitNetLoss, MSEDistillLoss

from .maps import MASKS, make_mask, maps, places


@pytest.mark.parametrize('kind', MASKS)
def test_equals_the_slow_definition(kind):
    student, teacher = maps()
    mask = make_mask(kind)
    each = [
        sum(
            weight * (student[n, c, i, j].item() - teacher[n, c, i, j].item()) ** 2 / 2
            for i, j, weight in places(mask, n, student)
            for c in range(3)
        )
        for n in range(2)
    ]
    loss = FitNetLoss()
    assert loss(student, teacher, mask, 'sample').tolist() == pytest.approx(each, abs=1e-12)
    assert loss(student, teacher, mask).item() == pytest.approx(sum(each) / 2, abs=1e-12)


def test_is_so_many_times_mse():
    student, teacher = maps()
    torch.testing.assert_close(
        FitNetLoss()(student, teacher), MSEDistillLoss()(student, teacher) * (3 * 2 * 3 / 2)
    )


def test_an_image_of_padding_is_no_part_of_the_mean():
    student, teacher = maps()
    mask = torch.ones(2, 1, 2, 3, dtype=torch.bool)
    mask[1] = False
    torch.testing.assert_close(
        FitNetLoss()(student, teacher, mask), FitNetLoss()(student[:1], teacher[:1])
    )
