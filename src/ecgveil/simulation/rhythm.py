"""When the simulated heart beats, and with which kind of beat."""

from dataclasses import dataclass

import numpy as np

from ecgveil.simulation.patients import Patients

NORMAL, VENTRICULAR, ATRIAL = range(3)
SHORTEST_RR = 0.32  # seconds; below it the AV node does not conduct, and it bounds the number of beats


@dataclass(frozen=True, eq=False)
class Beats:
    """Beats from before a record's start to after its end, shape (n_records, n_beats)."""

    qrs_onset: np.ndarray  # seconds from the record's start
    rr: np.ndarray  # seconds since the beat before
    kind: np.ndarray  # NORMAL, VENTRICULAR, ATRIAL
    breath: np.ndarray  # respiration in [-1, 1] at the beat


@dataclass(frozen=True, eq=False)
class Breathing:
    """Respiration as a sine, for RR, amplitudes and baseline alike; shape (n_records,)."""

    rate_hz: np.ndarray
    phase: np.ndarray

    def at(self, time: np.ndarray) -> np.ndarray:
        """Respiration in [-1, 1] at `time`, seconds, (n_records, ...)."""
        shape = (-1,) + (1,) * (np.ndim(time) - 1)
        return np.sin(2 * np.pi * self.rate_hz.reshape(shape) * time + self.phase.reshape(shape))


def beats(patients: Patients, streams: list[np.random.Generator], seconds: float, breathing: Breathing) -> Beats:
    """Beat times of one record for each patient.

    Sinus rhythm varies at 0.1 Hz and with respiration (the two bands of McSharry et al. 2003, IEEE Trans Biomed Eng
    50:289, section III-B) and a little at random; in atrial fibrillation successive intervals are independent.
    A ventricular ectopic beat comes early and leaves the sinus node alone (full compensatory pause);
    an atrial one resets it.
    """
    n_beats = int(np.ceil((seconds + 0.6) / SHORTEST_RR)) + 4
    z = np.array([rng.standard_normal(n_beats) for rng in streams]).reshape(-1, n_beats)
    u = np.array([rng.random(n_beats + 2) for rng in streams]).reshape(-1, n_beats + 2)
    kind = _kinds(patients, u[:, :n_beats], seconds)
    rr, onset = np.empty(z.shape), np.empty(z.shape)
    previous = -(2 + u[:, n_beats]) * patients.mean_rr
    for b in range(n_beats):
        base = _interval(patients, z[:, b], previous, breathing, u[:, n_beats + 1])
        rr[:, b] = np.maximum(base * _prematurity(patients, kind, b), SHORTEST_RR)
        onset[:, b] = previous = previous + rr[:, b]
    return Beats(onset, rr, kind, breathing.at(onset))


def _interval(patients: Patients, z, time, breathing: Breathing, phase) -> np.ndarray:
    """The interval that follows a beat at `time`, seconds, without ectopy; (n_records,)."""
    respiratory = 0.2 + 0.6 * patients.uniform["respiratory_share"]
    swing = np.sqrt(2 * respiratory) * breathing.at(time)
    swing += np.sqrt(2 * (1 - respiratory)) * np.sin(2 * np.pi * (0.1 * time + phase))
    sinus = patients.mean_rr + patients.rr_sd * (0.9 * swing + 0.3 * z)
    fibrillating = patients.mean_rr * np.exp(0.21 * z - 0.022)
    return np.where(patients.has("atrial fibrillation"), fibrillating, sinus)


def _kinds(patients: Patients, u: np.ndarray, seconds: float) -> np.ndarray:
    """Kind of each beat: ectopic beats at random, never two in a row, at least one amid the record."""
    share = 0.08 + 0.14 * patients.uniform["ectopic_share"][:, None]
    ectopic = u < share
    middle = (seconds / 2 / patients.mean_rr).astype(int) + 2
    ectopic[np.arange(len(u)), np.minimum(middle, u.shape[1] - 1)] = True
    for b in range(1, u.shape[1]):
        ectopic[:, b] &= ~ectopic[:, b - 1]
    ectopic[:, 0] = False
    kind = np.where(patients.has("ventricular ectopic beats"), VENTRICULAR, NORMAL)
    kind = np.where(patients.has("atrial ectopic beats"), ATRIAL, kind)
    return np.where(ectopic, kind[:, None], NORMAL)


def _prematurity(patients: Patients, kind: np.ndarray, b: int) -> np.ndarray:
    """Factor on the interval before beat `b`: short before an ectopic beat, long after it."""
    early = 0.58 + 0.12 * patients.uniform["coupling"]
    before = kind[:, b - 1] if b else np.full(len(kind), NORMAL)
    factor = np.select([before == VENTRICULAR, before == ATRIAL], [2 - early, 1.08], 1.0)
    return np.where(kind[:, b] == NORMAL, factor, early)
