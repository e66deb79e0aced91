import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import shaped, tiny
from ecgveil.errors import RecordError, RunError
from ecgveil.recipe import recipe_names
from ecgveil.sampling import load
from ecgveil.training.fit import fit
from ecgveil.training.loop import _batch_rows, _Data
from ecgveil.training.objectives import OBJECTIVES
from ecgveil.training.tensors import load_tensors


def weights(run):
    return load_tensors(run / "state.safetensors")[0]


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.fixture(scope="module")
def whole(clinic, tmp_path_factory):
    """An uninterrupted run, with its recipe and windows."""
    recipe = tiny("quick")
    ecgs = shaped(clinic, recipe)
    folder = fit(ecgs, recipe, tmp_path_factory.mktemp("runs") / "whole", seed=2)
    return folder.path, recipe, ecgs


def test_a_run_folder_is_whole(whole):
    run, recipe, _ = whole
    names = {file.name for file in run.iterdir()}
    assert names == {
        "recipe.toml",
        "encoder.json",
        "population.json",
        "provenance.json",
        "metrics.jsonl",
        "state.safetensors",
        "weights.safetensors",
        "pictures",
    }
    assert len(list((run / "pictures").glob("*.png"))) == 2
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert load(run).step == recipe.training.steps


def test_nothing_of_a_patient_is_in_the_run_folder(whole):
    run, _, ecgs = whole
    for file in run.glob("*.json*"):
        text = file.read_text()
        assert not any(name in text for name in (*ecgs.record_name, *ecgs.patient_id))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(whole, tmp_path):
    run, recipe, ecgs = whole
    assert same(weights(run), weights(fit(ecgs, recipe, tmp_path / "again", seed=2).path))
    assert not same(weights(run), weights(fit(ecgs, recipe, tmp_path / "other", seed=3).path))


@pytest.mark.parametrize("name", recipe_names())
def test_a_stopped_run_resumed_equals_one_never_stopped(name, clinic, tmp_path):
    recipe = tiny(name, training__steps=4, training__checkpoint_seconds=1e-6)
    ecgs = shaped(clinic, recipe)
    uninterrupted = fit(ecgs, recipe, tmp_path / "whole", seed=1).path

    def interrupt(row):
        if row["step"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    folder = fit(ecgs, recipe, tmp_path / "stopped", seed=1, on_log=interrupt)
    assert load(folder.path).step == 2
    fit(ecgs, recipe, tmp_path / "stopped", seed=1, resume=True)
    assert same(weights(uninterrupted), weights(folder.path))
    steps = [row["step"] for row in folder.metrics()]
    assert steps == sorted(set(steps))


def test_a_crash_between_checkpoints_resumes_from_the_last(whole, tmp_path):
    run, recipe, ecgs = whole

    def crash(row):
        if row["step"] == 4:
            raise KeyError("crash")

    with pytest.raises(KeyError):
        fit(ecgs, recipe, tmp_path / "crashed", seed=2, on_log=crash)
    assert load(tmp_path / "crashed").step == 0  # checkpoints are 30 s apart
    fit(ecgs, recipe, tmp_path / "crashed", seed=2, resume=True)
    assert same(weights(run), weights(tmp_path / "crashed"))


def test_resuming_where_nothing_is_starts(whole, tmp_path):
    run, recipe, ecgs = whole
    assert same(weights(run), weights(fit(ecgs, recipe, tmp_path / "new", seed=2, resume=True).path))


def test_resuming_a_finished_run_changes_nothing(whole):
    run, recipe, ecgs = whole
    before = weights(run)
    fit(ecgs, recipe, run, seed=2, resume=True)
    assert same(before, weights(run))


def test_a_run_is_never_overwritten_nor_resumed_as_another(whole, clinic):
    run, recipe, ecgs = whole
    before = weights(run)
    with pytest.raises(RunError, match="already holds a run; pass --resume"):
        fit(ecgs, recipe, run, seed=2)
    with pytest.raises(RunError, match="with seed 2, not 3"):
        fit(ecgs, recipe, run, seed=3, resume=True)
    with pytest.raises(RunError, match=r"other settings \(training.steps 6 there, 7 here\)"):
        fit(ecgs, tiny("quick", training__steps=7), run, seed=2, resume=True)
    with pytest.raises(RunError, match="other records"):
        fit(ecgs.take(range(20)), recipe, run, seed=2, resume=True)
    assert same(before, weights(run))


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("state.safetensors", lambda b: b[:-5]),
        ("state.safetensors", lambda b: b[:-40] + bytes([b[-40] ^ 1]) + b[-39:]),
        ("weights.safetensors", lambda b: b""),
        ("encoder.json", lambda b: b"{}"),
        ("encoder.json", lambda b: b.replace(b"0.", b"9.", 1)),
        ("population.json", lambda b: b"[]"),
        ("provenance.json", lambda b: b"null"),
        ("metrics.jsonl", lambda b: b"5\n" + b),
        ("metrics.jsonl", lambda b: b"\xff\n" + b),
        ("population.json", lambda b: b"[1"),
        ("recipe.toml", lambda b: b.replace(b"[training]", b"[tr]")),
        ("metrics.jsonl", lambda b: b"rubbish\n" + b),
        ("provenance.json", None),
    ],
)
def test_a_damaged_run_is_an_error(whole, tmp_path, file, damage):
    run, recipe, ecgs = whole
    broken = tmp_path / "broken"
    broken.mkdir()
    for each in run.iterdir():
        if each.is_file():
            (broken / each.name).write_bytes(each.read_bytes())
    (broken / "pictures").mkdir()
    if damage is None:
        (broken / file).unlink()
    else:
        (broken / file).write_bytes(damage((run / file).read_bytes()))
    with pytest.raises(RunError) as caught:
        fit(ecgs, recipe, broken, seed=2, resume=True)
    assert "damaged" in str(caught.value) or "missing" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_last_log_line_cut_short_by_a_crash_is_dropped(whole, tmp_path):
    run, recipe, ecgs = whole
    folder = fit(ecgs, recipe, tmp_path / "run", seed=2)
    with open(folder.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 7, "crit')
    assert folder.metrics()[-1]["step"] == 6


def test_form_is_checked(clinic, tmp_path):
    with pytest.raises(RecordError, match="takes 2500 samples of I, II.*these ECGs have 5000"):
        fit(clinic, tiny("quick"), tmp_path / "run")


def test_divergence_is_said(whole, tmp_path):
    _, _, ecgs = whole
    with pytest.raises(RunError, match="training diverged; fit again with a lower training.learning_rate"):
        fit(ecgs, tiny("quick", training__learning_rate=0.99, training__steps=60), tmp_path / "run", seed=1)


def test_batches_go_through_every_window_before_any_comes_again():
    rows = np.concatenate([_batch_rows(seed=1, number=i, batch=4, n=10) for i in range(5)])
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert rows[:10].tolist() != rows[10:].tolist()


@pytest.mark.parametrize("file", ["weights.safetensors", "state.safetensors", "encoder.json", "provenance.json"])
def test_a_file_of_another_run_is_noticed(whole, tmp_path, file):
    run, recipe, ecgs = whole
    other = fit(ecgs, recipe, tmp_path / "other", seed=8).path
    (other / file).write_bytes((run / file).read_bytes())
    with pytest.raises(RunError, match="damaged"):
        load(other)
    with pytest.raises(RunError, match="damaged"):
        fit(ecgs, recipe, other, seed=8, resume=True)


def test_labels_are_learned_and_other_labels_are_other_data(clinic, tmp_path):
    recipe = tiny("superclass")
    ecgs = shaped(clinic, recipe)
    run = fit(ecgs, recipe, tmp_path / "run", seed=2)
    population = json.loads((run.path / "population.json").read_text())
    assert set(population) == {"rhythm", "conditions"}
    assert sum(population["conditions"]["counts"]) <= run.provenance["counts"]["train"]["windows"]
    swapped = replace(ecgs, labels=tuple(reversed(ecgs.labels)))
    with pytest.raises(RunError, match="other records"):
        fit(swapped, recipe, tmp_path / "run", seed=2, resume=True)
    with pytest.raises(RecordError, match="label 'MI' of data.labels is borne by 0 patients"):
        fit(replace(ecgs, labels=(("NORM",),) * len(ecgs)), recipe, tmp_path / "other", seed=2)
    assert not (tmp_path / "other").exists()


def test_use_all_trains_on_everything(whole, tmp_path):
    run, recipe, ecgs = whole
    counts = fit(ecgs, recipe, tmp_path / "all", seed=2, use_all=True).provenance["counts"]
    assert counts["train"] == counts["all"] == {"windows": len(ecgs), "patients": len(set(ecgs.patient_id))}
    with pytest.raises(RunError, match="other records"):
        fit(ecgs, recipe, tmp_path / "all", seed=2, resume=True)


def test_the_critic_judges_a_pair_under_the_same_condition():
    seen = []

    def critic(x, rng, condition):
        seen.append(condition)
        return x

    data = _Data(torch.zeros(3, 1), np.eye(3, dtype=np.float32))
    judge = data.judge(critic, np.array([2, 0]), torch.device("cpu"))
    OBJECTIVES["relativistic"].generator_loss(judge, torch.ones(2, 1), torch.zeros(2, 1), torch.Generator())
    assert len(seen) == 2
    for condition in seen:
        assert condition.tolist() == [[0, 0, 1], [1, 0, 0]]
