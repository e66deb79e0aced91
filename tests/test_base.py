"""The base model that ships."""

import shutil

import numpy as np
import pytest

from ecgveil.base import FOLDER, find_run
from ecgveil.complexes.parts import LENGTH
from ecgveil.errors import ConfigError, RunError
from ecgveil.leads import LEADS_8, LEADS_12
from ecgveil.measure import measure
from ecgveil.pipeline import places, write_samples
from ecgveil.recipe import load_recipe
from ecgveil.rhythm import STATISTICS
from ecgveil.sampling import load
from ecgveil.training.fit import fit


def test_base_is_the_model_that_ships_and_anything_else_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_run("base") == FOLDER
    assert find_run("other") == tmp_path.__class__("other")
    assert find_run(tmp_path / "base") == tmp_path / "base"


def test_what_lies_here_under_that_name_is_not_guessed_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    with pytest.raises(RunError, match=f"give the latter's whole path, {tmp_path}/base"):
        find_run("base")
    with pytest.raises(RunError, match="whole path"):
        find_run("./base")


def test_no_run_is_made_under_that_name(clinic, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="out is base, which stands for the model that ships"):
        fit(clinic, "quick", "base")
    with pytest.raises(ConfigError, match="--run is base"):
        places([tmp_path / "data"], tmp_path / "out", "base")
    assert not (tmp_path / "base").exists()


def test_no_ecg_of_base_is_far_louder_than_recorders_allow():
    run = load("base")
    tensors = np.concatenate(list(run.tensors(2000, seed=0)))
    loudness = tensors[:, len(LEADS_8) * LENGTH : -len(STATISTICS)].max(axis=1)  # of noise and of how beats differ
    assert np.abs(run.encoder.decode(tensors[loudness.argsort()[-40:]])).max() < 25


def test_base_is_small_whole_and_says_what_it_is():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 20e6
    run = load("base")
    assert run.step == run.steps
    assert "not for clinical use" in run.folder.provenance["synthetic"]
    assert "not for clinical use" in (FOLDER.parent / "CARD.md").read_text()


def test_base_draws_ecgs_of_the_heart_rate_asked_for():
    ecgs = load("base").bearing(heart_rate=(58, 62)).sample(16, seed=1)
    assert (ecgs.leads, ecgs.fs, ecgs.n_samples) == (LEADS_12, 500.0, 5000)
    assert np.median(measure(ecgs)["heart_rate_bpm"]) == pytest.approx(60, abs=2)


def test_headers_say_that_base_drew_them_and_at_which_heart_rate(tmp_path):
    run, silent = load("base"), {"seed": 3, "batch_size": 16, "progress": lambda done, total: None}
    (tmp_path / "asked").mkdir()
    write_samples(run.bearing(heart_rate=(58, 62)), tmp_path / "asked", 1, **silent)
    header = (tmp_path / "asked" / "synthetic_000000.hea").read_text()
    assert "# base model, recipe veil, seed 3; a heart rate of 58 to 62 bpm asked for\n" in header
    (tmp_path / "any").mkdir()
    write_samples(run, tmp_path / "any", 1, **silent)
    assert "# base model, recipe veil, seed 3\n" in (tmp_path / "any" / "synthetic_000000.hea").read_text()


def test_training_goes_on_from_base(clinic, tmp_path):
    recipe = load_recipe("veil", {"training.steps": 2, "training.batch": 4, "training.pictures": 0})
    folder = fit(clinic.pick(LEADS_8), recipe, tmp_path / "run", base="base", seed=0)
    assert folder.provenance["base_sha256"]
    assert folder.encoder.scale_ == load("base").encoder.scale_
    assert folder.encoder.loudest_ is not None  # of these people, whatever base has
    before, after = (load(run).folder.load_weights()[0] for run in ("base", folder.path))
    moved = sum(float((before[name] - after[name]).square().sum()) for name in before)
    whole = sum(float(each.square().sum()) for each in before.values())
    with pytest.raises(RunError, match="did not begin from that run"):
        fit(clinic.pick(LEADS_8), recipe, tmp_path / "run", base=folder.path, seed=0, resume=True)
    assert 0 < moved < 0.01 * whole  # weights drawn anew would be as far as they are large, twice


def test_a_damaged_installation_is_to_be_made_again(tmp_path, monkeypatch):
    shutil.copytree(FOLDER, tmp_path / "run")
    (tmp_path / "run" / "weights.safetensors").write_bytes(b"cut")
    for place in ("ecgveil.base.FOLDER", "ecgveil.sampling.FOLDER"):
        monkeypatch.setattr(place, tmp_path / "run")
    with pytest.raises(RunError, match="the model that ships is damaged here; install ecgveil again"):
        load("base")
