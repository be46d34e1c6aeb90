import pytest
import torch

from mmkd.apis import doctor_model
from mmkd.errors import MMKDError
from tests.test_apis.doctor_toy import case, look, told
from tests.test_distill import toys


def start(checkpoint):
    return dict(type='Pretrained', checkpoint=str(checkpoint))


def test_parts_and_parameters_of_a_distiller(tmp_path):
    examined = case(tmp_path, ready=False)
    section = look(doctor_model.look, examined)
    assert examined.distiller is examined.model
    assert section.data['student'] == 'ToyStudent'
    own = sum(p.numel() for p in examined.model.parameters())
    assert section.data['parameters'] == own
    assert 'alpha 0.5, 1 pair (neck_0)' in told(section)
    assert not section.problems


def test_a_plain_model(tmp_path):
    examined = case(tmp_path, ready=False, plain=True)
    section = look(doctor_model.look, examined)
    assert examined.distiller is None
    assert 'ToyStudent, no distillation' in told(section)


def test_a_model_of_which_nothing_is_trained(tmp_path, monkeypatch):
    original = toys.ToyStudent.__init__

    def frozen(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.requires_grad_(False)

    monkeypatch.setattr(toys.ToyStudent, '__init__', frozen)
    section = look(doctor_model.look, case(tmp_path, ready=False, plain=True))
    assert [problem.stops for problem in section.problems] == [True]
    assert 'frozen_stages' in section.problems[0].remedy


def test_a_wrong_tap_is_the_distillers_message(tmp_path):
    model = toys.config(distill=[dict(student='nekc', teacher='last')])
    with pytest.raises(MMKDError, match="Did you mean 'neck'"):
        look(doctor_model.look, case(tmp_path, ready=False, model=model))


def test_initial_weights_are_found_wherever_the_config_names_them():
    cfg = dict(
        init_cfg=[dict(type='Normal'), start('a')],
        student=dict(backbone=dict(init_cfg=start('b')), heads=[dict(init_cfg=start('c'))]),
    )
    found = [(path, name) for path, _, name in doctor_model.pretrained(cfg, 'model')]
    assert found == [
        ('model', 'a'),
        ('model.student.backbone', 'b'),
        ('model.student.heads.0', 'c'),
    ]


def test_a_missing_file_stops_and_a_download_warns(tmp_path):
    examined = case(tmp_path, ready=False, load_from=str(tmp_path / 'none.pth'))
    examined.cfg.model.init_cfg = start('torchvision://resnet18')
    section = look(doctor_model.look, examined)
    assert [problem.stops for problem in section.problems] == [True, False]
    assert 'load_from' in section.problems[0].text
    # What cannot be read now is left out, so that the rest can be looked at.
    assert examined.model is not None
    assert examined.cfg.model.init_cfg.checkpoint == 'torchvision://resnet18'


def test_a_file_that_is_there(tmp_path):
    torch.save({}, str(tmp_path / 'x.pth'))
    section = look(
        doctor_model.look, case(tmp_path, ready=False, load_from=str(tmp_path / 'x.pth'))
    )
    assert section.data['starts_from'][0]['here']
    assert not section.problems


def test_where_a_download_would_be(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    place = doctor_model.cached('https://host/models/a-1234.pth?x=1')
    assert place == str(tmp_path / 'checkpoints' / 'a-1234.pth')
    assert doctor_model.cached('open-mmlab://no/such/model') is None


class Identities:
    """A data set that counts its identities, and a model that wants to know."""

    num_ids, id_offset, ann_file = 5, 0, 'a.json'
    people_hash, scenes = 1, frozenset()
    metainfo = {'classes': ('person',)}

    def __len__(self):
        return 2


def fit(tmp_path, num_classes=1, num_ids=5, **changes):
    examined = case(tmp_path, plain=True, **changes)
    dataset = Identities()
    dataset.num_ids = num_ids
    examined.loader = type('Loader', (), dict(dataset=dataset))()
    examined.model.set_num_ids = lambda number: setattr(examined.model, 'seen', number)
    examined.model.num_classes = num_classes
    section = look(doctor_model._fit_to_data, examined)
    return examined, section


def test_the_identity_classifier_is_sized_as_training_does(tmp_path):
    examined, section = fit(tmp_path, runner_type='mmkd.TrackRunner')
    assert examined.model.seen == examined.num_ids == 5
    assert not section.problems


def test_a_runner_that_would_not_do_it(tmp_path):
    _, section = fit(tmp_path)
    assert "runner_type='mmkd.TrackRunner'" in section.problems[0].remedy


def test_data_without_identities(tmp_path):
    _, section = fit(tmp_path, num_ids=0, runner_type='mmkd.TrackRunner')
    assert 'no known identity' in section.problems[0].text


def test_more_classes_than_outputs(tmp_path):
    with pytest.raises(MMKDError, match='num_classes=1'):
        fit(tmp_path, num_classes=0, runner_type='mmkd.TrackRunner')
