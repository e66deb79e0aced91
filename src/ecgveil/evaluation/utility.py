"""Utility: are the synthetic ECGs of use to whoever trains a classifier of diagnoses?

Classifiers of two kinds (`classifiers`) learn the labels from real ECGs, from synthetic ones (TSTR; Esteban, Hyland,
Ratsch, arXiv 1706.02633, 2017), and from both, and are tested on real ECGs of other patients; those that learned from
real ECGs are tested on the synthetic ones too (TRTS). Alike in all arms: the training steps, so that more data is not
more training; the weight of every record; how a score becomes a call. Where real and synthetic ECGs are pooled, there
are as many synthetic ones as the whole real training set has.

A class is called where its score exceeds the one that, of the records learned from, as large a share exceeds as bears
the class. Neither the threshold nor anything else is chosen on the test part.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation.bootstrap import Figure, draws, figure, mean, weighted_auc, weighted_f1
from ecgveil.evaluation.classifiers import CLASSIFIERS, Classifier, lead_scale, waveforms
from ecgveil.evaluation.metric import LEAST_N, TOO_FEW, Metric
from ecgveil.people import named

MOST = 1200  # ECGs of each set that are used: 42 trainings of as many as that take ten minutes
QUICK_MOST = 500
LEAST = 10  # a class is used where so many people of train and of holdout bear it, and as many do not
MACRO = "macro"
COLUMNS = ("classifier", "training", "share_of_real", "tested_on", "seed", "n_training", "class", "auroc", "f1")

AS_USEFUL = "no worse than real ECGs, as far as this n can tell"
LESS_USEFUL = "less useful than real ECGs"
USELESS = "no better than guessing"
HELPS = "synthetic ECGs help"
HARMS = "synthetic ECGs harm"
NO_GAIN = "no gain shown, nor harm"
REFERENCE = "for comparison"
_FLOOR_OF = "the same classifiers trained on real ECGs alone"

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class _Arm:
    """What is learned from: a share of the real ECGs, with or without the synthetic ones."""

    share: float
    synthetic: bool
    on_synthetic: bool = False  # tested there, instead of on the holdout

    @property
    def training(self) -> str:
        return "synthetic" if not self.share else "real + synthetic" if self.synthetic else "real"


_REAL = _Arm(1.0, False)
_TSTR = _Arm(0.0, True)


@dataclass(frozen=True, eq=False)
class _Result:
    """Scores and calls (seeds, n, k) of one classifier in one arm, and the number of ECGs learned from, (seeds,)."""

    scores: np.ndarray
    calls: np.ndarray
    n_training: np.ndarray


def utility_metrics(
    train: ECGSet,
    holdout: ECGSet,
    synthetic: ECGSet | None,
    *,
    seed: int,
    seeds: int = 3,
    fractions: Sequence[float] = (0.01, 0.1, 1.0),
    classifiers: Sequence[str] = tuple(CLASSIFIERS),
    quick: bool = False,
    progress: Progress | None = None,
) -> tuple[list[Metric], pd.DataFrame, list[str]]:
    """How well classifiers of the labels do that learned from synthetic ECGs, from real ones, and from both.

    Parameters
    ----------
    train, holdout, synthetic : ECGs with labels; no patient in both train and holdout. Train and synthetic are drawn
        down to equal numbers. Without synthetic, there are the figures of real ECGs alone
    seed : for all draws
    seeds : trainings of each classifier in each arm, each with its own start and its own draw of the real share; the
        figures are means over them
    fractions : shares of the real ECGs; 1.0 is added where missing. A share has at least one record of each class:
        where chance left a class out, a record of it is drawn first, the rarest class first
    classifiers : names among 'resnet', 'rocket'
    quick : one seed, all real ECGs, less training and at most 500 ECGs of each set
    progress : called with (done, total) trainings

    Returns
    -------
    metrics : with `<figure>` the mean over the classifiers and `<figure>_<classifier>` of each, macro AUROC with
        intervals over test patients and seeds: `tstr_auroc`, `trts_auroc`, `real_auroc_<percent>`,
        `real_plus_synthetic_auroc_<percent>`, `augmentation_gain_auroc_<percent>` (of the same patients and seeds,
        paired), `rarest_class_gain_auroc` (with all real ECGs); and `tstr_f1_<class>`
    table : a row for each classifier, arm, seed and class, and for the mean over classes, named 'macro'
    notes : sentences on what was left out, and why there are no figures where there are none

    Raises
    ------
    EvaluationError
        Sets are empty or differ in form, a patient is in both train and holdout, an argument is out of range, or
        sktime is not installed and 'rocket' is asked for.
    """
    sets = {"train": train, "holdout": holdout} | ({} if synthetic is None else {"synthetic": synthetic})
    _check(sets, seeds, fractions, classifiers)
    names, notes = _classes(sets)
    if not names:
        return [], pd.DataFrame(columns=COLUMNS), notes
    if quick:
        seeds, fractions = 1, (1.0,)
    shares = sorted({*fractions, 1.0})
    data, more = _Data.of(train, holdout, synthetic, names, QUICK_MOST if quick else MOST, seed)
    arms = [_Arm(share, False) for share in shares]
    if synthetic is not None:
        arms += [_Arm(share, True) for share in (0.0, *shares)]
    results = _train_all(data, arms, seed, seeds, classifiers, quick, progress)
    return _metrics(data, results, shares, seeds, seed), _table(data, results), notes + more


@dataclass(frozen=True, eq=False)
class _Data:
    """The three sets as arrays: waveforms (n, C, T), targets (n, k), patients (n,)."""

    names: tuple[str, ...]
    real: np.ndarray
    real_targets: np.ndarray
    made: np.ndarray
    made_targets: np.ndarray
    made_patients: np.ndarray
    tested: np.ndarray
    tested_targets: np.ndarray
    tested_patients: np.ndarray

    @classmethod
    def of(
        cls, train: ECGSet, holdout: ECGSet, synthetic: ECGSet | None, names: tuple[str, ...], most: int, seed: int
    ) -> tuple[_Data, list[str]]:
        rng = np.random.default_rng([seed, 42])
        n = min(len(train), most, len(train) if synthetic is None else len(synthetic))
        notes, kept = [], []
        for name, ecgs, size in (("train", train, n), ("synthetic", synthetic, n), ("holdout", holdout, most)):
            ecgs = train.take([]) if ecgs is None else ecgs
            if len(ecgs) > size:
                notes.append(f"Utility: {size} of the {len(ecgs)} {name} ECGs, drawn at random, are used.")
                ecgs = ecgs.take(np.sort(rng.choice(len(ecgs), size, replace=False)))
            kept.append(ecgs)
        waves = [waveforms(ecgs.pick(train.leads)) for ecgs in kept]
        length, scale = min(x.shape[2] for x in waves), lead_scale(waves[0])
        real, made, tested = (x[..., :length] / scale for x in waves)
        targets = [borne(ecgs, names) for ecgs in kept]
        patients = [np.array(ecgs.patient_id) for ecgs in kept]
        return cls(names, real, targets[0], made, targets[1], patients[1], tested, targets[2], patients[2]), notes


def share_rows(targets: np.ndarray, share: float) -> np.ndarray:
    """The first rows, a share of them, at least one of each class and two in all.

    A record of each class comes first, of the rarest class first; a smaller share is part of a larger one.

    Parameters
    ----------
    targets : (n, k), 0 or 1, in random order
    share : over 0, at most 1

    >>> share_rows(np.array([[0, 0], [1, 0], [1, 0], [1, 1]]), 0.25)
    array([3, 0])
    """
    first: list[int] = []
    for column in np.argsort(targets.sum(axis=0), kind="stable"):
        bearing = np.flatnonzero(targets[:, column])
        if len(bearing) and not targets[first, column].any():
            first.append(int(bearing[0]))
    order = np.concatenate([np.array(first, int), np.setdiff1d(np.arange(len(targets)), first)])
    return order[: max(2, len(first), round(share * len(targets)))]


def _train_all(
    data: _Data,
    arms: list[_Arm],
    seed: int,
    seeds: int,
    classifiers: Sequence[str],
    quick: bool,
    progress: Progress | None,
) -> dict[tuple[str, _Arm], _Result]:
    """Every classifier in every arm; the arm of all real ECGs is tested on the synthetic ones as well."""
    found: dict[tuple[str, _Arm], list[tuple[np.ndarray, np.ndarray, int]]] = {}
    done, total = 0, len(arms) * len(classifiers) * seeds
    for repeat in range(seeds):
        rng = np.random.default_rng([seed, 43, repeat])
        order, start = rng.permutation(len(data.real)), int(rng.integers(2**31))
        for arm in arms:
            kept = order[share_rows(data.real_targets[order], arm.share)] if arm.share else order[:0]
            added = slice(None) if arm.synthetic else slice(0)
            x = np.concatenate([data.real[kept], data.made[added]])
            targets = np.concatenate([data.real_targets[kept], data.made_targets[added]])
            twice = arm.share == 1 and not arm.synthetic and len(data.made)
            tested = [data.tested, data.made] if twice else [data.tested]
            for name in classifiers:
                outcomes = learn(CLASSIFIERS[name], x, targets, tested, seed=start, quick=quick)
                for (scores, calls), on_synthetic in zip(outcomes, (False, True), strict=False):
                    key = (name, replace(arm, on_synthetic=on_synthetic))
                    found.setdefault(key, []).append((scores, calls, len(x)))
                done += 1
                if progress:
                    progress(done, total)
    return {
        key: _Result(*(np.array([each[i] for each in of_seeds]) for i in range(3))) for key, of_seeds in found.items()
    }


def learn(
    classifier: Classifier,
    x: np.ndarray,
    targets: np.ndarray,
    tested: Sequence[np.ndarray],
    *,
    seed: int,
    quick: bool = False,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores and calls, (n, k) each, of a classifier on each set of ECGs it is tested on.

    A class that none or all of the records learned from bear cannot be learned: its scores are all alike, and it is
    not called, or always.
    """
    scores, *of_tested = classifier(x, targets, [x, *tested], seed=seed, quick=quick)
    share = targets.mean(axis=0)
    mute = (share == 0) | (share == 1)
    order = np.sort(scores, axis=0)[::-1]
    bearing = np.clip(targets.sum(axis=0).astype(int), 1, max(len(x) - 1, 1))
    columns = np.arange(targets.shape[1])
    thresholds = (order[bearing - 1, columns] + order[np.minimum(bearing, len(x) - 1), columns]) / 2
    return [
        (np.where(mute, 0.0, each), np.where(mute, share == 1, each > thresholds).astype(bool)) for each in of_tested
    ]


def _metrics(
    data: _Data, results: dict[tuple[str, _Arm], _Result], shares: list[float], seeds: int, seed: int
) -> list[Metric]:
    on_real = draws(data.tested_patients, seeds, seed)
    on_made = draws(data.made_patients, seeds, seed) if len(data.made) else on_real
    areas, f1s = {}, {}
    for (name, arm), result in results.items():
        targets, drawn = (data.made_targets, on_made) if arm.on_synthetic else (data.tested_targets, on_real)
        areas[name, arm] = figure(weighted_auc, result.scores, targets, drawn)
        f1s[name, arm] = figure(weighted_f1, result.calls, targets, drawn)
    used = tuple(dict.fromkeys(name for name, _ in results))
    rarest = int(np.argmin(data.real_targets.sum(axis=0)))
    n = len(set(data.tested_patients)), len(set(data.made_patients))
    metrics = []
    for suffix, group in [("", used), *((f"_{name}", (name,)) for name in used)]:
        of_group = {arm: mean([areas[name, arm] for name in group]) for _, arm in results}
        metrics += _auroc_metrics(of_group, shares, rarest, n, suffix)
    if not len(data.made):
        return metrics
    made, real = (mean([f1s[name, arm] for name in used]) for arm in (_TSTR, _REAL))
    for i, name in enumerate(data.names):
        verdict = _verdict(made.at(i), real.at(i), float("-inf"))
        metrics.append(_metric(f"tstr_f1_{name}", made.at(i), real.value[i], n[0], verdict))
    return metrics


def _auroc_metrics(
    areas: dict[_Arm, Figure], shares: list[float], rarest: int, n: tuple[int, int], suffix: str
) -> list[Metric]:
    """The figures of one classifier, or of the mean of several."""
    macro = {arm: each.macro() for arm, each in areas.items()}
    real = macro[_REAL]
    metrics = [
        _metric(f"real_auroc_{100 * share:g}{suffix}", macro[_Arm(share, False)], real.value[0], n[0], REFERENCE)
        for share in shares
    ]
    if _TSTR not in areas:
        return metrics
    tstr, trts = macro[_TSTR], macro[replace(_REAL, on_synthetic=True)]
    metrics = [
        _metric(f"tstr_auroc{suffix}", tstr, real.value[0], n[0], _verdict(tstr, real)),
        _metric(f"trts_auroc{suffix}", trts, real.value[0], n[1], _verdict(trts, None)),
        *metrics,
    ]
    for share in shares:
        alone, both = macro[_Arm(share, False)], macro[_Arm(share, True)]
        gain, percent = both.minus(alone), f"{100 * share:g}{suffix}"
        metrics += [
            _metric(f"real_plus_synthetic_auroc_{percent}", both, alone.value[0], n[0], _gain_verdict(gain)),
            _metric(f"augmentation_gain_auroc_{percent}", gain, 0.0, n[0], _gain_verdict(gain)),
        ]
    of_rarest = areas[replace(_REAL, synthetic=True)].minus(areas[_REAL]).at(rarest)
    return [*metrics, _metric(f"rarest_class_gain_auroc{suffix}", of_rarest, 0.0, n[0], _gain_verdict(of_rarest))]


def _metric(name: str, of: Figure, floor: float, n: int, verdict: str) -> Metric:
    low, high = of.interval()
    told = TOO_FEW if n < LEAST_N or not np.isfinite(of.value[0]) else verdict
    return Metric("utility", name, float(of.value[0]), low, high, "higher", float(floor), n, told, _FLOOR_OF)


def _verdict(of: Figure, real: Figure | None, chance: float = 0.5) -> str:
    """`real`: what real ECGs reach on the same test, None where the test is another."""
    if of.interval()[0] <= chance:
        return USELESS
    if real is None:
        return REFERENCE
    return LESS_USEFUL if of.minus(real).interval()[1] < 0 else AS_USEFUL


def _gain_verdict(gain: Figure) -> str:
    low, high = gain.interval()
    return HELPS if low > 0 else HARMS if high < 0 else NO_GAIN


def _table(data: _Data, results: dict[tuple[str, _Arm], _Result]) -> pd.DataFrame:
    rows = []
    for (name, arm), result in results.items():
        targets = data.made_targets if arm.on_synthetic else data.tested_targets
        one = np.ones((1, len(targets)))
        for repeat, (scores, calls) in enumerate(zip(result.scores, result.calls, strict=True)):
            values = np.array(
                [
                    [float(each(of[:, i], targets[:, i], one)[0]) for i in range(len(data.names))]
                    for each, of in ((weighted_auc, scores), (weighted_f1, calls))
                ]
            )
            means = [float(row[np.isfinite(row)].mean()) if np.isfinite(row).any() else np.nan for row in values]
            tested_on = "synthetic" if arm.on_synthetic else "real"
            head = (name, arm.training, arm.share, tested_on, repeat, int(result.n_training[repeat]))
            for label, area, f1 in zip(
                (*data.names, MACRO), [*values[0], means[0]], [*values[1], means[1]], strict=True
            ):
                rows.append((*head, label, area, f1))
    return pd.DataFrame(rows, columns=COLUMNS)


def borne(ecgs: ECGSet, names: tuple[str, ...]) -> np.ndarray:
    """Which ECG bears which label, (n, k)."""
    return np.array([[name in labels for name in names] for labels in ecgs.labels], int).reshape(len(ecgs), len(names))


def _classes(sets: dict[str, ECGSet]) -> tuple[tuple[str, ...], list[str]]:
    """Labels that can be learned and tested, most frequent first, and sentences on those that cannot."""
    bearing = {name: _bearing(ecgs) for name, ecgs in sets.items()}
    bare = [name for name in sets if not bearing[name]]
    if bare:
        return (), [f"Utility was not measured: the ECGs of {', '.join(bare)} bear no labels."]
    real = ("train", "holdout")
    seen = set(bearing["train"]) | set(bearing["holdout"])
    everybody = {name: len(set(sets[name].patient_id)) for name in real}
    enough = {x for x in seen if all(LEAST <= len(bearing[name][x]) <= everybody[name] - LEAST for name in real)}
    names = tuple(sorted(enough, key=lambda label: (-len(bearing["train"][label]), label)))
    odd, notes = sorted(seen - enough), []
    if odd:
        shown = named({label: sum(len(bearing[name][label]) for name in real) for label in odd})
        notes.append(
            f"Utility: labels are used that at least {LEAST} people of train and of holdout bear and {LEAST} do not; "
            f"not so {shown}."
        )
    never = [name for name in names if "synthetic" in sets and not bearing["synthetic"][name]]
    if len(never) == len(names):
        reason = "no synthetic ECG bears a label that is used" if names else "no label is frequent enough"
        return (), [*notes, f"Utility was not measured: {reason}."]
    if never:
        notes.append(f"Utility: no synthetic ECG bears {', '.join(never)}: guessed at where only they teach.")
    return names, notes


def _bearing(ecgs: ECGSet) -> defaultdict[str, set[str]]:
    """Who bears each label in any ECG."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for patient, labels in zip(ecgs.patient_id, ecgs.labels, strict=True):
        for label in labels:
            found[label].add(patient)
    return found


def _check(sets: dict[str, ECGSet], seeds: int, fractions: Sequence[float], classifiers: Sequence[str]) -> None:
    train = sets["train"]
    for name, ecgs in sets.items():
        if not len(ecgs):
            raise EvaluationError(f"{name} holds no ECG; utility needs train, holdout and synthetic ECGs")
        if (ecgs.fs, ecgs.units, set(ecgs.leads)) != (train.fs, train.units, set(train.leads)):
            raise EvaluationError(
                f"{name} has {ecgs.fs:g} Hz, {ecgs.units} and leads {', '.join(ecgs.leads)}, train {train.fs:g} Hz, "
                f"{train.units} and {', '.join(train.leads)}; bring the sets to one form first"
            )
    shared = set(train.patient_id) & set(sets["holdout"].patient_id)
    if shared:
        raise EvaluationError(f"{len(shared)} patients are in both train and holdout; split by patient")
    if seeds < 1:
        raise EvaluationError(f"seeds is {seeds}; at least 1 is needed")
    if not all(0 < share <= 1 for share in fractions):
        raise EvaluationError(f"fractions are {', '.join(map(str, fractions))}; each must be over 0 and at most 1")
    unknown = [name for name in classifiers if name not in CLASSIFIERS]
    if unknown or not classifiers:
        raise EvaluationError(
            f"classifiers are {', '.join(classifiers) or 'none'}; name some of {', '.join(CLASSIFIERS)}"
        )
