"""A parametric 12-lead ECG simulator with known intervals: the demo clinic, and the oracle of measurement tests.

The heart is a dipole whose P, QRS and T are Gaussian waves (McSharry, Clifford, Tarassenko, Smith 2003, IEEE Trans
Biomed Eng 50:289; as a dipole: Sayadi, Shamsollahi, Clifford 2010, IEEE Trans Biomed Eng 57:2150). Dower's matrix
(1980) shows it on the 8 independent leads, the limb-lead equations on all 12. It is a teaching model: no real patient
has gone into it.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError
from ecgveil.files import new_folder
from ecgveil.formats import wfdb_write
from ecgveil.leads import LEADS_8, LEADS_12, restore
from ecgveil.simulation import patients as _patients
from ecgveil.simulation import rhythm as _rhythm
from ecgveil.simulation.noise import noise as _noise
from ecgveil.simulation.patients import CONDITIONS, DEFAULT_MIX, Patients
from ecgveil.simulation.rhythm import ATRIAL, NORMAL, VENTRICULAR, Beats, Breathing
from ecgveil.simulation.waves import DOWER, EDGE_MV, Waves, gaussians, shapes

__all__ = [
    "ATRIAL",
    "CONDITIONS",
    "DEFAULT_MIX",
    "EDGE_MV",
    "NORMAL",
    "VENTRICULAR",
    "Truth",
    "simulate",
    "write_clinic",
]

HEADER_COMMENT = "simulated by ecgveil, not a real patient"

Spans = dict[str, tuple[np.ndarray, np.ndarray]]  # wave -> onset and duration in seconds, (n_records, n_beats)

_BATCH = 64  # records simulated and written at a time
_BEFORE, _AFTER = 0.42, 0.80  # seconds of a beat around its QRS onset: from before P to after T


@dataclass(frozen=True, eq=False)
class Truth:
    """What is true of simulated records, whatever their noise.

    A wave lasts from where it first departs by 10 uV (`EDGE_MV`) from the line in any of the 12 leads to where it last
    does; its peak is where the spatial magnitude of its dipole is largest. Values of a patient are those of the normal
    beats. So they are global, over all leads: a single lead that looks across a wave may show less of it.

    Axes are frontal, in degrees, 0 towards lead I and 90 towards aVF, from the net areas of the noiseless wave in I and
    aVF: atan2(2 / sqrt(3) * area(aVF), area(I)); the factor because Goldberger's leads are shorter than Einthoven's.

    Per patient, shape (n_patients,): `heart_rate_bpm` and `rr_ms` (mean between R peaks of all beats in the record),
    `pr_interval_ms` and `p_duration_ms` and `p_axis_deg` (NaN in atrial fibrillation), `qrs_duration_ms`,
    `qt_interval_ms` (mean of the normal beats), `qrs_axis_deg`, `t_axis_deg`.
    Per beat whose R peak lies in the record, shape (n_patients, max_beats), seconds from the record's start, NaN where
    absent, outside the record or padding: `p_onset` ... `t_offset`; `kind`: NORMAL, VENTRICULAR, ATRIAL, or -1 for
    padding.
    """

    heart_rate_bpm: np.ndarray
    rr_ms: np.ndarray
    pr_interval_ms: np.ndarray
    p_duration_ms: np.ndarray
    qrs_duration_ms: np.ndarray
    qt_interval_ms: np.ndarray
    qrs_axis_deg: np.ndarray
    p_axis_deg: np.ndarray
    t_axis_deg: np.ndarray
    p_onset: np.ndarray
    p_peak: np.ndarray
    p_offset: np.ndarray
    qrs_onset: np.ndarray
    r_peak: np.ndarray
    qrs_offset: np.ndarray
    t_onset: np.ndarray
    t_peak: np.ndarray
    t_offset: np.ndarray
    kind: np.ndarray


def simulate(
    n_patients: int,
    *,
    seed: int,
    seconds: float = 10.0,
    fs: float = 500.0,
    noise: float = 1.0,
    conditions: Mapping[str, float] | None = None,
) -> tuple[ECGSet, Truth]:
    """Simulate one 12-lead ECG for each of `n_patients` patients.

    Parameters
    ----------
    n_patients : at least 1
    seed : patient k depends on (seed, k), not on `n_patients`
    seconds : length of a record, at least 5
    fs : sampling rate in Hz, at least 100
    noise : factor on the noise; 0 for none
    conditions : condition -> weight, see `CONDITIONS`; a key may join several with ';'. Default: `DEFAULT_MIX`, half
        of it plain sinus rhythm

    Returns
    -------
    ECGSet
        (n_patients, 12, seconds * fs) in mV; the labels are the patient's conditions.
    Truth

    Raises
    ------
    ConfigError
        A value is out of range, or a condition is unknown.

    Examples
    --------
    >>> ecgs, truth = simulate(3, seed=1, conditions={"sinus bradycardia": 1})
    >>> ecgs.signal.shape, bool((truth.heart_rate_bpm < 60).all())
    ((3, 12, 5000), True)
    """
    _check(n_patients, seconds, fs, noise)
    numbers = np.arange(n_patients)
    return simulate_records(
        numbers, np.zeros(n_patients, int), seed=seed, seconds=seconds, fs=fs, noise=noise, conditions=conditions
    )


def simulate_records(
    numbers: np.ndarray,
    visits: np.ndarray,
    *,
    seed: int,
    seconds: float = 10.0,
    fs: float = 500.0,
    noise: float = 1.0,
    conditions: Mapping[str, float] | None = None,
) -> tuple[ECGSet, Truth]:
    """As `simulate`, for record `visits[i]` of patient `numbers[i]`: same heart, other beats and noise."""
    patients = _patients.draw(numbers, seed, conditions)
    streams = [_patients.generator(seed, int(k), 1 + int(v)) for k, v in zip(numbers, visits, strict=True)]
    n_samples = round(seconds * fs)
    breathing = _breathing(patients, streams)
    beats = _rhythm.beats(patients, streams, seconds, breathing)
    waves = shapes(patients)
    spans = _spans(patients, beats, waves)
    dipole = _dipole(waves, spans, beats, fs, n_samples)
    dipole += _fibrillation(patients, streams, fs, n_samples)
    leads = np.matmul(np.array([DOWER[lead] for lead in LEADS_8], np.float32), dipole)  # (records, 8, samples)
    if noise > 0:
        leads += np.float32(noise) * _noise(patients, streams, fs, n_samples, breathing)
    ecgs = ECGSet(
        signal=restore(leads),
        fs=fs,
        leads=LEADS_12,
        record_name=tuple(f"p{k:05d}-{v + 1}" for k, v in zip(numbers, visits, strict=True)),
        patient_id=tuple(f"p{k:05d}" for k in numbers),
        labels=patients.conditions,
        age=patients.age.astype(np.float32),
        sex=patients.sex,
    )
    return ecgs, _truth(patients, beats, waves, spans, seconds)


def _check(n_patients: int, seconds: float, fs: float, noise: float) -> None:
    if n_patients < 1:
        raise ConfigError(f"n_patients is {n_patients}; simulate at least 1")
    if not 5 <= seconds < np.inf:  # so that the slowest heart beats at least twice
        raise ConfigError(f"seconds is {seconds}; simulate at least 5 s")
    if not 100 <= fs < np.inf:
        raise ConfigError(f"fs is {fs} Hz; simulate at 100 Hz or more")
    if not 0 <= noise < np.inf:
        raise ConfigError(f"noise is {noise}; give a factor of 0 (none) or more")


def _breathing(patients: Patients, streams: list[np.random.Generator]) -> Breathing:
    draws = np.array([rng.random(2) for rng in streams]).reshape(-1, 2)
    return Breathing(rate_hz=0.18 + 0.14 * draws[:, 0], phase=2 * np.pi * draws[:, 1])


def _spans(patients: Patients, beats: Beats, waves: dict[str, Waves]) -> Spans:
    """Onset and duration in seconds of each beat's P, QRS and T, each (n_records, n_beats)."""
    ventricular = beats.kind == VENTRICULAR
    qrs = np.where(ventricular, patients.ectopic_qrs_duration[:, None], patients.qrs_duration[:, None])
    # QT follows the rate slowly: mostly the mean interval, a little the last one. Cube root: Fridericia 1920.
    rr = np.maximum(0.8 * patients.mean_rr[:, None] + 0.2 * beats.rr, 0.3)
    wide = 0.6 * np.maximum(qrs - patients.qrs_duration[:, None], 0)
    qt = patients.qtc[:, None] * np.cbrt(rr) + wide
    # T takes about 70 % of the time from J to its end; where conduction is slow, ST is short and slopes into T.
    slow = (qrs > 0.12) & ~patients.has("right bundle branch block")[:, None] | ventricular
    t = np.where(slow, 0.88, 0.72) * (qt - qrs)
    p = np.broadcast_to(patients.p_duration[:, None], qrs.shape)
    onset = beats.qrs_onset
    return {"P": (onset - patients.pr[:, None], p), "QRS": (onset, qrs), "T": (onset + qt - t, t)}


def _dipole(waves: dict[str, Waves], spans: Spans, beats: Beats, fs: float, n_samples: int) -> np.ndarray:
    """The dipole in the Frank frame, mV, float32 (n_records, 3, n_samples): all beats added up."""
    length = int(np.ceil((_BEFORE + _AFTER) * fs))
    dipole = np.zeros((len(beats.kind), 3, n_samples + 2 * length), np.float32)
    for b in range(beats.kind.shape[1]):
        first = np.floor((beats.qrs_onset[:, b] - _BEFORE) * fs).astype(int)
        rows = np.flatnonzero((first > -length) & (first < n_samples))
        sample = first[rows, None] + np.arange(length)
        time = sample / fs - beats.qrs_onset[rows, b][:, None]  # from QRS onset: small, so float32 keeps it
        beat = _one_beat(waves, spans, beats, rows, b, time.astype(np.float32))
        dipole[rows[:, None, None], np.arange(3)[:, None], sample[:, None, :] + length] += beat
    return dipole[:, :, length : length + n_samples]


def _one_beat(waves: dict[str, Waves], spans: Spans, beats: Beats, rows, b: int, time: np.ndarray) -> np.ndarray:
    """Beat `b` of the records `rows` at `time` (n_rows, n_samples) from its QRS onset -> (n_rows, 3, n_samples)."""
    kind = beats.kind[rows, b]
    parts = []
    for name, wave in waves.items():
        onset, duration = (each[rows, b, None] for each in spans[name])
        centre = onset - beats.qrs_onset[rows, b, None] + duration * wave.centre[rows, kind]
        parts.append(
            (centre, duration * wave.left[rows, kind], duration * wave.right[rows, kind], wave.vector[rows, kind])
        )
    centre, left, right, vector = (np.concatenate(each, axis=1).astype(np.float32) for each in zip(*parts, strict=True))
    # The lungs move and shield the heart: amplitudes follow respiration by a few per cent.
    vector *= (1 + 0.04 * beats.breath[rows, b]).astype(np.float32)[:, None, None]
    return np.matmul(vector.transpose(0, 2, 1), gaussians(time, centre, left, right))


def _fibrillation(patients: Patients, streams: list[np.random.Generator], fs: float, n_samples: int) -> np.ndarray:
    """Fibrillatory waves as a dipole, mV, (n_records, 3, n_samples); 0 without atrial fibrillation.

    A sawtooth-like wave of 5 to 8 Hz whose rate and size wander (Stridh, Sornmo 2001, IEEE Trans Biomed Eng 48:105).
    """
    draws = np.array([rng.random((3, 4)) for rng in streams]).reshape(-1, 3, 4)
    out = np.zeros((len(patients), 3, n_samples), np.float32)
    rows = np.flatnonzero(patients.has("atrial fibrillation"))
    time = np.arange(n_samples) / fs
    rate = 5.0 + 3.0 * patients.uniform["fibrillation_rate"][rows, None]
    size = 0.055 * np.exp(0.35 * patients.normal["fibrillation"][rows, None])
    for axis, weight in enumerate((-0.45, 0.55, -0.85)):  # strongest towards V1, then the inferior leads
        u = draws[rows, axis]
        wander = np.sin(2 * np.pi * ((0.15 + 0.2 * u[:, :1]) * time + u[:, 1:2]))
        phase = 2 * np.pi * (rate * time + u[:, 2:3]) + 2.0 * wander
        saw = sum(np.sin(h * phase) / h for h in (1, 2, 3))
        swell = 1 + 0.35 * np.sin(2 * np.pi * ((0.3 + 0.3 * u[:, 3:]) * time + u[:, 1:2]))
        out[rows, axis] = weight * size * saw * swell
    return out


def _truth(patients: Patients, beats: Beats, waves: dict[str, Waves], spans: Spans, seconds: float) -> Truth:
    rows = np.arange(len(patients))[:, None]
    times = {}
    for name, wave in waves.items():
        onset, duration = spans[name]
        absent = ~wave.present()[rows, beats.kind]
        peak = onset + duration * wave.peak[rows, beats.kind]
        times[name] = [np.where(absent, np.nan, each) for each in (onset, peak, onset + duration)]
    r_peak = times["QRS"][1]
    inside = (r_peak >= 0) & (r_peak < seconds)
    order = np.argsort(~inside, axis=1, kind="stable")[:, : int(inside.sum(1).max())]  # beats in the record first
    kept = np.take_along_axis(inside, order, 1)

    def in_record(values: np.ndarray) -> np.ndarray:
        picked = np.take_along_axis(values, order, 1)
        return np.where(kept & (picked >= 0) & (picked < seconds), picked, np.nan)

    p, qrs, t = ([in_record(each) for each in times[name]] for name in ("P", "QRS", "T"))
    kind = np.where(kept, np.take_along_axis(beats.kind, order, 1), -1)
    rr_ms = 1000 * np.nanmean(np.diff(qrs[1], axis=1), axis=1)
    normal = inside & (beats.kind == NORMAL)
    qt = spans["T"][0] + spans["T"][1] - beats.qrs_onset
    has_p = waves["P"].present()[:, NORMAL]
    return Truth(
        heart_rate_bpm=60000 / rr_ms,
        rr_ms=rr_ms,
        pr_interval_ms=np.where(has_p, 1000 * patients.pr, np.nan),
        p_duration_ms=np.where(has_p, 1000 * patients.p_duration, np.nan),
        qrs_duration_ms=1000 * patients.qrs_duration,
        qt_interval_ms=1000 * (qt * normal).sum(1) / np.maximum(normal.sum(1), 1),
        qrs_axis_deg=_axis(waves["QRS"]),
        p_axis_deg=np.where(has_p, _axis(waves["P"]), np.nan),
        t_axis_deg=_axis(waves["T"]),
        p_onset=p[0],
        p_peak=p[1],
        p_offset=p[2],
        qrs_onset=qrs[0],
        r_peak=qrs[1],
        qrs_offset=qrs[2],
        t_onset=t[0],
        t_peak=t[1],
        t_offset=t[2],
        kind=kind,
    )


def _axis(waves: Waves) -> np.ndarray:
    """Frontal axis of the normal beats in degrees, from the net areas in I and aVF; (n_patients,)."""
    area = waves.area()[:, NORMAL]
    one, two = area @ np.array(DOWER["I"]), area @ np.array(DOWER["II"])
    return np.degrees(np.arctan2(2 / np.sqrt(3) * (two - one / 2), one))


def write_clinic(
    folder: str | Path,
    n_patients: int,
    *,
    seed: int,
    seconds: float = 10.0,
    fs: float = 500.0,
    noise: float = 1.0,
    conditions: Mapping[str, float] | None = None,
    repeat_share: float = 0.1,
) -> tuple[str, ...]:
    """Write a simulated clinic as WFDB records with `RECORDS` and `labels.csv`.

    Parameters
    ----------
    folder : a new or empty folder; it appears whole or not at all
    n_patients, seed, seconds, fs, noise, conditions : as for `simulate`
    repeat_share : share of patients with two records: the same heart, other beats and other noise

    Returns
    -------
    The record names, in the order of `RECORDS`.

    Raises
    ------
    ConfigError
        A value is out of range.
    RunError
        The folder holds something, or cannot be written.
    """
    _check(n_patients, seconds, fs, noise)
    if not 0 <= repeat_share <= 1:
        raise ConfigError(f"repeat_share is {repeat_share}; give a share from 0 to 1")
    again = _patients.draw(np.arange(n_patients), seed, conditions).uniform["repeat"] < repeat_share
    numbers = np.repeat(np.arange(n_patients), 1 + again)
    visits = np.concatenate([[0], numbers[1:] == numbers[:-1]]).astype(int)
    settings = {"seed": seed, "seconds": seconds, "fs": fs, "noise": noise, "conditions": conditions}
    with new_folder(Path(folder)) as building:
        rows = _write_records(building, numbers, visits, settings)
    return tuple(row[0] for row in rows)


def _write_records(folder: Path, numbers: np.ndarray, visits: np.ndarray, settings: dict) -> list[tuple[str, ...]]:
    """Simulate and write in batches, then the list and the labels; returns the rows of labels.csv."""
    rows: list[tuple[str, ...]] = []
    for start in range(0, len(numbers), _BATCH):
        part = slice(start, start + _BATCH)
        ecgs, _ = simulate_records(numbers[part], visits[part], **settings)
        wfdb_write.write(ecgs, folder, comments=[HEADER_COMMENT])
        labels = [";".join(each) for each in ecgs.labels]
        ages = [f"{age:.0f}" for age in ecgs.age]
        rows += zip(ecgs.record_name, ecgs.patient_id, labels, ages, ecgs.sex, strict=True)
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("record_name", "patient_id", "label", "age", "sex"))
        writer.writerows(rows)
    wfdb_write.write_records_file(folder, [row[0] for row in rows])
    return rows
