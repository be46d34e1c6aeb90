import json
import os
import shutil
from functools import partial

import cv2
import pytest
from torch.utils.data import ConcatDataset

from mmkd.datasets import pipeline_identity
from mmkd.datasets.data_identity import identify_files, identify_records
from mmkd.datasets.file_identity import identify_files_kept
from mmkd.datasets.pipeline_identity import identify_pipeline
from mmkd.errors import MMKDError

from ..replay_toy import PIPELINE, ToyPictures, draw_pictures


@pytest.fixture
def pictures(tmp_path):
    return draw_pictures(tmp_path / 'pictures')


def _files(pictures, known=None):
    return identify_files(ToyPictures(pictures), known or {})


def test_content_counts_and_not_names(pictures, tmp_path):
    before, _ = _files(pictures)
    moved = tmp_path / 'elsewhere'
    shutil.copytree(pictures, moved)
    assert _files(moved)[0] == before
    assert identify_records(ToyPictures(moved)) == identify_records(ToyPictures(pictures))
    os.rename(moved / '005.png', moved / '999.png')
    assert _files(moved)[0] == before
    os.rename(moved / '000.png', moved / 'zzz.png')
    assert _files(moved)[0] != before, 'another order is another data set'


def test_one_changed_pixel_is_another_data_set(pictures):
    before, known = _files(pictures)
    image = cv2.imread(str(pictures / '003.png'))
    image[7, 9, 1] ^= 1
    cv2.imwrite(str(pictures / '003.png'), image)
    assert _files(pictures, known)[0] != before


def test_what_has_not_changed_is_not_read_again(pictures, monkeypatch):
    before, known = _files(pictures)
    monkeypatch.setattr('mmkd.datasets.data_identity._content', lambda path: 1 / 0)
    assert _files(pictures, known) == (before, known)
    os.utime(pictures / '002.png')
    with pytest.raises(ZeroDivisionError):
        _files(pictures, known)


def test_a_picture_that_is_gone_is_named(pictures):
    dataset = ToyPictures(pictures)
    os.unlink(pictures / '004.png')
    with pytest.raises(MMKDError, match='004.png'):
        identify_files(dataset, {})


def test_the_memory_lies_in_the_cache_and_may_be_lost(pictures, tmp_path, monkeypatch):
    cache = tmp_path / 'cache'
    cache.mkdir()
    dataset = ToyPictures(pictures)
    found = identify_files_kept(dataset, str(cache))
    assert len(json.loads((cache / 'files.json').read_text())) == 6
    assert identify_files_kept(dataset, str(cache)) == found
    with monkeypatch.context() as patch:
        patch.setattr('mmkd.datasets.data_identity._content', lambda path: 1 / 0)
        assert identify_files_kept(dataset, str(cache)) == found
        assert identify_files_kept(dataset, None, found[1]) == found
        with pytest.raises(ZeroDivisionError):
            identify_files_kept(dataset, None)
    (cache / 'files.json').write_text('{"a"')
    assert identify_files_kept(dataset, str(cache)) == found
    assert identify_files_kept(dataset, None) == found


def test_a_data_set_that_says_nothing_of_its_samples():
    with pytest.raises(MMKDError, match='A list does not say.*needs get_data_info'):
        identify_records([1, 2])


def test_annotations_count(pictures):
    class Moved(ToyPictures):
        def get_data_info(self, index):
            info = super().get_data_info(index)
            info['instances'][0]['bbox'][0] += index == 3
            return info

    assert identify_records(Moved(pictures)) != identify_records(ToyPictures(pictures))


def _changed(one, other):
    return {
        kind: sorted(
            k for k in {*one[kind], *other[kind]} if one[kind].get(k) != other[kind].get(k)
        )
        for kind in one
    }


def test_each_setting_of_each_transform_counts(pictures):
    before = identify_pipeline(ToyPictures(pictures))
    assert before == identify_pipeline(ToyPictures(pictures))
    pipeline = [dict(step) for step in PIPELINE]
    pipeline[3]['translate'] = 0.11
    found = _changed(before, identify_pipeline(ToyPictures(pictures, pipeline)))
    assert found == {
        'parameters': ['dataset.pipeline[3] IdAwareRandomAffine'],
        'code': [],
        'packages': [],
    }


def test_settings_within_a_function_count():
    def told(**settings):
        return pipeline_identity._plain(partial(sorted, **settings))

    assert told(reverse=True) == told(reverse=True)
    assert told(reverse=True) != told(reverse=False)


def test_the_code_of_transforms_counts_with_what_it_uses(pictures, monkeypatch):
    before = identify_pipeline(ToyPictures(pictures))
    assert {
        'mmkd.datasets.transforms.affine',
        'mmkd.datasets.transforms.geometry',
        'tests.replay_toy',
    } <= set(before['code'])
    assert {'mmcv', 'numpy', 'cv2'} <= set(before['packages'])
    source = pipeline_identity.inspect.getsource

    def edited(module):
        text = source(module)
        return text + '# edited' if module.__name__.endswith('.geometry') else text

    monkeypatch.setattr(pipeline_identity.inspect, 'getsource', edited)
    found = _changed(before, identify_pipeline(ToyPictures(pictures)))
    assert found == {
        'parameters': [],
        'code': ['mmkd.datasets.transforms.geometry'],
        'packages': [],
    }


def test_pipelines_within_wrappers_are_found(pictures):
    whole = ConcatDataset([ToyPictures(pictures), ToyPictures(pictures, PIPELINE[:1])])
    names = list(identify_pipeline(whole)['parameters'])
    assert 'dataset.datasets[0].pipeline[1] HSVJitter' in names
    assert 'dataset.datasets[1].pipeline[0] ToyLoad' in names
    assert len(names) == 7
