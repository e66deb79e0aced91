import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecgveil import read
from ecgveil.ecg import ECGSet, concat
from ecgveil.errors import EvaluationError
from ecgveil.evaluation import copies as c
from ecgveil.leads import LEADS_8
from ecgveil.simulate import simulate

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "planted_copies.py"
_spec = importlib.util.spec_from_file_location("planted_copies", BENCHMARK)
assert _spec
assert _spec.loader
pc = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pc)


@pytest.fixture(scope="module")
def sets() -> tuple[ECGSet, ECGSet, ECGSet]:
    """Train, holdout and unrelated ECGs, simulated."""
    ecgs, _ = simulate(120, seed=21)
    return ecgs.take(range(50)), ecgs.take(range(50, 80)), ecgs.take(range(80, 120))


def named(ecgs: ECGSet, prefix: str) -> ECGSet:
    return ECGSet(ecgs.signal, ecgs.fs, ecgs.leads, tuple(f"{prefix}{i}" for i in range(len(ecgs))))


def mixed(train: ECGSet, rest: ECGSet, per_kind: int) -> tuple[ECGSet, list[str], np.ndarray]:
    """Copies of every kind, then the unrelated ECGs; the copies' originals; which are copies."""
    planted = [pc.planted(kind, train, rest, per_kind, 1) for kind in pc.KINDS]
    together = concat([*(each for each, _ in planted), named(rest, "real ")])
    return (
        together,
        [name for _, names in planted for name in names],
        np.arange(len(together)) < len(together) - len(rest),
    )


def test_every_kind_of_copy_is_found_and_named_and_nothing_else(sets):
    train, holdout, rest = sets
    synthetic, originals, copied = mixed(train, rest, 8)
    table = c.find_copies(train, holdout, synthetic, seed=0)
    assert list(table.columns) == ["record_name", "nearest_record", "part", "distance", "flagged"]
    assert list(table.record_name) == list(synthetic.record_name)
    found = table.flagged[copied].to_numpy()
    simple = np.array([name[0] in "abcdef" for name in table.record_name[copied]])
    assert found[simple].all()
    assert found.mean() >= 0.95
    assert (table.nearest_record[copied] == originals)[found].all()
    assert (table.part[copied] == "train")[found].all()
    assert table.flagged[~copied].sum() <= 1
    assert table.distance[copied][found].max() < table.distance[~copied].min()
    assert (table.distance[:8] < 1e-6).all()  # the exact ones


def test_a_copy_of_the_holdout_is_said_to_be_one(sets):
    train, holdout, _ = sets
    table = c.find_copies(train, holdout, named(holdout, "copy "), seed=0)
    assert table.flagged.all()
    assert (table.part == "holdout").all()
    assert list(table.nearest_record) == list(holdout.record_name)


@pytest.mark.parametrize("leads", [("I", "II"), ("III", "aVF"), ("V2",), ("V1", "V5")])
def test_any_leads_in_any_order_will_do(sets, leads):
    train, holdout, rest = sets
    synthetic = concat([named(train.take(range(5)), "copy "), named(rest, "real ")])
    table = c.find_copies(train.pick(leads), holdout.pick(leads), synthetic.pick(leads[::-1]), seed=0)
    assert table.flagged[:5].all()
    assert list(table.nearest_record[:5]) == list(train.record_name[:5])
    assert table.flagged[5:].sum() <= 1


def test_polarity_a_spliced_beat_and_other_rates_and_lengths(sets):
    train, holdout, rest = sets
    signal = train.signal[:6].copy()
    signal[0] *= -1
    signal[1, :, 2000:2400] = rest.signal[1, :, 2000:2400]  # another person's beat
    signal[2, :6] *= -1  # the limb leads alone
    signal[3, :, :3500] = rest.signal[3, :, :3500]  # 3 s are left
    table = c.find_copies(train, holdout, named(replace_signal(train, signal), "copy "), seed=0)
    assert table.flagged.all()
    assert list(table.nearest_record) == list(train.record_name[:6])
    slow = ECGSet(signal[4:, :, 1000:4500:2], 250, train.leads, ("slow 4", "slow 5"))
    table = c.find_copies(train, holdout, slow, seed=0)
    assert table.flagged.all()
    assert list(table.nearest_record) == list(train.record_name[4:6])
    half = replace(holdout, signal=holdout.signal[:, :, :2500])
    assert c.find_copies(train, half, slow, seed=0).flagged.all()


def replace_signal(ecgs: ECGSet, signal: np.ndarray) -> ECGSet:
    return replace(ecgs.take(range(len(signal))), signal=signal)


def test_what_is_no_copy_is_not_flagged(sets):
    """Noise, flat lines, time-reversed and averaged ECGs."""
    train, holdout, _ = sets
    rng = np.random.default_rng(0)
    signal = np.stack(
        [
            rng.standard_normal(train.signal[0].shape),
            np.zeros_like(train.signal[0]),
            train.signal[3][:, ::-1],
            train.signal.mean(axis=0),
        ]
    )
    table = c.find_copies(train, holdout, named(replace_signal(train, signal), "odd "), seed=0)
    assert not table.flagged.any()
    assert table.distance[1] == 1
    assert (table.nearest_record[1], table.part[1]) == ("", "")


def test_the_score_is_that_of_its_formula():
    """A stretch with known noise: u is its share of the energy, and the whole of 9 s counts."""
    rng = np.random.default_rng(3)
    fine = rng.standard_normal((5, 2, 5000)).astype(np.float32)
    y = fine[..., ::4].copy()
    noise = rng.standard_normal(y.shape).astype(np.float32) * 0.5
    score = c._score(fine, y + noise, np.zeros(5, int), np.full(5, 1250))
    assert score == pytest.approx(-9 * np.log(0.25 / 1.25), rel=0.1)


def test_the_shift_is_found_to_2_ms():
    t = np.arange(5000) / 500
    rng = np.random.default_rng(4)
    phase = rng.uniform(0, 2 * np.pi, (3, 2, 40, 1))
    wave = np.cos(2 * np.pi * np.linspace(2, 25, 40)[:, None] * t + phase).sum(axis=2).astype(np.float32)
    for late in (-11, -2, 0, 5, 12):
        x = np.roll(wave, late, axis=-1)
        at = np.full(3, 2000)
        np.testing.assert_array_equal(c._best_shift(x, wave[..., ::4], at, at), late)


def test_candidates_are_the_nearest_windows_of_all():
    rng = np.random.default_rng(5)
    mine, real = (c._unit(rng.standard_normal((n, 8)).astype(np.float32)) for n in (10, 331))
    row = np.repeat([0, 1], 5)
    own, other = c._candidates(row, mine, real)
    best = np.abs(mine @ real.T)
    for r in (0, 1):
        here = row[own] == r
        assert here.sum() == c._CANDIDATES
        pairs = sorted((best[i, j], i, j) for i in np.flatnonzero(row == r) for j in np.argsort(-best[i])[:4])
        assert {(i, j) for _, i, j in pairs[-c._CANDIDATES :]} == set(zip(own[here], other[here], strict=True))


def test_limits_follow_the_real_ecgs_within_reason(sets):
    gumbel = np.random.default_rng(6).gumbel([6, 2, 40], [2, 0.2, 9], (4000, 3))
    limits = c._fitted_limits(gumbel)
    assert limits[0] == pytest.approx(6 + 2 * (-np.log(0.003) + np.log(2)), rel=0.05)
    assert (limits[1], limits[2]) == (c._LOWEST_LIMIT, c._HIGHEST_LIMIT)
    gumbel[:40] = 124  # 1 % are copies
    assert c._fitted_limits(gumbel)[0] == pytest.approx(limits[0], rel=0.1)
    train, holdout, rest = (each.take(range(12)) for each in sets)
    table = c.find_copies(train, holdout, rest, seed=0)  # too few to learn from
    assert set(table.attrs["limits"].values()) == {float(c._distance(np.array(c._USUAL_LIMIT)))}


def test_the_same_seed_gives_the_same_table_and_progress_is_told(sets):
    train, holdout, rest = sets
    told: list[tuple[int, int]] = []
    one = c.find_copies(train, holdout, rest, seed=3, progress=lambda *at: told.append(at))
    assert one.equals(c.find_copies(train, holdout, rest, seed=3))
    assert told[-1] == (len(rest), len(rest))


def test_what_cannot_be_compared_is_refused(sets):
    train, holdout, rest = sets
    flat = replace(train, signal=np.zeros_like(train.signal))
    with pytest.raises(EvaluationError, match="holdout holds no ECG"):
        c.find_copies(train, holdout.take([]), rest, seed=0)
    with pytest.raises(EvaluationError, match="synthetic: ECGs of 2 s are too short"):
        c.find_copies(train, holdout, replace(rest, signal=rest.signal[:, :, :1000]), seed=0)
    with pytest.raises(EvaluationError, match="no lead in common"):
        c.find_copies(train.pick(["V1"]), holdout, rest.pick(["V2"]), seed=0)
    with pytest.raises(EvaluationError, match="hold no beat"):
        c.find_copies(flat, replace(holdout, signal=np.zeros_like(holdout.signal)), rest, seed=0)


@pytest.mark.data
@pytest.mark.parametrize(("folder", "fs"), [("ludb", None), ("challenge2021", 500.0)])
def test_planted_copies_of_real_ecgs(data, folder, fs):
    """Sets on which no limit was chosen."""
    ecgs, _ = read(data / folder, fs=fs, resample=fs is not None, seconds=10, leads=LEADS_8)
    train, holdout, rest = pc.parts(ecgs, 4)
    synthetic, originals, copied = mixed(train, rest, 8)
    table = c.find_copies(train, holdout, synthetic, seed=0)
    kind = table.record_name[copied].str[0]
    found = table.flagged[copied] & (table.nearest_record[copied] == originals)
    assert found[kind.isin(list("abcdef"))].all()
    assert found[kind.isin(list("ghi"))].mean() >= 0.9
    assert table.flagged[~copied].sum() <= 1


@pytest.mark.data
def test_other_seconds_of_the_same_heart_are_mostly_no_copy(data):
    """The next windows of the very same recordings: what is most alike without being a copy."""
    windows, _ = read(data / "ptbdb", leads=LEADS_8, fs=500.0, resample=True, seconds=10)
    others, _ = read(data / "ludb", leads=LEADS_8)
    first = np.array([name.endswith("#0") for name in windows.record_name])
    train = concat([windows.take(np.flatnonzero(first)), others.take(range(70))])
    later = windows.take(np.flatnonzero(~first))
    table = c.find_copies(train, others.take(range(70, len(others))), later, seed=0)
    own = [a.split("#")[0] == b.split("#")[0] for a, b in zip(table.record_name, table.nearest_record, strict=True)]
    assert np.mean(own) > 0.5  # it is the person that they resemble most
    assert table.flagged.mean() <= 0.25
