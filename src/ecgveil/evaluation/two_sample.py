"""A classifier that tries to tell synthetic from real ECGs: the figure to believe when the others flatter.

Classifier two-sample test (Lopez-Paz and Oquab, ICLR 2017): what no classifier can tell apart is distributed alike, as
far as that classifier sees. Here two of them judge together: a residual network on the signal, and trees on simple
features (spectra, amplitudes, slopes, correlations between leads, likeness of beats). From a few dozen ECGs the network
learns hardly anything, while trees see at once that the spectrum ends at 40 Hz; only the network sees that time runs
backwards. How far to trust each is learned from ECGs that the network did not train on.

One ECG of each patient is judged, equally many of both sides, by classifiers that never saw it (cross-validation). The
network and the features belong to the fold; no choice is made on the ECGs that are judged. Synthetic ECGs that repeat
are left as they are: a generator of few ECGs is known by its repetitions, and independent real ones have none.

What the classifiers are shown: the first 10 s of up to 8 independent leads, at 250 Hz (so nothing above 110 Hz), less
the median of each lead, as offsets are the amplifier's. No ECG is scaled by itself, for amplitude is information.
Values beyond 50 times the usual spread, of electrodes that fell off, are cut there. Recorders round to 5 uV and files
to 1 uV, so a grid alone could give real ECGs away: uniform noise of +-5 uV is added to both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.signal import resample_poly, welch
from scipy.special import expit, logit
from scipy.stats import norm, rankdata
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation.features import draw_rows
from ecgveil.evaluation.fidelity import BEYOND, WITHIN
from ecgveil.evaluation.intervals import auc, auc_interval
from ecgveil.evaluation.metric import LEAST_N, TOO_FEW, Metric
from ecgveil.evaluation.network import BATCH, fit_network, predict
from ecgveil.leads import LEADS_8

FS_HZ = 250.0
SECONDS = (2.0, 10.0)  # shortest ECG that is judged, and the part of a longer one
MOST = 1000  # ECGs of a side
FOLDS = 5
EPOCHS = 15
NOISE = 0.005  # mV, in other units as many of those: the added noise reaches so far to either side
CROP = 1250  # samples of an ECG that the network sees at a time in training
TREES = 300
_FARTHEST = 50.0  # in usual spreads
_SEGMENT = 500  # samples: 2 s
_LEAST_STEPS = 60
_BANDS = 16
_ROWS = 64

Progress = Callable[[int, int], object]


@dataclass(frozen=True, eq=False)
class TwoSample:
    """What a cross-validated classifier made of ECGs.

    Parameters
    ----------
    holdout, synthetic : (n,) probability that each is synthetic, by classifiers that never saw it
    rows : (holdout rows, synthetic rows) judged, each (n,), of the arrays given
    folds : (fold of each holdout ECG, fold of each synthetic ECG)
    auc : how often a synthetic ECG is held for likelier synthetic than a real one; 0.5 where they cannot be told apart
    auc_low, auc_high : 95 % interval. Probabilities of different folds come from different classifiers, so they are
        ranked within folds first. DeLong's interval of the ranks is widened by the root of 2 on the logit scale: where
        there is nothing to find, what a pair of ECGs happens to share counts twice, as each helps to judge the other,
        which doubles the variance; where there is much to find, the interval is rather too wide
    """

    holdout: np.ndarray
    synthetic: np.ndarray
    rows: tuple[np.ndarray, np.ndarray]
    folds: tuple[np.ndarray, np.ndarray]
    auc: float
    auc_low: float
    auc_high: float


def two_sample_metrics(
    train: ECGSet,
    holdout: ECGSet,
    synthetic: ECGSet,
    *,
    seed: int,
    folds: int = FOLDS,
    epochs: int = EPOCHS,
    progress: Progress | None = None,
) -> tuple[list[Metric], TwoSample | None]:
    """AUC of telling synthetic from holdout ECGs; its floor is that of train in the place of synthetic.

    Parameters
    ----------
    train, holdout, synthetic : equal in leads, rate and unit; of each patient one ECG is drawn, at most `MOST`
    seed : for draws, folds, noise and classifiers
    folds, epochs : as for `two_sample`; 0 epochs for a quick figure, of the trees alone
    progress : called with (done, total) folds

    Returns
    -------
    metrics : 'c2st_auc'; without a value below 4 patients for each fold
    judged : holdout and synthetic ECGs with their scores, rows of the sets given; None without a value

    Raises
    ------
    EvaluationError
        Sets differ in form, or their ECGs are shorter than 2 s.
    """
    sets = (train, holdout, synthetic)
    _check_form(sets)
    n = min(MOST, *(len(set(each.patient_id)) for each in sets))
    if n < 4 * folds:
        nan = float("nan")
        return [Metric("fidelity", "c2st_auc", nan, nan, nan, "lower", nan, n, TOO_FEW)], None
    rng = np.random.default_rng([seed, 31])
    drawn = [draw_rows(np.array(each.patient_id), n, rng, replace=False) for each in sets]
    known, real, fake = (prepare(each.take(rows)) for each, rows in zip(sets, drawn, strict=True))

    def told(done: int, total: int, before: int = 0) -> None:
        if progress:
            progress(before + done, 2 * total)

    def told_floor(done: int, total: int) -> None:
        told(done, total, total)

    judged = two_sample(real, fake, seed=seed, folds=folds, epochs=epochs, progress=told)
    floor = two_sample(real, known, seed=seed, folds=folds, epochs=epochs, progress=told_floor)
    rows = (drawn[1][judged.rows[0]], drawn[2][judged.rows[1]])
    value = judged.auc, judged.auc_low, judged.auc_high
    p = _p_value(judged, floor)
    verdict = TOO_FEW if n < LEAST_N else BEYOND if p < 0.025 else WITHIN
    metric = Metric("fidelity", "c2st_auc", *value, "lower", floor.auc, n, verdict, p_value=p)
    return [metric], TwoSample(judged.holdout, judged.synthetic, rows, judged.folds, *value)


def two_sample(
    holdout: np.ndarray,
    synthetic: np.ndarray,
    *,
    seed: int,
    folds: int = FOLDS,
    epochs: int = EPOCHS,
    noise: float = NOISE,
    progress: Progress | None = None,
) -> TwoSample:
    """Judge holdout and synthetic ECGs by classifiers trained on others of them.

    Parameters
    ----------
    holdout, synthetic : (n, C, T) and (m, C, T) from `prepare`, **one ECG of each patient**; equally many are drawn
    seed : for draws, folds, noise and classifiers
    folds : at least 2, for at least 4 ECGs each
    epochs : times that the network sees each ECG; 0 for trees alone
    noise : uniform noise added to both sides reaches so far, in the unit of the ECGs
    progress : called with (done, total) folds

    Raises
    ------
    EvaluationError
        Shapes do not fit, or there are too few ECGs for the folds.
    """
    n = min(len(holdout), len(synthetic))
    if holdout.ndim != 3 or holdout.shape[1:] != synthetic.shape[1:]:
        raise EvaluationError(
            f"ECGs have shapes {holdout.shape} and {synthetic.shape}; give (n, leads, samples), alike but in n"
        )
    if folds < 2 or n < 4 * folds:
        raise EvaluationError(f"{n} ECGs on a side are too few for {folds} folds; give 4 for each of 2 folds or more")
    rng = np.random.default_rng([seed, 32])
    rows = tuple(np.sort(rng.permutation(len(each))[:n]) for each in (holdout, synthetic))
    x = np.concatenate([holdout[rows[0]], synthetic[rows[1]]])
    is_synthetic = np.repeat([0, 1], n)
    fold = np.concatenate([rng.permutation(np.arange(n) % folds) for _ in range(2)])
    x = _shown(x, noise, rng)
    features = _features(x)
    log_odds, rank = np.empty(2 * n), np.empty(2 * n)
    for i in range(folds):
        judged = fold == i
        log_odds[judged] = _judge(x, features, is_synthetic, judged, epochs, int(rng.integers(2**31)))
        rank[judged] = rankdata(log_odds[judged]) / judged.sum()
        if progress:
            progress(i + 1, folds)
    p = expit(log_odds)
    area = auc(rank[n:], rank[:n])
    low, high = _widened(area, auc_interval(rank[n:], rank[:n]))
    return TwoSample(p[:n], p[n:], (rows[0], rows[1]), (fold[:n], fold[n:]), area, low, high)


def prepare(ecgs: ECGSet) -> np.ndarray:
    """ECGs as the classifiers are shown them, but for noise and scale: float32 (n, C, T).

    The 8 independent leads where all are there, otherwise all leads; at most 250 Hz (a lower rate is left as it is);
    the first 10 s, each lead less its median.

    Raises
    ------
    EvaluationError
        ECGs are shorter than 2 s.
    """
    if ecgs.seconds < SECONDS[0]:
        raise EvaluationError(f"ECGs of {ecgs.seconds:g} s are too short to be judged; give {SECONDS[0]:g} s or more")
    chosen = ecgs.pick(LEADS_8) if set(LEADS_8) <= set(ecgs.leads) else ecgs
    ratio = min(Fraction(1), Fraction(FS_HZ / ecgs.fs).limit_denominator(1000))
    first = chosen.signal[:, :, : round(SECONDS[1] * ecgs.fs)]
    blocks = [first[start : start + _ROWS] for start in range(0, len(first), _ROWS)]
    if ratio != 1:
        blocks = [resample_poly(x, ratio.numerator, ratio.denominator, axis=-1, padtype="line") for x in blocks]
    return np.concatenate([x - np.median(x, axis=-1, keepdims=True) for x in blocks]).astype(np.float32)


def _check_form(sets: tuple[ECGSet, ...]) -> None:
    forms = [(each.fs, each.leads, each.n_samples, each.units) for each in sets]
    if len(set(forms)) > 1:
        other = next(form for form in forms if form != forms[0])
        raise EvaluationError(
            f"sets differ in form: {forms[0]} and {other} (Hz, leads, samples, unit); read them alike"
        )


def _p_value(judged: TwoSample, floor: TwoSample) -> float:
    """How probable it is that synthetic ECGs are told from holdout ones so much better than train ones are, or worse.

    The lower end of the difference's interval from those of both (Zou and Donner, Stat Med 27:1693, 2008); a floor
    below 0.5 is chance. Surely below 0.5 lies who is fooled by copies: the real ECG that a synthetic one repeats was
    learned as real.
    """
    reach = np.hypot(judged.auc - judged.auc_low, floor.auc_high - floor.auc)
    better = (judged.auc - max(floor.auc, 0.5)) / reach
    worse = (0.5 - judged.auc) / max(judged.auc_high - judged.auc, 1e-9)
    return float(min(1.0, 2 * norm.sf(norm.isf(0.025) * max(better, worse))))


def _shown(x: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """ECGs with noise, of about unit spread: one scale for all, from both sides alike."""
    usual = float(np.median(x.std(axis=-1))) or 1.0
    x = x + rng.uniform(-noise, noise, x.shape).astype(np.float32)
    return np.clip(x / usual, -_FARTHEST, _FARTHEST).astype(np.float32)


def _judge(
    x: np.ndarray, features: np.ndarray, is_synthetic: np.ndarray, judged: np.ndarray, epochs: int, seed: int
) -> np.ndarray:
    """Log odds that each of the ECGs `judged`, (n,) bool, is synthetic, learned from the others."""
    others = np.flatnonzero(~judged)
    forest = ExtraTreesClassifier(
        TREES, min_samples_leaf=2, max_features=0.1, bootstrap=True, oob_score=True, random_state=seed
    ).fit(features[others], is_synthetic[others])
    if not epochs:
        return _log_odds(forest.predict_proba(features[judged])[:, 1])
    kept = np.random.default_rng([seed, 33]).permutation(len(others)) % 4 == 0  # not shown to the network
    shown = others[~kept]
    steps = max(_LEAST_STEPS, round(epochs * len(shown) / BATCH))
    network = fit_network(x[shown], is_synthetic[shown, None], seed=seed, steps=steps, crop=CROP)
    # Out of the bag: of each ECG only the trees that did not grow from it.
    known = np.column_stack(
        [predict(network, x[others[kept]])[:, 0], _log_odds(forest.oob_decision_function_[kept, 1])]
    )
    asked = np.column_stack(
        [predict(network, x[judged])[:, 0], _log_odds(forest.predict_proba(features[judged])[:, 1])]
    )
    scale = np.maximum(known.std(axis=0), 1e-6)
    weigh = LogisticRegression().fit(known / scale, is_synthetic[others[kept]])
    # Neither is trusted to be wrong.
    return asked / scale @ np.maximum(weigh.coef_[0], 0) + weigh.intercept_[0]


def _widened(area: float, interval: tuple[float, float]) -> tuple[float, float]:
    """An interval of cross-validated scores from one of independent scores."""
    if not 0 < area < 1:
        return interval  # nothing that depends on chance alone is told apart without a fault
    low, high = (float(expit(logit(area) + np.sqrt(2) * (logit(end) - logit(area)))) for end in interval)
    return low, high


def _log_odds(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1 / TREES, 1 - 1 / TREES)
    return logit(p)


def _features(x: np.ndarray) -> np.ndarray:
    """Simple features of ECGs, (n, C, T) -> (n, d), a block at a time."""
    return np.concatenate([_block_features(x[start : start + _ROWS]) for start in range(0, len(x), _ROWS)])


def _block_features(x: np.ndarray) -> np.ndarray:
    """Of each lead power in bands, quantiles of level and of slope; correlations of leads; likeness of beats."""
    freqs, power = welch(x, nperseg=min(x.shape[-1], _SEGMENT), axis=-1)
    edges = np.unique(np.searchsorted(freqs, np.geomspace(freqs[1], freqs[-1], _BANDS + 1)))
    bands = np.log(np.add.reduceat(power, edges[:-1], axis=-1) + 1e-12)
    levels = np.quantile(x, [0.01, 0.1, 0.9, 0.99], axis=-1)
    slopes = np.quantile(np.abs(np.diff(x)), [0.25, 0.5, 0.75, 0.95, 0.99], axis=-1)
    centred = x - x.mean(axis=-1, keepdims=True)
    norm = np.linalg.norm(centred, axis=-1, keepdims=True)
    unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)
    above = np.triu_indices(x.shape[1], 1)
    correlation = (unit @ unit.swapaxes(1, 2))[:, *above]
    return np.column_stack([bands.reshape(len(x), -1), *levels, *slopes, correlation, _likeness(unit)])


def _likeness(unit: np.ndarray) -> np.ndarray:
    """Highest autocorrelation of all leads together at 0.3 to 2 s, and its lag, (n, 2): how alike beats are."""
    length = unit.shape[-1]
    spectrum = (np.abs(np.fft.rfft(unit, 2 * length, axis=-1)) ** 2).sum(axis=1)
    correlation = np.fft.irfft(spectrum, axis=-1)[:, :length] * length / (length - np.arange(length))
    there = correlation[:, :1]
    correlation = np.divide(correlation, there, out=np.zeros_like(correlation), where=there > 0)
    inside = correlation[:, int(0.3 * FS_HZ) : min(_SEGMENT, length // 2) + 1]
    return np.column_stack([inside.max(axis=1), inside.argmax(axis=1)])
