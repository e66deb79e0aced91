from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation.along import MEASURES, REAL, along, best_checkpoint, correlations
from ecgveil.evaluation.along_task import Task
from ecgveil.evaluation.along_views import measurements, strips, waves
from ecgveil.simulate import simulate

FS, TIME_MS = 250.0, np.arange(-240, 420, 4.0)
LEVELS = {100: 0.4, 1000: 0.1, 3000: 0.02}  # epoch -> SD of the noise, mV
STEPS = 12  # of the encoder


def beats(n: int, seed: int) -> ECGSet:
    """Single beats whose amplitudes, widths and times go together, half of them broad and so labelled."""
    rng = np.random.default_rng([seed, 7])
    size, late = 1 + 0.25 * rng.standard_normal(n), rng.standard_normal(n)
    broad = rng.random(n) < 0.5
    waves_of = (  # centre, width (ms), height (mV)
        (-150 - 5 * late, 18 + 0 * late, 0.12 * size),
        (0 * late, np.where(broad, 18, 8), 1.1 * size - 0.1 * late),
        (30 + 12 * broad, np.where(broad, 16, 8), -0.35 * size + 0.05 * rng.standard_normal(n)),
        (240 + 15 * late, 35 + 4 * late, np.where(broad, -0.3, 0.35) * size),
    )
    signal = sum(
        height[:, None] * np.exp(-0.5 * ((TIME_MS - at[:, None]) / np.asarray(width)[:, None]) ** 2)
        for at, width, height in waves_of
    )
    signal = signal + 0.01 * rng.standard_normal(signal.shape)
    labels = tuple(("broad",) if each else ("narrow",) for each in broad)
    return ECGSet(signal[:, None], FS, ("II",), tuple(f"{seed}-{i}" for i in range(n)), labels=labels)


def noisy(ecgs: ECGSet, level: float, seed: int) -> ECGSet:
    added = level * np.random.default_rng([seed, 8]).standard_normal(ecgs.signal.shape)
    return replace(ecgs, signal=ecgs.signal + added.astype(np.float32))


@pytest.fixture(scope="module")
def real() -> tuple[ECGSet, ECGSet]:
    return beats(160, 1), beats(70, 2)


@pytest.fixture(scope="module")
def checkpoints() -> dict[int, ECGSet]:
    made = {step: noisy(beats(80, step), level, step) for step, level in LEVELS.items()}
    dealt = np.random.default_rng(9).permutation(np.array(made[100].labels))  # labels are not learned yet, either
    return made | {100: replace(made[100], labels=tuple(map(tuple, dealt)))}


@pytest.fixture(scope="module")
def table(real, checkpoints) -> pd.DataFrame:
    return along(*real, checkpoints, seed=0, encoder_steps=STEPS)


# ---- the table


def test_a_row_for_each_checkpoint_and_one_of_real_ecgs(table):
    assert list(table.index) == [100, 1000, 3000, REAL]
    assert set(MEASURES) < set(table.columns)
    assert (table["n"] == 70).all()
    assert table.attrs["form"] == "beats"
    assert table.attrs["lead"] == "II"
    assert table.attrs["n_rules"] > 5
    assert table.attrs["notes"] == []
    assert np.isfinite(table.to_numpy(float)).all()
    for name in MEASURES:
        if name != "rules_support_change":
            assert (table[f"{name}_low"] <= table[name] + 1e-12).all(), name
            assert (table[name] <= table[f"{name}_high"] + 1e-12).all(), name
    assert table["js"].between(0, 1).all()


def test_less_noise_is_better_by_every_measure(table):
    for name, better in MEASURES.items():
        worst, best, floor = table.loc[[100, 3000, REAL], name]
        sign = -1 if better == "lower" else 1
        assert sign * worst < sign * best, name
        assert sign * worst < sign * floor, name
    for name in ("fid", "fid_measurements", "js", "dtw", "dtw_missed"):
        assert table[name].iloc[:3].is_monotonic_decreasing, name
        assert table.at[REAL, name] < table.at[100, name] / 3, name
    assert table.at[REAL, "rules_valid_share"] > 0.8
    assert table.at[REAL, "accuracy"] > 0.95
    assert best_checkpoint(table) == 3000


def test_waves_within_the_noise_of_real_ones(table):
    assert table.at[REAL, "mmd"] == pytest.approx(0, abs=0.03)
    assert table.at[3000, "dtw"] < 2 * table.at[REAL, "dtw"]


def test_a_generator_of_one_kind_misses_real_beats(real, table):
    one = beats(80, 100)
    one = replace(one, signal=np.repeat(one.signal[:1], 80, axis=0))
    row = along(*real, {1: one}, seed=0, encoder_steps=STEPS).loc[1]
    assert row["dtw"] < table.at[1000, "dtw"] / 2  # each is near to a real one
    assert row["dtw_missed"] > 2 * table.at[1000, "dtw_missed"]
    assert row["js"] > 5 * table.at[REAL, "js"]


def test_the_seed_decides_and_a_row_does_not_depend_on_other_checkpoints(real, checkpoints, table):
    calls = []
    again = along(
        *real, {1000: checkpoints[1000]}, seed=0, encoder_steps=STEPS, progress=lambda *done: calls.append(done)
    )
    pd.testing.assert_frame_equal(again, table.loc[[1000, REAL]], check_dtype=False)
    assert calls == [(1, 2), (2, 2)]
    other = along(*real, {1000: checkpoints[1000]}, seed=1, encoder_steps=2)
    assert other.at[1000, "fid_measurements"] != table.at[1000, "fid_measurements"]


def test_without_labels_there_is_no_classifier_and_a_note_says_why(real, checkpoints):
    bare = [replace(each, labels=()) for each in (*real, checkpoints[1000])]
    table = along(bare[0], bare[1], {5: bare[2]}, seed=0, most=30, encoder_steps=2)
    assert table[["accuracy", "macro_f1", "accuracy_low"]].isna().all(axis=None)
    assert "two labels or more" in table.attrs["notes"][0]
    assert (table["n"] == 30).all()
    unlabelled = along(*real, {5: bare[2]}, seed=0, most=30, encoder_steps=2)
    assert np.isnan(unlabelled.at[5, "accuracy"])
    assert unlabelled.at[REAL, "accuracy"] > 0.8
    assert unlabelled.attrs["notes"][0].startswith("Checkpoint 5: no classifier")
    found = correlations(unlabelled)
    assert found.empty
    assert "takes three" in found.attrs["note"]


def test_windows_are_measured_clinically():
    ecgs, _ = simulate(66, seed=4, seconds=5, fs=250)
    ecgs = ecgs.pick(("I", "II", "V2"))
    train, holdout = ecgs.take(range(44)), ecgs.take(range(44, 66))
    table = along(train, holdout, {1: noisy(holdout, 0.5, 0)}, seed=0, encoder_steps=2)
    assert table.attrs["form"] == "windows"
    for name in ("fid", "fid_measurements", "js", "dtw"):
        assert table.at[1, name] > table.at[REAL, name], name
    assert "heart_rate_bpm" in measurements(train)[0]


def test_noise_without_a_beat_is_not_near_to_real_windows_without_one():
    noise = np.random.default_rng(0).standard_normal((3, 1, 1250)) * [[[0.5]], [[0.5]], [[0.0]]]
    noise[1, 0, 700] = 5.0  # a spike is no QRS
    found = waves(ECGSet(noise, 250, ("II",), ("noise", "spike", "flat")), "II")
    assert found.shape == (3, 88)
    assert found[0].std() > 300  # uV
    assert 30 < found[1].argmax() < 58
    assert not found[2].any()


def test_a_strip_of_beats_has_no_jumps(real):
    strip = strips(real[0].take(range(5)))
    assert strip.shape[2] >= 500
    length = len(TIME_MS)
    joints = np.abs(np.diff(strip, axis=2))[:, :, length - 1 :: length]
    assert joints.max() < 0.05 < np.abs(np.diff(strip, axis=2)).max()


def test_labels_that_a_classifier_never_saw_and_ecgs_with_two(real):
    train, holdout = real
    both = replace(holdout, labels=(("broad", "narrow"), ("other",), *holdout.labels[2:]))
    task, notes = Task.of(train, both, seed=0)
    assert task.names == ("broad", "narrow")
    assert len(task.classes) == 68
    assert "2 holdout ECGs" in notes[0]
    scores, _ = task.learn_from(train.take(range(40)))
    assert scores["accuracy_low"] < scores["accuracy"] <= scores["accuracy_high"] <= 1
    mixed = replace(train, labels=tuple(map(tuple, np.random.default_rng(0).permutation(np.array(train.labels)))))
    assert task.learn_from(mixed)[0]["accuracy"] < 0.8 < scores["accuracy"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda train, holdout, made: (train, holdout, {}), "no checkpoint"),
        (lambda train, holdout, made: (train, holdout, {1: made.take([])}), "checkpoint 1 holds no ECG"),
        (lambda train, holdout, made: (train, holdout, {1: replace(made, fs=100)}), "bring the sets to one form"),
        (lambda train, holdout, made: (train, holdout, {1: replace(made, leads=("V1",))}), "leads V1"),
        (lambda train, holdout, made: (train, train, {1: made}), "both train and holdout"),
        (lambda train, holdout, made: (train.take(range(39)), holdout, {1: made}), "too few to halve"),
        (lambda train, holdout, made: (train, holdout.take(range(19)), {1: made}), "19 patients"),
    ],
)
def test_sets_that_cannot_be_compared(real, checkpoints, change, message):
    train, holdout, made = change(*real, checkpoints[100])
    with pytest.raises(EvaluationError, match=message):
        along(train, holdout, made, seed=0, encoder_steps=1)


# ---- what the measures have in common


def followed(**columns: list[float]) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=[*range(10, 10 * n, 10), REAL])


def test_correlations_over_checkpoints():
    rules = [0.1, 0.3, 0.2, 0.7, 0.9, 1.0]
    table = followed(rules_valid_share=rules, fid=[9, 7, 8, 3, 1, 0], js=[1, 5, 2, 4, 3, 0], accuracy=[5] * 6)
    found = correlations(table)
    assert list(found.index) == ["fid", "js", "accuracy"]
    assert found.at["fid", "spearman"] == pytest.approx(-1)
    assert found.at["js", "spearman"] == pytest.approx(spearmanr(rules[:5], [1, 5, 2, 4, 3])[0])
    assert found["agrees"].tolist() == [True, False, False]
    assert found.at["fid", "p_value"] == found.at["fid", "least_p"] == pytest.approx(2 / 120)
    every = [abs(spearmanr(rules[:5], order)[0]) for order in permutations([1, 5, 2, 4, 3])]
    reached = np.mean(np.array(every) >= abs(found.at["js", "spearman"]) - 1e-9)
    assert found.at["js", "p_value"] == pytest.approx(reached)
    assert found.at["fid", "low"] == -1
    assert found.at["fid", "high"] > -0.5  # five checkpoints do not tell more
    assert np.isnan(found.loc["accuracy", ["spearman", "p_value"]].to_numpy(float)).all()
    assert "0.017" in found.attrs["note"]


def test_many_checkpoints_are_exchanged_at_random_but_alike():
    rng = np.random.default_rng(3)
    rules = [*rng.random(12), 1.0]
    table = followed(rules_valid_share=rules, fid=[*rng.random(12), 0.0], dtw=[-x for x in rules])
    found = correlations(table)
    assert found.at["dtw", "p_value"] == found.at["dtw", "least_p"] == pytest.approx(1e-4)
    assert found.at["fid", "p_value"] == pytest.approx(spearmanr(rules[:12], table["fid"][:12])[1], abs=0.03)
    pd.testing.assert_frame_equal(found, correlations(table))


def test_checkpoints_without_a_value_are_left_out():
    table = followed(rules_valid_share=[0.1, 0.2, np.nan, 0.4, 1.0], fid=[4, 3, 2, 1, 0], js=[np.nan] * 5)
    found = correlations(table)
    assert found.index.tolist() == ["fid"]
    assert found.at["fid", "n"] == 3
    assert np.isnan(found.at["fid", "low"])
    with pytest.raises(EvaluationError, match="'loss' is not a measure"):
        correlations(table, "loss")


def test_the_best_checkpoint_is_never_the_real_one():
    table = followed(fid=[3, 1, 1, 0], accuracy=[0.5, 0.9, np.nan, 1.0], js=[np.nan] * 4)
    assert best_checkpoint(table) == 20
    assert best_checkpoint(table, "accuracy") == 20
    with pytest.raises(EvaluationError, match="no checkpoint has a value of 'js'"):
        best_checkpoint(table, "js")
