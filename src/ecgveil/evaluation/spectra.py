"""Whether single synthetic ECGs have the spectra of real ones; `fidelity.psd_distance` compares their means."""

from __future__ import annotations

import itertools

import numpy as np

from ecgveil.errors import EvaluationError
from ecgveil.evaluation.distribution import compare
from ecgveil.evaluation.features import Features
from ecgveil.evaluation.metric import Metric

LEAST_DB = -80.0  # from the train part's median level; what is below counts as this: a flat lead, -inf dB, is one
_WIDTH_ROWS = 500  # records of train that the kernel's width is found from
_PAIRS = 2**21  # pairs of records compared at once (16 MB)


def mmd(x: np.ndarray, y: np.ndarray, width: float) -> float:
    """Squared maximum mean discrepancy, kernel exp(-|x - y|^2 / (2 width^2)), unbiased and so at times negative.

    Gretton et al., JMLR 13:723, 2012, equation 3.

    Parameters
    ----------
    x, y : (n, d) and (m, d), n and m at least 2

    Raises
    ------
    EvaluationError
        Too few rows, or the width is not positive.
    """
    if min(len(x), len(y)) < 2 or not width > 0:
        raise EvaluationError(
            f"{min(len(x), len(y))} records, kernel width {width}; give at least 2 records and a positive width"
        )
    kernel = gaussian_kernel(np.concatenate([x, y]), width)
    return _mmd(kernel, np.arange(len(x)), np.arange(len(x), len(kernel)))


def gaussian_kernel(x: np.ndarray, width: float) -> np.ndarray:
    """exp(-|x_i - x_j|^2 / (2 width^2)) of all pairs of rows, (n, d) -> float32 (n, n)."""
    x = np.asarray(x, float) - np.mean(x, axis=0, dtype=float)
    squares = (x**2).sum(axis=1)
    kernel = np.empty((len(x), len(x)), np.float32)
    step = max(1, _PAIRS // len(x))
    for start in range(0, len(x), step):
        block = slice(start, start + step)
        apart = squares[block, None] + squares - 2 * x[block] @ x.T
        kernel[block] = np.exp(-np.maximum(apart, 0) / (2 * width**2))
    return kernel


def spectral_metrics(train: Features, holdout: Features, synthetic: Features, *, seed: int) -> list[Metric]:
    """psd_mmd: maximum mean discrepancy between the log spectra of synthetic and of holdout ECGs.

    A record is, for every lead, its mean level in dB and each frequency's difference from that mean, which thus counts
    as one frequency does: otherwise how large ECGs are would drown how their spectra are shaped. The kernel's width is
    the median distance between records of train. Like every figure of spectra here it sees 0.5-40 Hz only.

    Parameters
    ----------
    train, holdout, synthetic : of equal leads and frequencies
    seed : for the draws

    Raises
    ------
    EvaluationError
        The sets differ in leads or frequencies, or one is empty.
    """
    sets = (train, holdout, synthetic)
    _check(sets)
    spectra = _shapes(sets)
    kernel = gaussian_kernel(np.concatenate(spectra), median_distance(spectra[0]))
    ends = np.cumsum([0, *map(len, sets)])
    rows = tuple(np.arange(start, end) for start, end in itertools.pairwise(ends))
    # The rows stand for the records: each pair is compared once, however often it is drawn.
    patient_id = tuple(each.patient_id for each in sets)
    result = compare(lambda real, other: [_mmd(kernel, real, other)], rows, patient_id, ("lower",), seed)
    return [result.metric(0, "psd_mmd", least=-np.inf)]


def median_distance(x: np.ndarray) -> float:
    """Median Euclidean distance between different rows, of at most 500 evenly spread ones; 1 where it would be 0."""
    x = x[np.linspace(0, len(x) - 1, min(len(x), _WIDTH_ROWS)).astype(int)]
    if len(x) < 2:
        return 1.0
    squares = (x**2).sum(axis=1)
    apart = (squares[:, None] + squares - 2 * x @ x.T)[np.triu_indices(len(x), 1)]
    return float(np.sqrt(max(np.median(apart), 0.0))) or 1.0


def _shapes(sets: tuple[Features, ...]) -> list[np.ndarray]:
    """(n, n_leads * (n_freqs + 1)) dB of each set: differences from each lead's mean level, and that level.

    No power is a level far below any in train, so that distances are finite: two flat leads are alike, a flat lead and
    one that is not are far apart.
    """
    known = sets[0].psd_db[np.isfinite(sets[0].psd_db)]
    least = LEAST_DB + (float(np.median(known)) if known.size else 0.0)
    shapes = []
    for each in sets:
        level = np.maximum(each.psd_db, least).astype(float)
        mean = level.mean(axis=-1, keepdims=True)
        shapes.append(np.concatenate([level - mean, mean], axis=-1).reshape(len(each), -1))
    return shapes


def _mmd(kernel: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """Of two samples that are rows of the kernel's matrix, whose diagonal is 1."""
    within = [(_total(kernel, rows, rows) - len(rows)) / (len(rows) * (len(rows) - 1)) for rows in (one, other)]
    return within[0] + within[1] - 2 * _total(kernel, one, other) / (len(one) * len(other))


def _total(kernel: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    return float(kernel[np.ix_(one, other)].sum(dtype=float))


def _check(sets: tuple[Features, ...]) -> None:
    for name, each in zip(("train", "holdout", "synthetic"), sets, strict=True):
        if not len(each):
            raise EvaluationError(f"{name} has no records; give at least one")
        if each.leads != sets[0].leads or not np.array_equal(each.freqs_hz, sets[0].freqs_hz):
            raise EvaluationError(
                f"{name} has leads {', '.join(each.leads)} and {len(each.freqs_hz)} frequencies, train "
                f"{', '.join(sets[0].leads)} and {len(sets[0].freqs_hz)}; give sets of equal leads and rate"
            )
