"""Publishing: the student alone, named by its hash, and nothing of the user's overwritten."""

import hashlib

import pytest
import torch

from mmkd.apis.publish import publish_model
from mmkd.errors import MMKDError


@pytest.fixture
def source(tmp_path):
    path = tmp_path / 'epoch_3.pth'
    state = {
        'backbone.weight': torch.ones(3),
        'head.id_classifier.weight': torch.ones(5, 2),
        'distill.neck.transform.project.weight': torch.zeros(4),
    }
    torch.save(
        dict(
            state_dict=state,
            meta=dict(epoch=3, cfg='model = 1', hook_msgs='long'),
            optimizer=dict(state={}),
            message_hub={},
        ),
        path,
    )
    return path


def load(path):
    return torch.load(path, map_location='cpu', weights_only=False)


def test_only_the_student_is_written(source, tmp_path):
    path = publish_model(str(source), str(tmp_path / 'out' / 'student.pth'))
    content = load(path)
    assert set(content) == {'meta', 'state_dict'}
    assert set(content['state_dict']) == {'backbone.weight', 'head.id_classifier.weight'}
    assert content['meta'] == dict(epoch=3, cfg='model = 1')


def test_the_name_ends_in_the_files_hash(source):
    path = publish_model(str(source))
    with open(path, 'rb') as file:
        digest = hashlib.sha256(file.read()).hexdigest()[:8]
    assert path.endswith(f'epoch_3-{digest}.pth')
    assert source.exists()


def test_for_inference_the_classifier_stays_behind(source):
    content = load(publish_model(str(source), inference=True))
    assert set(content['state_dict']) == {'backbone.weight'}


def test_publishing_twice_gives_the_same_file_and_no_leftovers(source, tmp_path):
    assert publish_model(str(source)) == publish_model(str(source))
    assert len(list(tmp_path.iterdir())) == 2


def test_another_file_of_that_name_is_left_alone(source, tmp_path):
    path = publish_model(str(source))
    with open(path, 'w') as file:
        file.write('mine')
    with pytest.raises(MMKDError, match='left as it is'):
        publish_model(str(source))
    with open(path) as file:
        assert file.read() == 'mine'


@pytest.mark.parametrize(
    ('content', 'message'),
    [(None, 'no checkpoint'), (b'not a checkpoint', 'cannot be read'), ({'a': 1}, 'state_dict')],
)
def test_what_is_no_checkpoint_is_told(tmp_path, content, message):
    path = tmp_path / 'x.pth'
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(MMKDError, match=message):
        publish_model(str(path))
