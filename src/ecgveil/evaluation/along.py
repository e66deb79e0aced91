"""Measures along training: each checkpoint's synthetic ECGs against real ones, and what the measures have in common.

After Pon Bharathi et al. (Image augmentation on ECG image dataset using GAN, section 4 and Fig. 3), who follow the
Frechet distance, the Jensen-Shannon divergence, validated rules and a classifier over epochs, and ask which of them
tells how many rules hold; with the maximum mean discrepancy and the dynamic time warping of the works they cite.

The training patients are halved: encoder, scales and bins are learned from one half, and the other half is what
synthetic ECGs are compared with. Holdout ECGs in their place are the floor. All rows compare equally many ECGs, as most
of these measures depend on how many there are. Copies of training ECGs would look good here: `copies` looks for those.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from math import factorial

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation.along_task import Task
from ecgveil.evaluation.along_views import WAVE_HZ, Lens, View, single_beats
from ecgveil.evaluation.distribution import frechet
from ecgveil.evaluation.divergence import mean_divergence
from ecgveil.evaluation.dtw import dtw_matrix
from ecgveil.evaluation.embedding import DIMENSIONS, STEPS
from ecgveil.evaluation.features import draw_rows
from ecgveil.evaluation.metric import LEAST_N, Better
from ecgveil.evaluation.rules import rules_metrics
from ecgveil.evaluation.spectra import mmd

MEASURES: dict[str, Better] = {
    "fid": "lower",
    "fid_measurements": "lower",
    "js": "lower",
    "mmd": "lower",
    "dtw": "lower",
    "dtw_missed": "lower",
    "rules_valid_share": "higher",
    "rules_error_increase": "lower",
    "rules_support_change": "lower",
    "accuracy": "higher",
    "macro_f1": "higher",
}
REAL = "real"  # the row of holdout ECGs in the place of synthetic ones
BAND_MS = 50.0  # by which a wave may come earlier or later, in DTW
HALVES = 20
MOST_ORDERS, ORDERS = 7, 9999  # of checkpoints: all are tried up to so many, or so many random ones

Progress = Callable[[int, int], object]


def along(
    train: ECGSet,
    holdout: ECGSet,
    checkpoints: Mapping[int, ECGSet],
    *,
    seed: int,
    most: int = 1000,
    encoder_steps: int = STEPS,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """All measures of the synthetic ECGs of each checkpoint, and of real ECGs in their place.

    ECGs of at most 2 s are taken for single beats: what takes clinical measurements then takes `beat_features`.

    Parameters
    ----------
    train : the ECGs that the generator learned from
    holdout : real ECGs of other patients
    checkpoints : epoch, or step, and what the generator made then; all in the form of train
    seed : for halves, draws, encoder and classifier; a checkpoint's row depends on the others only by `n`
    most : ECGs compared at most, one for each patient
    encoder_steps : of `embedding.fit_encoder`
    progress : called with (done, total) sets looked at

    Returns
    -------
    DataFrame
        A row for each checkpoint, by its number, then the row 'real'. Columns, each but the last with `_low` and
        `_high`, ends of a 95 % interval over the ECGs:
        fid: Frechet distance of what the self-taught encoder of `embedding` sees (single beats are shown to it again
        and again, as a strip); fid_measurements: of the measurements, scaled as train asks; js: Jensen-Shannon
        divergence of the measurements' histograms over deciles of train, mean over the measurements, bits, 0 to 1;
        mmd: squared maximum mean discrepancy of waves, Gaussian kernel as wide as the median distance of real ones,
        unbiased; dtw: mean distance, by dynamic time warping within 50 ms, of each synthetic wave to its nearest real
        one, and dtw_missed of each real one to its nearest synthetic one (large where a generator makes few kinds), uV
        where the unit is mV. The wave is the beat, or the median beat of a window, in lead II or else the first lead.
        rules_valid_share, rules_error_increase: of `rules.rules_metrics`; rules_support_change: mean change of the
        rules' support from real ECGs, no interval; accuracy, macro_f1: of a classifier that learned the labels from
        the synthetic ECGs and is tested on holdout ECGs; in the row 'real' it learned from training ECGs.
        n: ECGs compared on each side. `attrs` has `notes` (sentences on what is missing, and why), `n`, `n_rules`,
        `form` ('beats' or 'windows'), `lead`, `seed`.

    Raises
    ------
    EvaluationError
        There is no checkpoint, a set is empty or differs in form, a patient is in train and in holdout, or there are
        too few patients.
    """
    _check(train, holdout, checkpoints)
    rng = np.random.default_rng([seed, 70])
    learned, reference = _halves(train, most, rng)
    n = min(most, *(len(np.unique(each.patient_id)) for each in (reference, holdout, *checkpoints.values())))
    if n < LEAST_N:
        raise EvaluationError(f"{n} patients on the smallest side are too few to compare; give {LEAST_N} or more")
    reference, held = _drawn(reference, n, rng), _drawn(holdout.pick(train.leads), n, rng)
    notes = _form_notes(train, n)
    task, said = Task.of(learned, held, seed=seed)
    notes += said
    lens, learned_table = Lens.fit(learned, seed=seed, steps=encoder_steps)
    compared = _Compared(lens, lens.view(reference), lens.view(held), learned_table, np.array(learned.patient_id), seed)
    rows: dict[int | str, dict[str, float]] = {}
    for done, (step, ecgs) in enumerate(sorted(checkpoints.items()), start=1):
        drawn = _drawn(ecgs.pick(train.leads), n, np.random.default_rng([seed, 71, step]))
        scores, said = task.learn_from(drawn)
        notes += [f"Checkpoint {step}: {each}" for each in said]
        rows[step] = compared.row(lens.view(drawn), step) | scores
        if progress:
            progress(done, len(checkpoints) + 1)
    rows[REAL] = compared.row(compared.held, 0) | task.learn_from(_drawn(learned, min(n, len(learned)), rng))[0]
    if progress:
        progress(len(checkpoints) + 1, len(checkpoints) + 1)
    return _table(rows, n, notes, train, lens, seed)


class _Compared:
    """Real ECGs, ready to be compared with others."""

    def __init__(
        self, lens: Lens, real: View, held: View, learned: pd.DataFrame, learned_people: np.ndarray, seed: int
    ) -> None:
        self.lens, self.real, self.held, self.seed = lens, real, held, seed
        self.table = pd.concat([learned, real.table], ignore_index=True)
        self.people = np.concatenate([learned_people, real.patient_id])
        self.band = round(BAND_MS / 1000 * WAVE_HZ)

    def row(self, other: View, step: int) -> dict[str, float]:
        """The measures of one set, without those of the classifier."""
        rng = np.random.default_rng([self.seed, 72, step])
        edges, width = self.lens.edges, self.lens.width
        statistics: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray], float]]] = {
            "fid": ("encoded", frechet),
            "fid_measurements": ("scaled", frechet),
            "js": ("measured", lambda one, two: mean_divergence(one, two, edges)),
            "mmd": ("wave", lambda one, two: mmd(one, two, width)),
        }
        row: dict[str, float] = {}
        for name, (what, statistic) in statistics.items():
            least = -np.inf if name == "mmd" else 0.0
            row |= _with_interval(name, statistic, getattr(self.real, what), getattr(other, what), least, rng)
        apart = dtw_matrix(other.wave, self.real.wave, self.band)
        row |= _mean("dtw", apart.min(axis=1)) | _mean("dtw_missed", apart.min(axis=0))
        return row | self._rules(other)

    def _rules(self, other: View) -> dict[str, float]:
        people = (self.people, self.held.patient_id, other.patient_id)
        found, rules = rules_metrics(
            self.table, self.held.table, other.table, people, seed=self.seed, columns=self.lens.columns
        )
        row: dict[str, float] = {}
        for metric in found[:2]:
            row |= {
                metric.name: metric.value,
                f"{metric.name}_low": metric.ci_low,
                f"{metric.name}_high": metric.ci_high,
            }
        change = (rules["support_synthetic"] - rules["support_train"]).abs()
        return row | {"rules_support_change": float(change.mean()), "n_rules": float(len(rules))}


def correlations(table: pd.DataFrame, target: str = "rules_valid_share") -> pd.DataFrame:
    """Spearman's correlation of each measure with the share of valid rules, over the checkpoints.

    Checkpoints are few, and those of one training are not independent: whatever improves with training goes together
    with whatever else does. So a correlation here says that a measure follows the rules along this training, not that
    it would tell one generator from another.

    Parameters
    ----------
    table : of `along`; the row 'real' is left out
    target : another measure to correlate with

    Returns
    -------
    DataFrame
        A row for each other measure with three checkpoints or more where both are known: spearman; low, high, of its
        95 % interval (Bonett and Wright, Psychometrika 65:23, 2000; of 1 or -1 that of the next value within, as its
        own would have no width), NaN below five; p_value, two-sided, of exchanging
        checkpoints (all orders of up to seven, otherwise 9,999 random ones); least_p, the smallest that so many
        checkpoints could give; n, checkpoints; expected, the sign where the measure does what it is for; agrees.
        NaN where a measure does not vary. `attrs["note"]` says how much so few can tell.

    Raises
    ------
    EvaluationError
        There is no such measure.
    """
    if target not in MEASURES or target not in table:
        raise EvaluationError(f"{target!r} is not a measure of the table; name one of {', '.join(MEASURES)}")
    seen = table[[str(step) != REAL for step in table.index]]
    rows = {}
    for name in MEASURES:
        if name == target or name not in seen:
            continue
        pair = seen[[name, target]].to_numpy(float)
        pair = pair[np.isfinite(pair).all(axis=1)]
        expected = 1 if MEASURES[name] == MEASURES[target] else -1
        if len(pair) >= 3:
            found = _spearman(pair[:, 0], pair[:, 1])
            agrees = bool(found["spearman"] * expected > 0)
            rows[name] = {**found, "n": len(pair), "expected": expected, "agrees": agrees}
    columns = ["spearman", "low", "high", "p_value", "least_p", "n", "expected", "agrees"]
    result = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    result.attrs["note"] = _how_little(len(seen))
    return result


def best_checkpoint(table: pd.DataFrame, by: str = "fid") -> int:
    """The checkpoint that is best by one measure, the earlier of equals.

    Raises
    ------
    EvaluationError
        There is no such measure, or it is not known of any checkpoint.
    """
    values = table.loc[[str(step) != REAL for step in table.index], by] if by in MEASURES and by in table else None
    if values is None or not np.isfinite(values.to_numpy(float)).any():
        raise EvaluationError(f"no checkpoint has a value of {by!r}; choose by another of {', '.join(MEASURES)}")
    known = values[np.isfinite(values.to_numpy(float))].astype(float)
    return int(known.idxmin() if MEASURES[by] == "lower" else known.idxmax())


def _check(train: ECGSet, holdout: ECGSet, checkpoints: Mapping[int, ECGSet]) -> None:
    if not checkpoints:
        raise EvaluationError("there is no checkpoint; give the synthetic ECGs of at least one")
    form = ("fs", "units", "n_samples")
    for name, ecgs in {
        "train": train,
        "holdout": holdout,
        **{f"checkpoint {k}": v for k, v in checkpoints.items()},
    }.items():
        if not len(ecgs):
            raise EvaluationError(f"{name} holds no ECG; give at least {LEAST_N}")
        found, needed = ([getattr(each, what) for what in form] for each in (ecgs, train))
        if found != needed or set(ecgs.leads) != set(train.leads):
            raise EvaluationError(
                f"{name} has {', '.join(form)} {found} and leads {', '.join(ecgs.leads)}, train {needed} and "
                f"{', '.join(train.leads)}; bring the sets to one form first"
            )
    shared = set(train.patient_id) & set(holdout.patient_id)
    if shared:
        raise EvaluationError(f"{len(shared)} patients are in both train and holdout; split by patient")


def _halves(train: ECGSet, most: int, rng: np.random.Generator) -> tuple[ECGSet, ECGSet]:
    """One half of the patients to learn from, `most` ECGs of different patients at most, and all of the other half."""
    people = np.unique(train.patient_id)
    learns = np.isin(train.patient_id, rng.permutation(people)[: len(people) // 2])
    if len(people) < 2 * LEAST_N:
        raise EvaluationError(f"train has {len(people)} patients, too few to halve; give {2 * LEAST_N} or more")
    return _drawn(train.take(np.flatnonzero(learns)), most, rng), train.take(np.flatnonzero(~learns))


def _drawn(ecgs: ECGSet, most: int, rng: np.random.Generator) -> ECGSet:
    """One ECG of each of at most so many patients, drawn at random."""
    people = np.array(ecgs.patient_id)
    return ecgs.take(np.sort(draw_rows(people, min(most, len(np.unique(people))), rng, replace=False)))


def _with_interval(
    name: str,
    statistic: Callable[[np.ndarray, np.ndarray], float],
    real: np.ndarray,
    other: np.ndarray,
    least: float,
    rng: np.random.Generator,
) -> dict[str, float]:
    """A statistic and its interval from random halves of both sets, as in `distribution`."""
    value, half = statistic(real, other), len(real) // 2
    halves = np.array([
        statistic(real[rng.permutation(len(real))[:half]], other[rng.permutation(len(other))[:half]])
        for _ in range(HALVES)
    ])  # fmt: skip
    reach = 1.96 * float(halves.std(ddof=1))
    return {name: value, f"{name}_low": max(least, value - reach), f"{name}_high": value + reach}


def _mean(name: str, values: np.ndarray) -> dict[str, float]:
    """A mean over ECGs and its interval, by the normal approximation."""
    middle, reach = float(values.mean()), 1.96 * float(values.std(ddof=1)) / np.sqrt(len(values))
    return {name: middle, f"{name}_low": max(0.0, middle - reach), f"{name}_high": middle + reach}


def _form_notes(train: ECGSet, n: int) -> list[str]:
    notes = [] if train.units == "mV" else [f"The unit is {train.units}, not mV: for uV read 0.001 {train.units}."]
    if n <= DIMENSIONS:
        notes.append(f"{n} ECGs are compared, no more than the encoder has numbers: Frechet distances are coarse.")
    return notes


def _table(
    rows: dict[int | str, dict[str, float]], n: int, notes: list[str], train: ECGSet, lens: Lens, seed: int
) -> pd.DataFrame:
    ends = [f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")]
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("checkpoint")
    n_rules = int(table["n_rules"].iloc[-1])
    if not n_rules:
        notes.append("Rules were not followed: nothing in the training ECGs makes a rule.")
    table = table[[name for name in ends if name in table]].assign(n=n)
    form = "beats" if single_beats(train) else "windows"
    table.attrs |= {"notes": notes, "n": n, "n_rules": n_rules, "form": form, "lead": lens.lead, "seed": seed}
    table.attrs |= {"seconds": train.seconds, "n_leads": len(train.leads), "units": train.units}
    return table


def _spearman(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Spearman's correlation, its interval, and its p value by exchanging."""
    nan = float("nan")
    one, two = (rankdata(each) - (len(x) + 1) / 2 for each in (x, y))
    size = float(np.sqrt((one**2).sum() * (two**2).sum()))
    if size == 0:
        return {"spearman": nan, "low": nan, "high": nan, "p_value": nan, "least_p": nan}
    rho, n = float(one @ two) / size, len(x)
    if n <= MOST_ORDERS:
        others = np.abs(two[np.array(list(itertools.permutations(range(n))))] @ one) / size
    else:
        mixed = np.random.default_rng([0, 73]).permuted(np.tile(two, (ORDERS, 1)), axis=1)
        others = np.append(np.abs(mixed @ one) / size, abs(rho))
    p = float((others >= abs(rho) - 1e-9).mean())
    least_p = float((others >= others.max() - 1e-9).mean()) if n <= MOST_ORDERS else 1 / len(others)
    low = high = nan
    if n >= 5:
        next_to_one = 1 - 12 / (n**3 - n)
        inner = float(np.clip(rho, -next_to_one, next_to_one))
        reach = 1.96 * np.sqrt((1 + inner**2 / 2) / (n - 3))
        low, high = (float(np.tanh(np.arctanh(inner) + sign * reach)) for sign in (-1, 1))
        low, high = min(low, rho), max(high, rho)
    return {"spearman": rho, "low": low, "high": high, "p_value": p, "least_p": least_p}


def _how_little(n: int) -> str:
    if n < 3:
        return f"There are {n} checkpoints: a correlation takes three at least."
    least = f"{2 / factorial(n):.2g}" if n <= MOST_ORDERS else f"{1 / (ORDERS + 1):.1g}"
    return (
        f"{n} checkpoints of one training: the least p value that so many can give is {least}, and what improves with "
        "training goes together with whatever else does."
    )
