"""Canaries: odd ECGs planted in training, that a generator has no reason to make again unless it learns by heart.

Many odd ECGs are drawn by one recipe; a few are planted among the training ECGs, the others stay references. Had the
generator learned nothing of the planted ones, any of them could as well have been a reference, so its rank among them,
by how near the synthetic ECGs come to it, is a matter of chance. Exposure says in bits how far up the ranks it is
(Carlini, Liu, Erlingsson, Kos, Song, USENIX Security 2019, 267).

A canary is no patient's ECG: it is the mean beat of the training set with its leads mixed, and waves laid over it that
belong to no heart, at a normal rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal.windows import tukey
from scipy.stats import beta, chi2, hypergeom

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation.metric import TOO_FEW, Metric
from ecgveil.evaluation.privacy import BeatShapes, clopper_pearson, distances
from ecgveil.leads import DERIVED, pick
from ecgveil.measure.beats import median_beat, r_peaks

REFERENCES = 1023  # then the highest exposure is 10 bits, and one canary of ten learned by heart is found
CHANCE_BITS = float(1 / np.log(2))  # mean exposure without leakage: -log2 of a uniform number
LEVEL = 0.025  # probability that any of the tests here cries leakage where there is none
TESTS = 2  # the mean exposure, and how many canaries come before all references
POWER = 0.8
TELLING = 0.5  # where only a larger share learned by heart would be found, none found says too little

NO_EVIDENCE = "no evidence of leakage"
LEAKAGE = "leakage"
EPSILON = "at least this with 97.5 % confidence; how much more, no attack can tell"
NAMES = ("canary_exposure_mean_bits", "canary_exposure_highest_bits", "canary_first_share", "canary_epsilon_lower")
_FLOOR_OF = "references, which were never planted, in the place of canaries"

LEAST_SECONDS = 2.0
_BEFORE_MS, _AFTER_MS = 250, 450  # of a beat
_RR_S = (0.75, 1.05)
_RR_SPREAD = 0.03
_WHOLE_MS = (240, 440)  # what `privacy.beat_shapes` needs of it
_WAVES, _WAVES_MS, _WIDTH_MS = 5, (-180.0, 380.0), (15.0, 45.0)  # laid over each beat, around its R peak
_HEIGHT = 0.35  # of such a wave, as a share of the R peak's
_MIXING, _GAINS = 0.25, (0.5, 1.3)
_NOISE, _NOISE_S = 0.01, 0.004  # share of the R peak, and how smooth
_MEAN_OF, _BLOCK, _TRIES = 500, 64, 5
_DRAWS = 10000
_SAME = 1e-3  # uV

Progress = Callable[[int, int], object]


def make_canaries(
    train: ECGSet, number: int, *, seed: int, references: int = REFERENCES, progress: Progress | None = None
) -> tuple[ECGSet, ECGSet]:
    """Odd ECGs to plant in training, and as odd ones to compare them with.

    Labels, age and sex are each those of some training record, drawn apart, so that a conditional generator can be
    trained on them.

    Parameters
    ----------
    train : the ECGs among which they will be planted: they set rate, length, leads and unit
    number : how many to plant
    seed : the same set and seed give the same ECGs; the first ones are the same whatever the `number`
    references : how many others
    progress : called with (done, total) ECGs

    Returns
    -------
    planted, references : named 'canary-00', ... and 'reference-0000', ..., each its own patient

    Raises
    ------
    EvaluationError
        `number` or `references` is not positive, or the training ECGs are too short or have no beat to start from.
    """
    for name, value in (("number of canaries", number), ("references", references)):
        if value < 1:
            raise EvaluationError(f"{name} is {value}; it must be at least 1")
    if train.seconds < LEAST_SECONDS:
        raise EvaluationError(f"the training ECGs last {train.seconds:g} s; canaries need {LEAST_SECONDS:g} s or more")
    total = number + references
    signal = np.empty((total, len(train.leads), train.n_samples), np.float32)
    done = 0
    for block in _usable(train, seed, _TRIES * (total + _BLOCK)):
        size = min(len(block), total - done)
        signal[done : done + size] = block[:size]
        done += size
        if progress:
            progress(done, total)
        if done == total:
            break
    if done < total:
        raise EvaluationError(f"only {done} of {total} odd ECGs have beats that can be found; check the training ECGs")
    facts = np.random.default_rng([seed, 40]).integers(len(train), size=(total, 3))
    names = [f"canary-{i:02d}" for i in range(number)] + [f"reference-{i:04d}" for i in range(references)]
    parts = (slice(0, number), slice(number, total))
    planted, others = (_named(signal[part], names[part], train, facts[part]) for part in parts)
    return planted, others


def canary_metrics(
    planted: BeatShapes, references: BeatShapes, synthetic: BeatShapes, *, seed: int, progress: Progress | None = None
) -> list[Metric]:
    """Whether the synthetic ECGs come nearer to the planted ECGs than to those never planted.

    Parameters
    ----------
    planted, references : median beats of what `make_canaries` gave
    synthetic : median beats of the ECGs made by the generator that was trained with the planted ones
    seed : for the draws of the mean exposure's test, and the groups of the bound on epsilon
    progress : called with (done, total) references

    Returns
    -------
    list of Metric
        `canary_exposure_mean_bits` (1.44 by chance), `canary_exposure_highest_bits`, `canary_first_share` (of the
        planted, nearer to the synthetic ECGs than all references) and `canary_epsilon_lower`. The second has no test of
        its own: it is at its most where the third is above 0. A verdict allows for both tests (Bonferroni).
    """
    if not (len(planted.rows) and len(references.rows) and len(synthetic.rows)):
        return [_not_computed(name) for name in NAMES]
    return exposure_metrics(nearness(planted, synthetic), nearness(references, synthetic, progress), seed=seed)


def exposure_metrics(planted: np.ndarray, references: np.ndarray, *, seed: int) -> list[Metric]:
    """As `canary_metrics`, from scores (k,) and (r,): the lower, the nearer the synthetic ECGs come."""
    k, r = len(planted), len(references)
    bits = exposure(planted, references)
    null = _null_exposures(k, r, np.random.default_rng([seed, 41]))
    mean, highest = float(bits.mean()), float(bits.max())
    p_mean = float((1 + (null.mean(axis=1) >= mean - 1e-9).sum()) / (1 + _DRAWS))
    first = int((planted < references.min()).sum())
    p_first = _p_first(first, k, r)
    verdicts = [LEAKAGE if p < LEVEL / TESTS else _none_found(k, r) for p in (p_mean, p_first)]
    low, high = (min(end, float(np.log2(1 + r))) for end in _mean_interval(mean, k))
    top, share, nan = float(np.log2(1 + r)), first / k, float("nan")
    low, high = (min(end, top) for end in _mean_interval(mean, k))
    of, floor, most = _FLOOR_OF, float(null.mean()), float(null.max(axis=1).mean())
    return [
        Metric("privacy", NAMES[0], mean, low, high, "lower", floor, k, verdicts[0], of, p_value=p_mean),
        Metric("privacy", NAMES[1], highest, nan, nan, "lower", most, k, verdicts[1], of),
        Metric(
            "privacy", NAMES[2], share, *clopper_pearson(first, k), "lower", 1 / (1 + r), k, verdicts[1], of,
            p_value=p_first,
        ),
        Metric(
            "privacy", NAMES[3], epsilon_lower(planted, references, np.random.default_rng([seed, 42])), nan, nan,
            "lower", 0.0, k, EPSILON, "a release without leakage",
        ),
    ]  # fmt: skip


def canary_notes(n_planted: int, n_references: int) -> list[str]:
    """Sentences on what so many canaries and references can find."""
    least = _least_first(n_planted, n_references)
    if least > n_planted:
        return [
            f"Canaries: {n_planted} among {n_references} references show nothing, even if all were learned by heart; "
            "plant more, or draw more references."
        ]
    mean = float(chi2.isf(LEVEL / TESTS, 2 * n_planted) / (2 * n_planted) * CHANCE_BITS)
    return [
        f"Canaries: {least} of {n_planted} learned by heart would have been found, and so would a mean exposure of "
        f"{mean:.1f} bits (chance {CHANCE_BITS:.2f}); with {POWER:.0%} probability, a generator that learns "
        f"{detectable_share(n_planted, n_references):.0%} of odd ECGs by heart. Canaries are odder than patients: they "
        "tell of memorising, not of any one patient."
    ]


def detectable_share(n_planted: int, n_references: int, *, power: float = POWER) -> float:
    """Smallest share of odd training ECGs learned by heart that would have been found; 1 where none would.

    >>> round(detectable_share(10, 1023), 2)
    0.15
    """
    least = _least_first(n_planted, n_references)
    return float(beta.ppf(power, least, n_planted - least + 1)) if least <= n_planted else 1.0


def exposure(planted: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Bits by which the rank of each planted ECG among the references is ahead of the last, (k,).

    Parameters
    ----------
    planted, references : (k,) and (r,) scores, the lower, the nearer the synthetic ECGs come

    >>> exposure(np.array([0.5, 2.5, 9.0]), np.array([1.0, 2.0, 3.0])).round(2).tolist()
    [2.0, 0.42, 0.0]
    """
    rank = 1 + np.searchsorted(np.sort(references), planted, side="right")  # ties count against
    return np.log2(1 + len(references)) - np.log2(rank)


def epsilon_lower(planted: np.ndarray, references: np.ndarray, rng: np.random.Generator) -> float:
    """The least epsilon of differential privacy that fits how well the planted ECGs are told from references.

    References are dealt to the planted ECGs in groups of m in all; in each group the ECG that the synthetic ones come
    nearest to is taken for the planted one. Which one was planted was chance, so under epsilon (delta 0, one record
    exchanged for another) each guess is right with probability e^eps / (e^eps + m - 1) at most, whatever the others
    were, and the right guesses are bounded by a binomial (Steinke, Nasr, Jagielski, NeurIPS 2023, for in or out;
    here one of m). The bound holds with 97.5 % confidence; there is no upper bound to be had this way.
    """
    k, others = len(planted), len(references) // len(planted)
    if not others:
        return 0.0
    groups = rng.permutation(references)[: k * others].reshape(k, others)
    right = int((planted < groups.min(axis=1)).sum())
    share = clopper_pearson(right, k)[0]
    return max(0.0, float(np.log(share * others / (1 - share)))) if share > 0 else 0.0


def nearness(canaries: BeatShapes, synthetic: BeatShapes, progress: Progress | None = None) -> np.ndarray:
    """Score of each canary, (n,), the lower, the nearer a synthetic ECG comes to it.

    Log distance to the nearest synthetic ECG, less the log of that to the median one, because the odder a canary is,
    the farther it lies from all of them. Were most synthetic ECGs copies of one canary, the median would be near, too:
    it counts for no less than half the canary's own size.
    """
    score = np.empty(len(canaries.rows))
    for start in range(0, len(score), _BLOCK):
        block = canaries.shapes[start : start + _BLOCK]
        apart = distances(block, synthetic.shapes)
        usual = np.maximum(np.median(apart, axis=1), np.sqrt((block**2).mean(axis=(1, 2))) / 2)
        score[start : start + _BLOCK] = np.log(np.maximum(apart.min(axis=1), _SAME)) - np.log(np.maximum(usual, _SAME))
        if progress:
            progress(min(start + _BLOCK, len(score)), len(score))
    return score


def _null_exposures(k: int, r: int, rng: np.random.Generator) -> np.ndarray:
    """Exposures when any k of the k + r ECGs could have been the planted ones, (_DRAWS, k)."""
    drawn = rng.random((_DRAWS, k + r), np.float32).argpartition(k, axis=1)[:, :k]
    drawn.sort(axis=1)
    return np.log2(1 + r) - np.log2(1 + drawn - np.arange(k))


def _p_first(first: int, k: int, r: int) -> float:
    """Probability that the `first` nearest of k + r ECGs are all planted."""
    return float(hypergeom.pmf(first, k + r, k, first))


def _least_first(k: int, r: int) -> int:
    """Fewest planted ECGs ahead of all references that count as leakage; k + 1 where none would."""
    return next((first for first in range(1, k + 1) if _p_first(first, k, r) < LEVEL / TESTS), k + 1)


def _none_found(k: int, r: int) -> str:
    return TOO_FEW if detectable_share(k, r) > TELLING else NO_EVIDENCE


def _mean_interval(mean: float, k: int) -> tuple[float, float]:
    """95 % interval of the mean of k exponentials; exposures by chance are exponentials, of mean 1 / log 2 bits."""
    return float(2 * k * mean / chi2.isf(0.025, 2 * k)), float(2 * k * mean / chi2.isf(0.975, 2 * k))


def _not_computed(name: str) -> Metric:
    nan = float("nan")
    why = "cannot be computed: it takes canaries, references and synthetic ECGs with a whole beat"
    return Metric("privacy", name, nan, nan, nan, "lower", nan, 0, why, _FLOOR_OF)


def _named(signal: np.ndarray, names: list[str], train: ECGSet, facts: np.ndarray) -> ECGSet:
    """ECGs with the labels, ages and sexes of training records, at rows `facts` (n, 3)."""
    return ECGSet(
        signal,
        train.fs,
        train.leads,
        tuple(names),
        labels=tuple(train.labels[i] for i in facts[:, 0]),
        age=train.age[facts[:, 1]],
        sex=tuple(train.sex[i] for i in facts[:, 2]),
        units=train.units,
    )


def _usable(train: ECGSet, seed: int, most: int) -> Iterator[np.ndarray]:
    """Odd ECGs (n, n_leads, n_samples), in blocks, whose beats are found as they were placed."""
    base = _independent(train)
    beat = _mean_beat(train.pick(base), seed)
    for start in range(0, most, _BLOCK):
        drawn = [
            _odd_ecg(beat, train.fs, train.n_samples, np.random.default_rng([seed, 43, start + i]))
            for i in range(_BLOCK)
        ]
        signal = pick(np.stack([each for each, _ in drawn]), base, train.leads).astype(np.float32)
        block = ECGSet(signal, train.fs, train.leads, tuple(map(str, range(_BLOCK))))
        peaks = r_peaks(block)
        found = median_beat(block, peaks, *_WHOLE_MS)[1]
        placed = np.array([abs(len(at) - count) <= 1 for at, (_, count) in zip(peaks, drawn, strict=True)])
        yield signal[found & placed]


def _independent(train: ECGSet) -> tuple[str, ...]:
    """Leads to draw; the derived limb leads follow from I and II, unless leads were scaled apart."""
    if train.units == "mV" and {"I", "II"} <= set(train.leads):
        return tuple(lead for lead in train.leads if lead not in DERIVED)
    return train.leads


def _mean_beat(train: ECGSet, seed: int) -> np.ndarray:
    """Mean over records of their median beats, faded in and out, (n_leads, n_window)."""
    rows = np.random.default_rng([seed, 44]).choice(len(train), min(_MEAN_OF, len(train)), replace=False)
    some = train.take(np.sort(rows))
    beats, valid = median_beat(some, r_peaks(some), _BEFORE_MS, _AFTER_MS)
    if not valid.any():
        raise EvaluationError(f"none of {len(some)} training ECGs has a whole beat to make canaries from; check them")
    beat = beats[valid].mean(axis=0, dtype=float)
    return beat * tukey(beat.shape[1], 0.3)


def _odd_ecg(beat: np.ndarray, fs: float, n_samples: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """One odd ECG (n_leads, n_samples), and how many R peaks it has."""
    n_leads, width = beat.shape
    height = np.abs(beat).max()
    gains = rng.choice([-1, 1], n_leads) * rng.uniform(*_GAINS, n_leads)
    mixed = (np.diag(gains) + _MIXING * rng.standard_normal((n_leads, n_leads))) @ beat
    ms = (np.arange(width) - round(_BEFORE_MS * fs / 1000)) * 1000 / fs
    centre = rng.uniform(*_WAVES_MS, _WAVES)[:, None]
    waves = np.exp(-0.5 * ((ms - centre) / rng.uniform(*_WIDTH_MS, _WAVES)[:, None]) ** 2)
    odd = mixed + _HEIGHT * height * rng.standard_normal((n_leads, _WAVES)) @ (waves * tukey(width, 0.3))
    rr = rng.uniform(*_RR_S) * (1 + _RR_SPREAD * rng.standard_normal(2 + int(n_samples / fs / _RR_S[0])))
    at = np.round((np.cumsum(rr) - rr[0] * rng.random()) * fs).astype(int)
    before = round(_BEFORE_MS * fs / 1000)
    long = np.zeros((n_leads, n_samples + 2 * width))  # room for beats that reach beyond either end
    for peak in at[at < n_samples + before]:
        start = peak - before + width
        long[:, start : start + width] += odd
    noise = gaussian_filter1d(rng.standard_normal((n_leads, n_samples)), fs * _NOISE_S, axis=-1)
    noise *= _NOISE * height / noise.std()
    return long[:, width : width + n_samples] + noise, int((at < n_samples).sum())
