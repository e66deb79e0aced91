import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import shaped, tiny
from ecgveil.ecg import concat
from ecgveil.errors import ConfigError, RecordError, RunError
from ecgveil.models.contract import stack
from ecgveil.recipe import recipe_names
from ecgveil.sampling import load
from ecgveil.split import split
from ecgveil.streams import stream
from ecgveil.training.choosing import candidate_steps
from ecgveil.training.fit import fit, require_place
from ecgveil.training.looks import Windows
from ecgveil.training.objectives import OBJECTIVES, Pair
from ecgveil.training.step import Step, _batch_rows
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


@pytest.mark.parametrize("name", ["quick", "piacentino-z", "wgan-gp"])
def test_in_bfloat16_training_goes_about_the_same_way(name, clinic, tmp_path):
    """Three steps: five critic updates each of wgan-gp by Adam, so that rounding adds up."""
    losses = {}
    for precision in ("float32", "bfloat16"):
        recipe = tiny(name, training__steps=3, training__precision=precision)
        run = fit(shaped(clinic, recipe), recipe, tmp_path / precision, seed=1)
        losses[precision] = [[row["critic_loss"], row["generator_loss"]] for row in run.metrics()]
        assert torch.bfloat16 not in {value.dtype for value in weights(run.path).values()}
    assert losses["float32"] != losses["bfloat16"]
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.1, atol=0.1)


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


def test_what_another_process_has_trained_on_meanwhile_is_not_trained_again(whole, tmp_path):
    _, recipe, ecgs = whole
    run = tmp_path / "run"

    def another(step, steps):
        fit(ecgs, recipe, run, seed=2, resume=True)

    with pytest.raises(RunError, match="trained on to step 6 by another process meanwhile; give the same command"):
        fit(ecgs, recipe, run, seed=2, on_start=another)
    assert [row["step"] for row in load(run).folder.metrics()] == [1, 2, 3, 4, 5, 6]


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


def test_few_records_are_not_gone_through_without_end(clinic, tmp_path):
    recipe = tiny("veil", training__steps=40, training__most_passes=1)
    folder = fit(shaped(clinic, recipe), recipe, tmp_path / "run", seed=2)
    n = folder.provenance["counts"]["train"]["windows"]
    steps = -(-n // recipe.training.batch)
    assert load(folder.path).step == folder.total_steps == steps < 40
    assert folder.shortened()[0].startswith(f"training took {steps} of 40 steps, 1 passes over the training records")
    whole = fit(shaped(clinic, recipe), tiny("veil", training__steps=2), tmp_path / "whole", seed=2)
    assert (whole.total_steps, whole.shortened()) == (2, [])


def test_divergence_between_logged_steps_is_said_and_the_last_good_checkpoint_stays(clinic, tmp_path, monkeypatch):
    """Weights that are no numbers from step 5 on, where every 16th is logged and each is saved."""
    recipe = tiny("veil", training__steps=40_000, training__most_passes=0, training__checkpoint_seconds=1e-6)
    now = {"step": 0}
    whole = Step.__call__

    def poisoned(self, step):
        now["step"] = step
        if step == 5:
            with torch.no_grad():
                next(self._players.generator.parameters()).fill_(float("nan"))
        return whole(self, step)

    monkeypatch.setattr(Step, "__call__", poisoned)
    with pytest.raises(RunError, match="is nan at step 6: training diverged"):
        fit(shaped(clinic, recipe), recipe, tmp_path / "run", seed=2)
    assert now["step"] == 5
    assert not any(each.isnan().any() for each in weights(tmp_path / "run").values())


def test_divergence_is_said(whole, tmp_path):
    _, _, ecgs = whole
    with pytest.raises(RunError, match="training diverged; fit again with a lower training.learning_rate"):
        fit(ecgs, tiny("quick", training__learning_rate=0.99, training__steps=60), tmp_path / "run", seed=1)


@pytest.mark.parametrize("pictures", [0, 2])
def test_divergence_in_the_last_update_is_said_too(whole, tmp_path, pictures):
    """By the losses it is not to be seen, which are of before it; and a picture would be the first to fail."""
    _, _, ecgs = whole
    given = {"training__learning_rate": 0.99, "training__steps": 1, "training__pictures": pictures}
    with pytest.raises(RunError, match="makes values that are no numbers: training diverged"):
        fit(ecgs, tiny("quick", **given), tmp_path / "run", seed=1)
    if not pictures:
        with pytest.raises(RunError, match="what it makes is no numbers, as its training diverged; fit again"):
            load(tmp_path / "run").sample(2)


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

    data = Windows(torch.zeros(3, 1), np.eye(3, dtype=np.float32))
    told = data.told(np.array([2, 0]), torch.device("cpu"))
    pair = Pair(torch.ones(2, 1), torch.zeros(2, 1), told)
    OBJECTIVES["relativistic"].generator_loss(critic, pair, torch.Generator(), None)
    assert len(seen) == 2
    for condition in seen:
        assert condition.tolist() == [[0, 0, 1], [1, 0, 0]]


SCORES = {4: 0.3, 5: 0.2, 6: 0.4}  # of the candidates below: the middle one is the best
SHORT = {"data__n_samples": 1000}
CANDIDATES = {**SHORT, "training__candidates": 3, "training__checkpoint_seconds": 1e-6}


@pytest.fixture(scope="module")
def crowd(clinic):
    """The clinic's ECGs as those of 144 patients: enough for a validation part of 20."""
    ecgs = shaped(clinic, tiny("quick", **SHORT))
    names = [tuple(f"{k}-{name}" for name in ecgs.record_name) for k in range(6)]
    return concat([replace(ecgs, record_name=each, patient_id=each) for each in names])


class Judge:
    """A judge who has made up his mind, and remembers what he was shown."""

    def __init__(self, scores=()):
        self.scores, self.shown = list(scores), []

    def __call__(self, validation, synthetic):
        self.shown.append((validation, synthetic))
        return {"score": self.scores.pop(0), "part": 0.5}


class Honest:
    """The same score for the same ECGs, whatever was judged before."""

    def __call__(self, validation, synthetic):
        score = float(np.sin(1e3 * np.abs(synthetic.signal.astype(float)).sum()))
        return {"score": score, "part": len(synthetic)}


def sampled(run):
    return load_tensors(run / "weights.safetensors")[0]


def averages(run):
    return {key.removeprefix("average/"): value for key, value in weights(run).items() if key.startswith("average/")}


@pytest.fixture(scope="module")
def chosen(crowd, tmp_path_factory):
    """A run of which the candidate of step 5 was kept, and the judge who kept it."""
    judge = Judge([0.3, 0.1, 0.2, 0.4])  # the second is what real ECGs score
    folder = fit(crowd, tiny("quick", **CANDIDATES), tmp_path_factory.mktemp("runs") / "run", seed=2, judge=judge)
    return folder, judge


@pytest.fixture(scope="module")
def honest(crowd, tmp_path_factory):
    """A run never interrupted, judged by what was judged."""
    out = tmp_path_factory.mktemp("runs") / "honest"
    return fit(crowd, tiny("quick", **CANDIDATES), out, seed=2, judge=Honest())


def test_candidates_lie_evenly_along_the_last_half():
    assert candidate_steps(1600, 4) == {1000, 1200, 1400, 1600}
    assert candidate_steps(6, 3) == {4, 5, 6}
    assert candidate_steps(1, 5) <= {0, 1}
    assert max(candidate_steps(7, 2)) == 7
    assert candidate_steps(6, 0) == set()


def test_the_best_candidate_is_sampled_and_the_last_state_kept(chosen, crowd, tmp_path):
    folder, _ = chosen
    assert folder.choice() == {
        "step": 5,
        "score": 0.2,
        "floor": 0.1,
        "ended": False,
        "candidates": [{"step": step, "score": score, "part": 0.5} for step, score in SCORES.items()],
        "note": "",
    }
    assert load(folder.path).step == 6  # training is finished, whatever was chosen
    plain = fit(crowd, tiny("quick", **SHORT), tmp_path / "plain", seed=2)
    assert same(weights(folder.path), weights(plain.path))  # judging changes nothing in training
    assert not same(sampled(folder.path), averages(folder.path))
    assert same(sampled(plain.path), averages(plain.path))
    assert plain.choice() is None

    def interrupt(row):
        if row["step"] == 5:
            os.kill(os.getpid(), signal.SIGINT)

    five = fit(crowd, tiny("quick", **SHORT), tmp_path / "five", seed=2, on_log=interrupt)
    assert same(sampled(folder.path), sampled(five.path))


def test_the_judge_sees_the_validation_part_and_as_many_made_as_real_ones(chosen, crowd):
    _, judge = chosen
    parts = split(crowd, seed=2)
    assert all(validation.record_name == parts.validation.record_name for validation, _ in judge.shown)
    reference = judge.shown[1][1]
    assert set(reference.record_name) <= set(parts.train.record_name)
    assert {len(synthetic) for _, synthetic in judge.shown} == {len(set(parts.train.patient_id))}
    assert (judge.shown[0][1].leads, judge.shown[0][1].fs) == (crowd.leads, crowd.fs)


@pytest.mark.parametrize("stop_at", [2, 4, 5])
def test_a_stopped_run_resumed_chooses_as_one_never_stopped(stop_at, honest, crowd, tmp_path):
    recipe = tiny("quick", **CANDIDATES)

    def interrupt(row):
        if row["step"] == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    stopped = fit(crowd, recipe, tmp_path / "stopped", seed=2, judge=Honest(), on_log=interrupt)
    assert load(stopped.path).step == stop_at
    assert (stopped.choice() is None) == (stop_at < 4)
    fit(crowd, recipe, tmp_path / "stopped", seed=2, judge=Honest(), resume=True)
    assert stopped.choice() == honest.choice()
    assert same(sampled(stopped.path), sampled(honest.path))
    assert same(weights(stopped.path), weights(honest.path))


def test_a_crash_after_the_weights_were_written_and_before_the_state_was(honest, crowd, tmp_path):
    recipe = tiny("quick", **CANDIDATES)
    old = {}

    def remember(row):  # called before the checkpoint of its step
        if row["step"] == 5:
            old["state"] = (tmp_path / "run" / "state.safetensors").read_bytes()

    folder = fit(crowd, recipe, tmp_path / "run", seed=2, judge=Honest(), on_log=remember)
    (folder.path / "state.safetensors").write_bytes(old["state"])
    fit(crowd, recipe, tmp_path / "run", seed=2, judge=Honest(), resume=True)
    assert folder.choice() == honest.choice()
    assert same(sampled(folder.path), sampled(honest.path))
    assert same(weights(folder.path), weights(honest.path))


def test_resuming_a_finished_run_keeps_its_choice(chosen, crowd):
    folder, _ = chosen
    before, choice = sampled(folder.path), folder.choice()
    fit(crowd, tiny("quick", **CANDIDATES), folder.path, seed=2, judge=Judge(), resume=True)
    assert same(before, sampled(folder.path))
    assert folder.choice() == choice


def test_other_validation_records_are_other_data(chosen, crowd):
    folder, _ = chosen
    held = set(split(crowd, seed=2).validation.record_name)
    shift = np.array([0.1 * (name in held) for name in crowd.record_name], np.float32)
    other = replace(crowd, signal=crowd.signal + shift[:, None, None])
    with pytest.raises(RunError, match="other records"):
        fit(other, tiny("quick", **CANDIDATES), folder.path, seed=2, judge=Judge(), resume=True)


def test_records_whose_people_were_put_right_are_other_data(whole, tmp_path):
    _, _, ecgs = whole
    folder = fit(ecgs, tiny("quick", training__steps=2), tmp_path / "run", seed=2, use_all=True)
    two = replace(ecgs, patient_id=("both", "both", *ecgs.patient_id[2:]))
    with pytest.raises(RunError, match="other records"):
        fit(two, tiny("quick", training__steps=2), folder.path, seed=2, use_all=True, resume=True)


def test_too_few_in_validation_keep_the_last_step_and_say_so(whole, tmp_path):
    _, _, ecgs = whole
    recipe = tiny("quick", training__candidates=3)
    folder = fit(ecgs, recipe, tmp_path / "run", seed=2, judge=Judge())  # who has no score to give
    choice = folder.choice()
    assert (choice["step"], choice["score"], choice["candidates"]) == (None, None, [])
    assert "the validation part has 4 patients, fewer than 20" in choice["note"]
    assert same(sampled(folder.path), averages(folder.path))


PATIENT = {**CANDIDATES, "training__steps": 10, "training__candidates": 5, "training__patience": 2}


def test_patience_ends_training(crowd, tmp_path):
    judge = Judge([0.3, 0.1, 0.2, 0.2, 0.4])  # the second is what real ECGs score
    recipe = tiny("quick", **PATIENT)
    folder = fit(crowd, recipe, tmp_path / "run", seed=2, judge=judge)
    choice = folder.choice()
    assert [(each["step"], each["score"]) for each in choice["candidates"]] == [(6, 0.3), (7, 0.2), (8, 0.2), (9, 0.4)]
    assert choice["ended"]
    assert (choice["step"], choice["score"]) == (8, 0.2)
    assert load(folder.path).step == load(folder.path).steps == folder.total_steps == 9
    before = weights(folder.path)
    fit(crowd, recipe, folder.path, seed=2, judge=Judge(), resume=True)  # who has no score left to give
    assert same(before, weights(folder.path))
    assert folder.choice() == choice


def test_a_better_candidate_renews_patience(crowd, tmp_path):
    judge = Judge([0.3, 0.1, 0.4, 0.2, 0.4, 0.1])
    folder = fit(crowd, tiny("quick", **PATIENT), tmp_path / "run", seed=2, judge=judge)
    assert (load(folder.path).step, folder.choice()["ended"], folder.choice()["step"]) == (10, False, 10)


@pytest.mark.parametrize("stop_at", [7, 8])
def test_patience_survives_an_interruption(stop_at, crowd, tmp_path):
    recipe = tiny("quick", **PATIENT)

    def interrupt(row):
        if row["step"] == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    scores = [0.3, 0.1, 0.4, 0.5, 0.2, 0.1]
    folder = fit(crowd, recipe, tmp_path / "run", seed=2, judge=Judge(scores), on_log=interrupt)
    if stop_at == 7:
        assert load(folder.path).step < load(folder.path).steps
    fit(crowd, recipe, folder.path, seed=2, judge=Judge(scores[3:]), resume=True)
    assert (load(folder.path).step, folder.total_steps, folder.choice()["step"]) == (8, 8, 6)


def test_patience_needs_candidates(whole, tmp_path):
    _, _, ecgs = whole
    with pytest.raises(ConfigError, match="training.patience is 2, but training.candidates is 0"):
        fit(ecgs, tiny("quick", training__patience=2), tmp_path / "run", seed=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "told"), [({}, "no judge"), ({"judge": Judge(), "use_all": True}, "with all ECGs trained on")]
)
def test_without_a_judge_or_anything_held_out_the_last_weights_are_kept_and_it_is_said(given, told, crowd, tmp_path):
    folder = fit(crowd, tiny("quick", **CANDIDATES), tmp_path / "run", seed=2, **given)
    assert told in folder.choice()["note"]
    assert folder.choice()["step"] is None
    assert same(sampled(folder.path), averages(folder.path))


def test_a_run_goes_on_with_a_judge_as_it_was_begun(crowd, tmp_path):
    recipe = tiny("quick", **CANDIDATES)
    fit(crowd, recipe, tmp_path / "run", seed=2, judge=Honest(), on_log=lambda row: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(RunError, match="begun with a judge and is now given none, or the reverse"):
        fit(crowd, recipe, tmp_path / "run", seed=2, resume=True)


def test_a_run_goes_on_from_another_on_other_records(clinic, tmp_path):
    recipe = tiny("veil", training__steps=2)
    ecgs = shaped(clinic, recipe)
    base = fit(ecgs.take(list(range(12))), recipe, tmp_path / "base", use_all=True)
    still = tiny("veil", training__steps=1, training__learning_rate=1e-12, training__ema=0.5)
    adapted = fit(ecgs.take(list(range(12, 24))), still, tmp_path / "adapted", use_all=True, base=base.path)
    theirs, mine = (each.encoder.to_json()["complexes"] for each in (base, adapted))
    assert {name for name in theirs if theirs[name] != mine[name]} == {"loudest_"}
    assert adapted.rhythm != base.rhythm
    before, after = (load_tensors(each.path / "state.safetensors")[0] for each in (base, adapted))
    for name in before:
        if name.startswith(("generator/", "critic/")) and name not in ("critic/mean", "critic/sd"):
            torch.testing.assert_close(after[name], before[name], atol=1e-9, rtol=1e-6)
    wider = tiny("veil", model__width=12)
    with pytest.raises(ConfigError, match=r"is no run to go on from .*model.width 8 there, 12 here"):
        fit(ecgs, wider, tmp_path / "other", base=base.path)


def test_a_run_goes_on_with_conditions_that_it_had_not_learned(clinic, tmp_path):
    recipe = tiny("veil", training__steps=2)
    ecgs = shaped(clinic, recipe)
    base = fit(ecgs, recipe, tmp_path / "base", use_all=True)
    asked = tiny("veil-conditional", training__steps=1, training__learning_rate=1e-12, training__ema=0.5)
    labelled = shaped(clinic, asked)
    adapted = fit(labelled, asked, tmp_path / "adapted", use_all=True, base=base.path)
    before, after = (load_tensors(each.path / "state.safetensors")[0] for each in (base, adapted))
    for name in before:
        if name.startswith(("generator/", "critic/")) and name not in ("critic/mean", "critic/sd"):
            size = before[name].shape[-1] if before[name].ndim else None
            torch.testing.assert_close(after[name][..., :size], before[name], atol=1e-9, rtol=1e-6)
    unheard = after["critic/label.weight"], after["critic/label.bias"], after["critic/listen.0.weight"][:, -1:]
    assert max(each.abs().max().item() for each in unheard) < 1e-9
    told = load(adapted.path)
    noise = told.generator.draw(stream(0, 0), told.conditions.encode([("NORM",)])[0])
    other = {**noise, "condition": told.conditions.encode([()])[0]}
    one, two = (told.generator(stack([each])) for each in (noise, other))
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)
    learned = fit(labelled, tiny("veil-conditional", training__steps=2), tmp_path / "two", use_all=True, base=base.path)
    assert load_tensors(learned.path / "state.safetensors")[0]["critic/label.weight"].abs().sum() > 0
    with pytest.raises(ConfigError, match=r"give recipe veil-conditional as it was there \(data.conditions"):
        fit(ecgs, recipe, tmp_path / "back", base=adapted.path)


def test_what_is_planted_is_nobody_where_people_are_counted(tmp_path, clinic):
    """Three people bear a label; canaries that bear it too do not make them the five that are needed."""
    recipe = tiny("veil-conditional", data__labels=["RARE"])
    ecgs = shaped(clinic, recipe)
    ecgs = replace(ecgs, labels=tuple(("RARE",) if i < 3 else () for i in range(len(ecgs))))
    own = {"record_name": tuple("abcde"), "patient_id": tuple("abcde")}
    planted = replace(ecgs.take(range(5)), labels=(("RARE",),) * 5, **own)
    with pytest.raises(RecordError, match="'RARE' of data.labels is borne by 3 patients"):
        fit(ecgs, recipe, tmp_path / "run", seed=0, use_all=True, extra=planted)
    recipe = tiny("veil", training__steps=1)
    alone, beside = (
        fit(ecgs, recipe, tmp_path / name, seed=0, use_all=True, extra=extra)
        for name, extra in (("alone", None), ("beside", planted))
    )
    assert beside.provenance["counts"]["train"]["windows"] == len(ecgs) + 5
    means = [np.array(each.rhythm.to_json()["means"]) for each in (alone, beside)]
    assert means[1] == pytest.approx(means[0], abs=1e-3)  # where the beats lie is read in all leads' usual spreads


@pytest.mark.parametrize(("seed", "more", "told"), [(1, {}, "seed 0, not 1"), (0, {"training__batch": 3}, "batch")])
def test_what_is_no_run_to_go_on_with_is_told_before_anything_is_read(tmp_path, clinic, seed, more, told):
    recipe = tiny("quick", training__steps=1)
    assert not require_place(tmp_path / "run", recipe, 0, resume=False)
    fit(shaped(clinic, recipe), recipe, tmp_path / "run", seed=0)
    assert require_place(tmp_path / "run", recipe, 0, resume=True)
    with pytest.raises(RunError, match="already holds a run; pass --resume"):
        require_place(tmp_path / "run", recipe, 0, resume=False)
    with pytest.raises(RunError, match=told):
        require_place(tmp_path / "run", tiny("quick", training__steps=1, **more), seed, resume=True)
