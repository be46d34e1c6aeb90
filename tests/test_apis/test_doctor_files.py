import json

import pytest

from mmkd.apis import doctor_files
from mmkd.apis.doctor_case import LeftOut
from tests.test_apis.doctor_toy import case, look
from tests.test_datasets.mot_folder import make_image


def write(root, images=2, **changes):
    """A CocoVID file of one video and two boxes of one person, and its images."""
    content = dict(
        videos=[dict(id=1, name='v')],
        images=[dict(id=i, video_id=1, file_name=f'{i}.jpg') for i in range(2)],
        annotations=[
            dict(id=i, image_id=i, instance_id=3, bbox=[1, 2, 3, 4], category_id=1) for i in (0, 1)
        ],
        categories=[dict(id=1, name='person')],
    )
    content.update(changes)
    root.mkdir(exist_ok=True)
    (root / 'a.json').write_text(json.dumps(content))
    (root / 'img').mkdir(exist_ok=True)
    for i in range(images):
        make_image(root / 'img' / f'{i}.jpg')


def loader(root, **dataset):
    leaf = dict(type='X', data_root=str(root), ann_file='a.json', data_prefix=dict(img='img'))
    return dict(dataset=dict(leaf, **dataset))


def examine(tmp_path, **loaders):
    loaders.setdefault('train_dataloader', None)
    examined = case(tmp_path, ready=False, **loaders)
    return examined, look(doctor_files.look, examined)


def test_files_that_are_there_are_counted(tmp_path):
    write(tmp_path / 'd')
    examined, section = examine(tmp_path, train_dataloader=loader(tmp_path / 'd'))
    (entry,) = section.data['datasets']
    counts = {key: entry[key] for key in ('videos', 'images', 'boxes', 'ids')}
    assert counts == dict(videos=1, images=2, boxes=2, ids=1)
    assert not section.problems
    assert not examined.data_missing


def test_every_missing_file_of_a_data_set_in_one_problem_with_its_setting(tmp_path):
    examined, section = examine(tmp_path, train_dataloader=loader(tmp_path / 'none'))
    (problem,) = section.problems
    assert problem.stops
    assert 'none/img' in problem.text
    assert 'none/a.json' in problem.text
    assert 'train_dataloader.dataset.data_root=' in problem.remedy
    assert examined.data_missing


@pytest.mark.parametrize(('split', 'stops'), [('val', True), ('test', False)])
def test_a_test_set_stops_no_training_and_a_validation_set_does(tmp_path, split, stops):
    write(tmp_path / 'd')
    loaders = {'train_dataloader': loader(tmp_path / 'd')}
    loaders[f'{split}_dataloader'] = loader(tmp_path / 'none')
    examined, section = examine(tmp_path, **loaders)
    assert [problem.stops for problem in section.problems] == [stops]
    assert not examined.data_missing


def test_images_that_are_not_there(tmp_path):
    write(tmp_path / 'd', images=1)
    _, section = examine(tmp_path, train_dataloader=loader(tmp_path / 'd'))
    (problem,) = section.problems
    assert 'of 2 images' in problem.text
    assert '1 are not there: 1.jpg' in problem.text


def test_annotations_that_cannot_be_right(tmp_path):
    boxes = [dict(id=0, image_id=9, bbox=[0, 0, 1, 1]), dict(id=1, image_id=0, bbox=[0, 0, 0, 1])]
    write(tmp_path / 'd', annotations=boxes)
    _, section = examine(tmp_path, train_dataloader=loader(tmp_path / 'd'))
    text = ' '.join(problem.text for problem in section.problems)
    assert '1 annotations belong to no image' in text
    assert '1 boxes have no width or height' in text


@pytest.mark.parametrize('text', ['{"images": [', '[]', '{"videos": []}'])
def test_a_file_that_is_none(tmp_path, text):
    write(tmp_path / 'd')
    (tmp_path / 'd' / 'a.json').write_text(text)
    _, section = examine(tmp_path, train_dataloader=loader(tmp_path / 'd'))
    (problem,) = section.problems
    assert problem.stops
    assert 'cannot be read' in problem.text


def test_wrappers_are_looked_into(tmp_path):
    leaf = dict(type='A')
    cfg = dict(type='Repeat', dataset=dict(type='Concat', datasets=[leaf, dict(type='B')]))
    found = list(doctor_files.leaf_configs(cfg, 'dataset'))
    assert found == [
        ('dataset.dataset.datasets.0', leaf),
        ('dataset.dataset.datasets.1', dict(type='B')),
    ]


def test_what_is_on_a_server_is_not_looked_for(tmp_path):
    remote = dict(ann_file='s3://bucket/a.json', data_prefix=dict(img='https://host/img'))
    _, section = examine(tmp_path, train_dataloader=dict(dataset=dict(type='X', **remote)))
    assert not section.problems


def test_no_data_set_at_all(tmp_path):
    with pytest.raises(LeftOut, match='no dataloader'):
        examine(tmp_path)
