"""The beats of an ECG told apart, and the median beat of those that belong together.

As the commercial readers do (12SL Physician's Guide, GE Healthcare 2056246-002, 2015): ectopic and noisy beats are set
apart by their shape and timing, and everything but the rhythm is measured on the median of the rest, which has the
noise of one beat divided by about the root of their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.signal import resample_poly

from ecgveil.ecg import ECGSet
from ecgveil.measure.beats import find_peaks_of
from ecgveil.measure.edges import edges
from ecgveil.measure.inference import CLASSES, probabilities
from ecgveil.measure.prepare import FS_HZ, Block, iter_blocks

BEFORE, AFTER = 108, 180  # samples at 250 Hz around the R peak: 432 and 720 ms; together a multiple of 8
FINE = 2  # the median beat is drawn at 500 Hz, so that the tip of an R is not missed

_LEAST_BEFORE, _LEAST_AFTER = 75, 110  # 300 and 440 ms of a beat must be in the record for it to count
_SHAPE = slice(BEFORE - 20, BEFORE + 30)  # QRS: 80 ms before to 120 ms after the R peak
_SHIFT = 4  # samples a beat may be moved to fit the others
_ALIKE = 0.85  # least correlation with the median beat's QRS
_PREMATURE_WIDE, _PREMATURE_NARROW = 0.9, 0.8  # of the median RR interval
_PAUSE = 0.95  # of the median RR interval: what follows a premature beat lasts at least so long
_LEAST_P_SHARE = 0.5  # of the beats: a P wave that fewer have is a chance of the median
_LONG_PAUSE = 1.25  # of the interval before
LEAST_QRS_MS, _WIDE_QRS_MS, _MOST_QRS_MS = 40.0, 110.0, 300.0
LEAST_P_MS, LEAST_T_MS = 40.0, 60.0
_QRS_CORE = 15  # samples from R within which the core of a QRS lies
_EARLY = 0.15  # quantile over the leads
_LEAD_ROOM = 10  # samples by which a lead's P or T may lie outside that of all leads
_PR_LEVEL_MS = 16.0

NORMAL, VENTRICULAR, SUPRAVENTRICULAR, NOISY = "N", "V", "S", "Q"
_MARKS = ("p_on", "p_off", "qrs_on", "qrs_off", "t_on", "t_off")
_ARRAYS = ("signal", *_MARKS, "likeness", "p_beats_share")


@dataclass(frozen=True, eq=False)
class Medians:
    """Median beats and their marks; rows are records.

    Parameters
    ----------
    signal : float32 (n, L, W) against the PR level, in the set's unit; zero where there is no beat
    leads : the L leads
    fs : Hz, of `signal`
    r_at : sample of the R peak in `signal`
    p_on, p_off, qrs_on, qrs_off, t_on, t_off : (n,) ms from the R peak, NaN where there is none
    peaks : for each record the samples (250 Hz, `beat_fs`) of all its beats
    kinds : for each record the kind of each beat, 'N', 'V', 'S' or 'Q'
    likeness : (n,) mean correlation of the normal beats with the median beat, P to T, NaN with fewer than 2
    p_beats_share : (n,) share of normal beats with the median beat's P wave, NaN where it has none
    beat_fs : Hz
    """

    signal: np.ndarray
    leads: tuple[str, ...]
    fs: float
    r_at: int
    p_on: np.ndarray
    p_off: np.ndarray
    qrs_on: np.ndarray
    qrs_off: np.ndarray
    t_on: np.ndarray
    t_off: np.ndarray
    peaks: list[np.ndarray]
    kinds: list[np.ndarray]
    likeness: np.ndarray
    p_beats_share: np.ndarray
    beat_fs: float


def median_beats(ecgs: ECGSet) -> Medians:
    """Median beats of a whole set; see `iter_medians` for sets whose beats need not be held at once."""
    parts = [medians for _, medians in iter_medians(ecgs)]
    if not parts:
        raise ValueError("the set is empty; median beats need at least one ECG")
    arrays: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
    beats: dict[str, Any] = {
        name: [each for part in parts for each in getattr(part, name)] for name in ("peaks", "kinds")
    }
    return replace(parts[0], **arrays, **beats)


def iter_medians(ecgs: ECGSet, peaks: list[np.ndarray] | None = None) -> Iterator[tuple[Block, Medians]]:
    """Each block of a set with its median beats; `peaks` in samples of the set where they are known."""
    for block in iter_blocks(ecgs):
        if peaks is None:
            at = find_peaks_of(block.signal, block.fs)
        else:
            rows = peaks[block.start : block.start + len(block.signal)]
            at = [np.rint(np.asarray(row) * block.fs / ecgs.fs).astype(int) for row in rows]
        yield block, _medians(block, at)


def _medians(block: Block, peaks: list[np.ndarray]) -> Medians:
    n, n_leads, _ = block.signal.shape
    own = np.zeros((n, n_leads, BEFORE + AFTER), np.float32)  # of the base leads
    parts = [_beats(signal, at) for signal, at in zip(block.signal, peaks, strict=True)]
    alike = [_likenesses(beats) >= _ALIKE for beats, _, _ in parts]
    widths = _widths(block, parts, alike)
    kinds, normal = [], []
    for row, ((beats, whole, at), same, width) in enumerate(zip(parts, alike, widths, strict=True)):
        true = np.isfinite(width)  # what has no QRS of its own is an artefact
        peaks[row] = at[true]
        kinds.append(_kinds(same[true], width[true], at[true]))
        chosen = beats[true][(kinds[row] == NORMAL) & whole[true]]
        normal.append(chosen)
        if len(chosen):
            own[row] = np.median(chosen, axis=0)
    medians = block.complete(own)  # so that Einthoven holds: a median of sums is no sum of medians
    marks = _mark(medians, peaks, block.fs)
    likeness = np.array([_likeness(each, median) for each, median in zip(normal, own, strict=True)])
    share = np.array([_p_share(*each) for each in zip(normal, own, marks["p_on"], marks["p_off"], strict=True)])
    for name in ("p_on", "p_off"):
        marks[name] = np.where(share < _LEAST_P_SHARE, np.nan, marks[name])
    fine = resample_poly(medians, FINE, 1, axis=-1, padtype="line").astype(np.float32)
    fine -= _pr_level(fine, marks["qrs_on"])
    ms = {name: (value - BEFORE) * 1000 / block.fs for name, value in marks.items()}
    return Medians(
        signal=fine, leads=block.leads, fs=FINE * block.fs, r_at=FINE * BEFORE, **ms,
        peaks=peaks, kinds=kinds, likeness=likeness, p_beats_share=share, beat_fs=block.fs,
    )  # fmt: skip


def _beats(signal: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Beats (n_beats, L, W) moved to where they fit each other best, whether each is whole, and their new R peaks.

    Beyond the record's ends its first and last values are repeated.
    """
    size = signal.shape[-1]
    if not len(at):
        return np.zeros((0, len(signal), BEFORE + AFTER), np.float32), np.zeros(0, bool), at
    near = np.clip(at[:, None] + np.arange(-20 - _SHIFT, 30 + _SHIFT), 0, size - 1)
    shapes = signal[:, near].transpose(1, 0, 2)  # (beats, L, 58)
    template = np.median(shapes[..., _SHIFT:-_SHIFT], axis=0)  # (L, 50)
    views = np.lib.stride_tricks.sliding_window_view(shapes, template.shape[-1], axis=-1)  # (beats, L, 9, 50)
    fit = np.einsum("blsw,lw->bs", views, template)
    power = np.einsum("blsw,blsw->bs", views, views)
    shift = (fit / np.sqrt(np.maximum(power, 1e-30))).argmax(axis=1) - _SHIFT
    at = np.clip(at + shift, 0, size - 1)
    window = at[:, None] + np.arange(-BEFORE, AFTER)
    whole = (at >= _LEAST_BEFORE) & (at + _LEAST_AFTER <= size)
    return signal[:, np.clip(window, 0, size - 1)].transpose(1, 0, 2), whole, at


def _likenesses(beats: np.ndarray) -> np.ndarray:
    """Correlation of each beat's QRS with the dominant shape."""
    n = len(beats)
    if not n:
        return np.zeros(0)
    shapes = beats[..., _SHAPE].reshape(n, -1).astype(float)
    shapes = shapes - shapes.mean(axis=1, keepdims=True)
    shapes /= np.maximum(np.linalg.norm(shapes, axis=1, keepdims=True), 1e-30)
    alike = shapes @ _unit(np.median(shapes, axis=0))
    if (alike >= _ALIKE).sum() <= n / 2:  # no shape rules at once: the beat that most others resemble
        some = shapes[:: max(1, n // 100)]
        alike = shapes @ some[((some @ some.T) >= _ALIKE).sum(axis=1).argmax()]
    for _ in range(2):
        same = alike >= _ALIKE
        alike = shapes @ _unit(np.median(shapes[same] if same.any() else shapes, axis=0))
    return alike


def _widths(block: Block, parts: list, alike: list[np.ndarray]) -> list[np.ndarray]:
    """QRS duration in ms of the beats that are not alike, 0 of those that are, NaN where the network sees no QRS."""
    widths = [np.zeros(len(same)) for same in alike]
    unlike = [np.flatnonzero(~same) for same in alike]
    if any(map(len, unlike)):
        windows = np.concatenate([beats[chosen] for (beats, _, _), chosen in zip(parts, unlike, strict=True)])
        track = probabilities(block.complete(windows))[1][:, CLASSES["N"]]
        begin = np.full(len(track), BEFORE - _QRS_CORE)
        size = np.full(len(track), float(track.shape[1]))
        onset, offset = edges(track, begin, begin + 2 * _QRS_CORE + 1, 0 * size, size)
        found = (offset - onset) * 1000 / block.fs
        found[~((found >= LEAST_QRS_MS) & (found <= _MOST_QRS_MS))] = np.nan
        for width, chosen, own in zip(
            widths, unlike, np.split(found, np.cumsum([len(c) for c in unlike])[:-1]), strict=True
        ):
            width[chosen] = own
    return widths


def _kinds(same: np.ndarray, width_ms: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Kind of each beat, by its shape and by its timing."""
    n = len(at)
    if not n:
        return np.zeros(0, "U1")
    before = np.diff(at, prepend=np.nan)
    usual = np.nanmedian(before) if n > 1 else np.nan
    after = np.append(before[1:], np.nan)
    # Early for the record and for the beat before it, and not the beginning of a faster rhythm.
    early = (before < _PREMATURE_NARROW * np.fmin(usual, np.roll(before, 1))) & ~(after < _PAUSE * usual)
    early[:2] &= before[:2] < _PREMATURE_NARROW * usual  # the beat before it has no interval of its own
    kind = np.where(same, NORMAL, NOISY)
    # Where every second beat is one, the usual interval is theirs; then the pause behind it tells.
    odd = (before < _PREMATURE_WIDE * usual) | (after > _LONG_PAUSE * before)
    kind[~same & odd & (width_ms >= _WIDE_QRS_MS)] = VENTRICULAR
    kind[same & early] = SUPRAVENTRICULAR
    return kind


def _unit(x: np.ndarray) -> np.ndarray:
    return x / max(float(np.linalg.norm(x)), 1e-30)


def _mark(medians: np.ndarray, peaks: list[np.ndarray], fs: float) -> dict[str, np.ndarray]:
    """Marks of all leads together, in samples of the window, NaN where there is none.

    A QRS begins and ends steeply, nearly at once in all leads: its marks are the network's for all leads together. P
    and T waves are low and slow, and some leads see them begin late or end early; the recommended measure is from the
    earliest lead to the latest (Kligfield et al., Circulation 115:1306, 2007). Taken here are the 15 % and 85 %
    quantiles over the leads, so that a noisy one cannot stretch it.
    """
    n, _, size = medians.shape
    if not n:
        return {name: np.zeros(0) for name in _MARKS}
    by_lead, overall = probabilities(medians)
    rr = np.array([np.median(np.diff(at)) if len(at) > 1 else np.nan for at in peaks])
    low, high = np.zeros(n), np.full(n, float(size))
    begin = np.full(n, BEFORE - _QRS_CORE)
    qrs_on, qrs_off = edges(overall[:, CLASSES["N"]], begin, begin + 2 * _QRS_CORE + 1, low, high)
    seen = np.isfinite(qrs_on)
    found = {"qrs_on": qrs_on, "qrs_off": qrs_off}
    # Further from R lie the waves of the beats next to this one.
    spans = {
        "p": (np.fmax(0, BEFORE - 0.75 * rr), np.where(seen, qrs_on, 0)),
        "t": (np.where(seen, qrs_off, size), np.fmin(size, BEFORE + 0.85 * rr)),
    }
    least = {"p": LEAST_P_MS, "t": LEAST_T_MS}
    for wave, span in spans.items():
        core = _largest(overall[:, CLASSES[wave]], *span)
        onset, offset = _agreed(by_lead[:, :, CLASSES[wave]], *core, *span)
        real = (offset - onset) * 1000 / fs >= least[wave]
        onset, offset = np.where(real, onset, np.nan), np.where(real, offset, np.nan)
        found |= {f"{wave}_on": onset, f"{wave}_off": offset}
    return found


def _agreed(
    p: np.ndarray, onset: np.ndarray, offset: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """An early lead's onset and a late lead's offset, given where the wave lies for all; p (n, L, W) -> (n,), (n,)."""
    n, n_leads, size = p.shape
    spans = (np.nan_to_num(onset) - _LEAD_ROOM, np.nan_to_num(offset) + _LEAD_ROOM, low, high)
    begins, ends = edges(p.reshape(n * n_leads, size), *(np.repeat(span, n_leads) for span in spans))
    first = _quantile(begins.reshape(n, n_leads), _EARLY)
    last = -_quantile(-ends.reshape(n, n_leads), _EARLY)
    agreed = np.isfinite(onset) & (first < last)
    return np.where(agreed, first, onset), np.where(agreed, last, offset)


def _quantile(values: np.ndarray, share: float) -> np.ndarray:
    """Quantile of the finite values of each row, NaN where there are none."""
    ordered = np.sort(values, axis=1)  # NaN last
    place = share * np.maximum(np.isfinite(values).sum(axis=1) - 1, 0)
    low = np.floor(place).astype(int)
    rows = np.arange(len(values))
    above = ordered[rows, np.minimum(low + 1, values.shape[1] - 1)]
    here = ordered[rows, low]
    return here + np.where(place > low, (place - low) * (above - here), 0)


def _largest(p: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the wave with the greatest mass in low <= t < high, each row its own."""
    t = np.arange(p.shape[1])
    inside = np.where((t >= low[:, None]) & (t < high[:, None]), p, 0)
    sure = inside >= 0.5
    run = np.cumsum(~sure, axis=1)  # constant within a run of likely samples
    rows = np.arange(len(p))
    mass = np.zeros((len(p), p.shape[1] + 1))
    np.add.at(mass, (rows[:, None], run), np.where(sure, inside, 0))
    best = mass.argmax(axis=1)
    chosen = sure & (run == best[:, None])
    first = np.where(chosen.any(axis=1), chosen.argmax(axis=1), 0)
    last = first + chosen.sum(axis=1)
    return edges(p, first, last, low, high)


def _pr_level(fine: np.ndarray, qrs_on: np.ndarray) -> np.ndarray:
    """Level of the last 16 ms before the QRS, (n, L, W) -> (n, L, 1); 0 without a QRS."""
    t = np.arange(fine.shape[-1])
    end = np.where(np.isfinite(qrs_on), FINE * np.nan_to_num(qrs_on), 0)[:, None]
    inside = (t <= end) & (t > end - _PR_LEVEL_MS * FINE * FS_HZ / 1000)
    inside &= np.isfinite(qrs_on)[:, None]
    total = np.einsum("nlw,nw->nl", fine, inside.astype(np.float32))
    return (total / np.maximum(inside.sum(axis=1), 1)[:, None])[..., None]


def _likeness(beats: np.ndarray, median: np.ndarray) -> float:
    if len(beats) < 2:
        return np.nan
    span = slice(BEFORE - 50, BEFORE + 100)  # 200 ms before to 400 ms after the R peak
    flat, middle = beats[..., span].reshape(len(beats), -1), median[:, span].reshape(-1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    middle = _unit(middle - middle.mean())
    return float(np.mean(flat @ middle / np.maximum(np.linalg.norm(flat, axis=1), 1e-30)))


def _p_share(beats: np.ndarray, median: np.ndarray, onset: float, offset: float) -> float:
    """Share of the beats in which the median beat's P wave is seen: correlation of a half or more, all leads."""
    if not (np.isfinite(onset) and np.isfinite(offset) and offset - onset >= 2) or not len(beats):
        return np.nan
    span = slice(max(0, int(onset)), int(offset) + 1)
    waves = beats[..., span] - beats[..., span].mean(axis=-1, keepdims=True)
    model = _unit((median[:, span] - median[:, span].mean(axis=-1, keepdims=True)).ravel())
    flat = waves.reshape(len(waves), -1)
    return float(np.mean(flat @ model >= 0.5 * np.maximum(np.linalg.norm(flat, axis=1), 1e-30)))
