import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData

from mmkd.apis import doctor_samples
from mmkd.apis.doctor_case import LeftOut
from mmkd.apis.doctor_draw import frames_of, paint
from mmkd.errors import MMKDError
from mmkd.visualization import colour_of
from tests.test_apis.doctor_toy import ToyTracks, case, look, told


def data(**changes):
    return dict(
        train_dataloader=dict(
            batch_size=2,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(type='ToyTracks', **changes),
        )
    )


def test_first_and_last_sample_are_decoded_and_drawn(tmp_path):
    examined = case(tmp_path, ready=False, **data(length=5))
    section = look(doctor_samples.look, examined)
    assert section.data['samples'] == 5
    assert examined.size == (56, 84)
    assert 'b/c/0.jpg: img 56 x 84, 1 box, 1 id' in told(section)
    assert 'b/c/4.jpg' in told(section)
    assert not section.problems
    for picture in section.data['pictures']:
        assert cv2.imread(picture).shape[1] % 84 == 0


def test_no_data(tmp_path):
    examined = case(tmp_path, ready=False, **data(length=0))
    with pytest.raises(MMKDError, match='empty'):
        look(doctor_samples.look, examined)
    assert examined.loader is None
    examined.data_missing = True
    with pytest.raises(LeftOut, match='missing'):
        look(doctor_samples.look, examined)


def test_an_epoch_without_a_step(tmp_path):
    changes = data(length=1)
    changes['train_dataloader']['drop_last'] = True
    section = look(doctor_samples.look, case(tmp_path, ready=False, **changes))
    (problem,) = section.problems
    assert 'no step' in problem.text
    assert 'drop_last=False' in problem.remedy


def test_boxes_without_width(tmp_path):
    section = look(doctor_samples.look, case(tmp_path, ready=False, **data(flat=True)))
    assert {problem.stops for problem in section.problems} == {False}
    assert 'without width or height' in section.problems[0].text


def test_samples_without_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(ToyTracks, '__getitem__', lambda self, i: dict(inputs=torch.zeros(3)))
    section = look(doctor_samples.look, case(tmp_path, ready=False, **data()))
    assert 'nothing is drawn' in told(section)


def test_a_box_is_where_it_should_be_in_its_colour():
    (frame,) = frames_of(ToyTracks()[0])
    picture = paint([frame], ('person', 'car'), 'caption')
    scale = picture.shape[1] // 84
    top = len(picture) - 56 * scale  # of the strip with the caption
    left, right = picture[top + 28 * scale, 28 * scale], picture[top + 28 * scale, 56 * scale]
    for pixel in (left, right):
        assert np.abs(pixel.astype(int) - colour_of(7)).max() < 30
    # The rest is as it was: inside white, outside grey.
    assert picture[top + 28 * scale, 42 * scale].tolist() == [255] * 3
    assert picture[top + 50 * scale, 10 * scale].tolist() == [60] * 3


def test_the_outline_is_that_of_the_real_picture():
    (frame,) = frames_of(ToyTracks()[0])
    assert frame.quad.tolist() == [[0, 0], [84, 0], [84, 42], [0, 42]]


def test_frames_of_clips_keep_their_boxes():
    """mmtrack's form: several frames under 'img' and others under 'ref_img'."""
    packed = BaseDataElement(metainfo=dict())
    packed.gt_instances = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 4, 4], [1, 1, 5, 5], [2, 2, 6, 6]]),
        instances_id=torch.tensor([3, 4, 3]),
        map_instances_to_img_idx=torch.tensor([0, 0, 1]),
    )
    packed.ref_gt_instances = InstanceData(
        bboxes=torch.tensor([[3.0, 3, 7, 7]]), instances_id=torch.tensor([9])
    )
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    found = frames_of(dict(inputs=dict(img=images, ref_img=images[:1]), data_samples=packed))
    assert [frame.name for frame in found] == ['img[0]', 'img[1]', 'ref_img']
    assert [frame.ids.tolist() for frame in found] == [[3, 4], [3], [9]]
    assert found[2].boxes.tolist() == [[3, 3, 7, 7]]
    assert paint(found, (), 'caption').shape[2] == 3


def test_samples_of_classifiers_have_no_boxes():
    packed = BaseDataElement(metainfo=dict(img_shape=(8, 8)))
    (frame,) = frames_of(dict(inputs=torch.zeros(3, 8, 8), data_samples=packed))
    assert frame.boxes.shape == (0, 4)
    assert frame.ids is None


def test_normalised_pictures_are_stretched():
    image = torch.linspace(-2, 2, 64).reshape(1, 8, 8).expand(3, 8, 8)
    (frame,) = frames_of(dict(inputs=image))
    assert (frame.image.min(), frame.image.max()) == (0, 255)


def test_an_id_twice_in_one_picture(tmp_path, monkeypatch):
    original = ToyTracks.__getitem__

    def twice(self, index):
        sample = original(self, index)
        instances = sample['data_samples'].gt_instances
        sample['data_samples'].gt_instances = InstanceData.cat([instances, instances])
        return sample

    monkeypatch.setattr(ToyTracks, '__getitem__', twice)
    section = look(doctor_samples.look, case(tmp_path, ready=False, **data()))
    assert all('twice in one picture: 7' in problem.text for problem in section.problems)
    assert len(section.problems) == 2
