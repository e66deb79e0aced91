import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import tiny
from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError, RecordError
from ecgveil.formats.wfdb_write import write
from ecgveil.intake import take_in
from ecgveil.pipeline import release
from ecgveil.recipe import load_recipe
from ecgveil.sampling import load
from ecgveil.simulate import simulate, write_clinic
from ecgveil.singles import r_sample, single_beats
from ecgveil.training.fit import fit
from ecgveil.training.tensors import load_tensors


@pytest.fixture(scope="module")
def clinic():
    return simulate(12, seed=11, fs=250)


def test_beats_are_those_of_the_simulator(clinic):
    """As many beats as true R times that leave room for one; at an edge one may be missed or added."""
    ecgs, truth = clinic
    ecgs = ecgs.pick(("II",))
    beats = single_beats(ecgs, 200)
    assert (beats.n_samples, beats.leads, beats.fs) == (200, ("II",), 250)
    found = {name: sum(each.rpartition("#")[0] == name for each in beats.record_name) for name in ecgs.record_name}
    for name, times in zip(ecgs.record_name, truth.r_peak, strict=True):
        at = np.rint(times[~np.isnan(times)] * ecgs.fs)
        room = ((at - r_sample(200) >= 0) & (at - r_sample(200) + 200 <= ecgs.n_samples)).sum()
        assert abs(found[name] - room) <= 1, name
        assert room > 3


def test_a_beat_is_the_record_around_its_r_peak():
    """A spike train whose R peaks are known: every beat has its spike at `r_sample`, whatever its length."""
    signal = np.zeros((1, 1, 2500), np.float32)
    at = np.arange(30, 2500, 210)
    for place in at:
        signal[0, 0, place - 4 : place + 5] += np.hanning(9)
    ecgs = ECGSet(signal, 250.0, ("II",), ("r",), ("p",), (("A", "B"),), np.array([50.0]), ("male",))
    for n_samples in (100, 151, 200):
        beats = single_beats(ecgs, n_samples)
        assert set(beats.signal[:, 0].argmax(axis=1)) == {r_sample(n_samples)}
        before, after = r_sample(n_samples), n_samples - r_sample(n_samples) - 1
        assert len(beats) == ((at >= before) & (at + after < 2500)).sum()
    assert beats.record_name == tuple(f"r#{k}" for k in range(len(beats)))
    assert set(beats.patient_id) == {"p"}
    assert set(beats.labels) == {("A", "B")}
    assert set(beats.sex) == {"male"}
    assert (beats.age == 50).all()


def test_an_ectopic_beat_is_kept():
    signal = np.zeros((1, 1, 2500), np.float32)
    at = np.array([250, 450, 650, 760, 1060, 1260, 1460, 1660, 1860, 2060])  # one comes early
    for place in at:
        signal[0, 0, place - 4 : place + 5] += np.hanning(9)
    assert len(single_beats(ECGSet(signal, 250.0, ("II",), ("r",)), 200)) == len(at)


def test_windows_of_one_record_are_counted_through(clinic):
    ecgs = clinic[0].pick(("II",)).take([0, 1])
    two = replace(ecgs, record_name=("long#0", "long#1"), patient_id=("p", "p"))
    beats = single_beats(two, 200)
    assert beats.record_name == tuple(f"long#{k}" for k in range(len(beats)))
    assert len(beats) == sum(len(single_beats(ecgs.take([i]), 200)) for i in (0, 1))


def test_no_beat_is_said():
    noise = np.random.default_rng(0).standard_normal((2, 1, 2500)).astype(np.float32)
    with pytest.raises(RecordError, match=r"none of 2 ECGs shows a whole beat of 0.8 s"):
        single_beats(ECGSet(noise, 250.0, ("II",), ("a", "b")), 200)


def test_a_recipe_of_beats_takes_beats_in(clinic, tmp_path):
    ecgs = replace(clinic[0], patient_id=tuple(f"p{i // 2}" for i in range(12)))
    write(ecgs, tmp_path)
    taken = take_in([tmp_path], tiny("wgan-gp"))
    assert (taken.ecgs.leads, taken.ecgs.fs, taken.ecgs.n_samples) == (("II",), 250, 200)
    assert len(taken.ecgs) > 12 * 5
    assert taken.kept == 12
    assert f"{len(taken.ecgs)} single beats were cut out" in " ".join(taken.notes)
    assert len(set(taken.ecgs.patient_id)) == 12  # of the header, where records name none
    windows = take_in([tmp_path], tiny("wgan-gp", data__cut="windows", data__n_samples=500)).ecgs
    assert windows.n_samples == 500


def test_a_release_of_single_beats_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigError, match="recipe wgan-gp makes single beats.*data.cut = 'windows'"):
        release(tmp_path / "no such folder", tmp_path / "out", recipe="wgan-gp")


@pytest.mark.parametrize(
    ("recipe", "overrides", "message"),
    [
        ("quick", {"data.cut": "beats"}, "model beat learns the rhythm; data.cut = 'beats' leaves none"),
        ("wgan-gp", {"data.conditions": ["heart_rate"]}, "heart_rate, which a single beat"),
    ],
)
def test_what_takes_several_beats_is_not_asked_of_one(recipe, overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe, overrides)


CLASSES = ("sinus rhythm", "left bundle branch block")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("clinics") / "clinic"
    write_clinic(path, 24, seed=4, fs=250, repeat_share=0, conditions=dict.fromkeys(CLASSES, 1))
    return path


@pytest.mark.parametrize("cut", ["beats", "windows"])
@pytest.mark.parametrize("name", ["wgan-gp", "acgan", "ac-wgan-gp", "dcgan", "bilstm-cnn"])
def test_two_steps_of_each_system(name, cut, folder, tmp_path):
    """Fitted, interrupted, resumed, sampled and decoded; on beats and on windows of another length."""
    n_samples = 200 if cut == "beats" else 333
    more = {"data__labels": list(CLASSES[:1]), "data__other": "other"} if load_recipe(name).data.labels else {}
    recipe = tiny(name, data__cut=cut, data__n_samples=n_samples, training__steps=2, **more)
    ecgs = take_in([folder], recipe).ecgs

    def interrupt(row):
        if row["step"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    fit(ecgs, recipe, tmp_path / "run", seed=1, on_log=interrupt)
    assert load(tmp_path / "run").step == 1
    fit(ecgs, recipe, tmp_path / "run", seed=1, resume=True)
    fit(ecgs, recipe, tmp_path / "whole", seed=1)
    state = [load_tensors(tmp_path / run / "state.safetensors")[0] for run in ("run", "whole")]
    assert all(torch.equal(value, state[1][key]) for key, value in state[0].items())
    run = load(tmp_path / "run")
    made = run.sample(20, seed=3)
    assert (made.signal.shape, made.leads, made.fs) == ((20, 1, n_samples), ("II",), 250)
    assert np.array_equal(made.signal[17:], run.sample(20, seed=3, batch_size=3).signal[17:])
    if recipe.data.classes:
        assert {label for borne in made.labels for label in borne} == {"sinus rhythm", "other"}
        only = run.bearing(["other"]).sample(4, seed=3)
        assert set(only.labels) == {("other",)}
