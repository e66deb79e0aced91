import json
from pathlib import Path

import numpy as np
import pytest

from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError, RecordError
from ecgveil.simulate import write_clinic
from ecgveil.studies import STUDIES, reproduce
from ecgveil.studies.deepfake import _sixths
from ecgveil.studies.job import Job, Trained
from ecgveil.studies.piacentino import _heard
from ecgveil.studies.window_figures import FIGURES, window_figures

SMALL = {"training.steps": 4, "model.widths": [4, 4, 4], "training.pictures": 0, "training.batch": 4}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies") / "clinic"
    write_clinic(folder, 24, seed=3)
    return folder


def test_every_study_names_recipes_that_exist():
    for name, study in STUDIES.items():
        assert study.summary, name
        assert study.source, name


@pytest.mark.parametrize("name", ["piacentino-z", "piacentino-rgb", "piacentino-acgan"])
def test_an_image_study_is_written_whole(clinic, tmp_path, name):
    changes = dict(SMALL)
    if name == "piacentino-acgan":
        changes |= {"data.labels": ["sinus rhythm"], "data.other": "OTHER"}
    page = reproduce(name, tmp_path / "out", data=clinic, scale=0.5, seed=1, changes=changes)
    html = page.read_text()
    assert "not for clinical use" in html
    facts = json.loads((tmp_path / "out" / "study.json").read_text())
    assert facts["scale"] == 0.5
    assert facts["sections"].pop("records") == "clinic (made by ecgveil)"
    for stamp in facts["sections"].values():  # every figure says how it was made
        assert "4 steps" in stamp
        assert "scale 0.5" in stamp
    assert "What is called real here was itself made by ecgveil" in html
    assert len(list((tmp_path / "out" / "figures").glob("*.png"))) >= 4
    again = reproduce(name, tmp_path / "again", data=clinic, scale=0.5, seed=1, changes=changes)
    assert again.exists()


def test_the_published_study_of_p2(clinic, tmp_path):
    changes = {
        "training.steps": 6,
        "training.batch": 2,
        "training.critic_steps": 1,
        "training.pictures": 0,
        "model.width": 5,
        "model.critic_width": 1,
    }
    with pytest.raises(ConfigError, match="scale is 0"):
        reproduce("deepfake", tmp_path / "none", data=clinic, scale=0)
    page = reproduce("deepfake", tmp_path / "out", scale=0.001, seed=1, changes=changes)
    html = page.read_text()
    for title in ("Table 1", "Table 2", "Fig. 1", "Fig. 2", "Fig. 3", "Fig. 4", "Fig. S1"):
        assert title in html
    assert len((page.parent / "bulk.csv").read_text().splitlines()) == 151
    assert len((page.parent / "bulk" / "RECORDS").read_text().split()) == 150


def test_what_a_study_sets_itself_is_not_asked_for(clinic, tmp_path):
    with pytest.raises(ConfigError, match="sets data.undersample itself; leave it out"):
        reproduce("piacentino-acgan", tmp_path / "out", data=clinic, changes={**SMALL, "data.undersample": True})
    with pytest.raises(ConfigError, match="training.snapshots is 0"):
        reproduce("piacentino-z", tmp_path / "out", data=clinic, changes={**SMALL, "training.snapshots": 0})
    with pytest.raises(ConfigError, match="Table 1 has 6 checkpoints"):
        reproduce("deepfake", tmp_path / "out", data=clinic, changes={"training.snapshots": 3})
    with pytest.raises(ConfigError, match="lacks II, V1"):
        reproduce("deepfake", tmp_path / "out", data=clinic, changes={"data.leads": ["I"]})


def test_too_few_windows_are_told_before_training(tmp_path):
    write_clinic(tmp_path / "ten", 10, seed=5)
    with pytest.raises(RecordError, match="not to train on, and 6 are drawn: give more records"):
        reproduce("piacentino-z", tmp_path / "out", data=tmp_path / "ten", changes={**SMALL, "data.n_samples": 10000})
    assert not list((tmp_path / "out-runs").glob("*"))


def test_a_training_shorter_than_six_steps_has_its_sixths():
    class Short:
        steps = 2

    assert _sixths(Trained(Short(), None, "")) == [1, 1, 1, 1, 2, 2]


def test_an_embedded_clinic_is_of_its_seed(tmp_path, monkeypatch):
    monkeypatch.setattr("ecgveil.studies.job.CLINIC", 2)
    folders = [Job("dcgan", (), tmp_path, 1.0, seed, {}, lambda *_: None).folders[0] for seed in (1, 2)]
    one, two = ((folder / "labels.csv").read_text() for folder in folders)
    assert one != two


def test_no_page_is_made_among_the_records(clinic):
    with pytest.raises(ConfigError, match="lies in .*, whose records it would join"):
        reproduce("piacentino-z", clinic / "out", data=clinic)
    with pytest.raises(ConfigError, match="lies in .*, whose records it would join"):
        reproduce("piacentino-z", clinic.with_name("x"), data=clinic.with_name("x-runs"))


def test_a_scale_leaves_fewer_patients_unless_all_are_asked_for(clinic, tmp_path):
    def patients(all_patients):
        job = Job("piacentino-z", (clinic,), tmp_path, 0.9, 0, {}, lambda *_: None, all_patients)
        return len(set(job.share(job.read(job.recipe("piacentino-z"))).patient_id))

    assert (patients(False), patients(True)) == (22, 24)


def test_records_given_as_here_are_not_taken_for_simulated_ones(clinic, tmp_path, monkeypatch):
    monkeypatch.chdir(clinic)
    job = Job("piacentino-z", (Path("."),), tmp_path, 1.0, 0, {}, lambda *_: None)
    assert job.source == clinic.name


def test_how_far_a_class_is_heard():
    """Windows of the same noise differ by 1 from class to class, those of other noise by 4."""
    base = 4.0 * np.arange(2)[:, None, None] + np.zeros((2, 1, 50))
    of_class = [ECGSet(base + k, 100.0, ("I",), (f"{k}a", f"{k}b")) for k in range(2)]
    assert _heard(of_class) == pytest.approx(1 / 4)


def test_unknown_study():
    with pytest.raises(ConfigError, match="piacentino-z"):
        reproduce("piacentino", "x")


def test_window_figures_of_planted_signals():
    from ecgveil.ecg import ECGSet

    time = np.arange(2000) / 1000
    beats = sum(np.exp(-(((time - at) / 0.01) ** 2)) for at in (0.4, 1.2))
    one = beats[None, None].repeat(5, 0).astype(np.float32)
    names = tuple("abcde")
    plain = window_figures(ECGSet(one, 1000, ("I",), names))
    assert plain["beats"] == 2
    assert plain["two_or_three"] == 1
    assert plain["height_spread"] == pytest.approx(0, abs=1e-6)
    assert plain["diversity"] == pytest.approx(0, abs=1e-6)
    rng = np.random.default_rng(0)
    noisy = window_figures(ECGSet(one + 0.05 * rng.standard_normal(one.shape).astype(np.float32), 1000, ("I",), names))
    assert noisy["noise"] > 2 * plain["noise"]
    assert noisy["diversity"] == pytest.approx(1000 * 0.05 * 2**0.5, rel=0.05)
    three = np.concatenate([one, 2 * one, one], axis=1)
    limbs = window_figures(ECGSet(three, 1000, ("I", "II", "III"), names))
    assert limbs["residual"] == pytest.approx(0, abs=1e-4)
    assert limbs["same_time"] == 1
    assert set(limbs) <= set(FIGURES)
