"""Noise of a recording, made at the electrodes, so that it is shared by the leads as real noise is."""

import numpy as np
from scipy.fft import irfft, next_fast_len

from ecgveil.simulation.patients import Patients
from ecgveil.simulation.rhythm import Breathing

ELECTRODES = ("RA", "LA", "LL", "C1", "C2", "C3", "C4", "C5", "C6")
MAINS_HZ = 50.0
_THIRD = 1 / 3

# The 8 independent leads from the electrodes: I = LA - RA, II = LL - RA, Vn = Cn - (RA + LA + LL) / 3.
LEADS_FROM_ELECTRODES = np.zeros((8, 9))
LEADS_FROM_ELECTRODES[0, :3] = (-1, 1, 0)
LEADS_FROM_ELECTRODES[1, :3] = (-1, 0, 1)
LEADS_FROM_ELECTRODES[2:, :3] = -_THIRD
LEADS_FROM_ELECTRODES[2:, 3:] = np.eye(6)


def noise(
    patients: Patients, streams: list[np.random.Generator], fs: float, n_samples: int, breathing: Breathing
) -> np.ndarray:
    """Noise in mV on the 8 independent leads, (n_records, 8, n_samples).

    Baseline wander (respiration and a slow drift), mains at 50 Hz, muscle noise (pink above 10 Hz) with a small white
    floor, and in some records one electrode that moves.
    """
    time = np.arange(n_samples) / fs
    electrodes = _coloured(patients, streams, fs, n_samples)
    u = np.array([rng.random((len(ELECTRODES), 3)) for rng in streams]).reshape(-1, len(ELECTRODES), 3)
    breath = breathing.at(np.broadcast_to(time, (len(patients), n_samples)))
    depth = 0.022 * np.exp(0.5 * patients.normal["breathing"])[:, None] * (u[..., 0] - 0.4)
    electrodes += depth[..., None] * breath[:, None, :]
    if fs > 2 * MAINS_HZ:
        level = 0.003 * np.exp(0.6 * patients.normal["mains"])[:, None] * u[..., 1]
        hum = np.stack([np.sin(2 * np.pi * MAINS_HZ * time), np.cos(2 * np.pi * MAINS_HZ * time)])
        angle = 0.8 * u[..., 2]
        electrodes += level[..., None] * (np.stack([np.cos(angle), np.sin(angle)], -1) @ hum)
    _add_motion(electrodes, streams, time)
    return np.matmul(LEADS_FROM_ELECTRODES.astype(np.float32), electrodes.astype(np.float32))


def _coloured(patients: Patients, streams: list[np.random.Generator], fs: float, n_samples: int) -> np.ndarray:
    """Drift, muscle and white noise of every electrode in mV, (n_records, 9, n_samples), shaped by their spectra."""
    # Longer than the record, because noise made by an inverse FFT ends as it begins.
    length = next_fast_len(int(1.25 * n_samples) + 2, real=True)
    f = np.arange(length // 2 + 1) * fs / length
    slow = np.where(f > 0, 1 / np.maximum(f, 0.08) ** 1.3 / (1 + (f / 0.7) ** 4), 0)
    muscle = np.where(f > 0, 1 / np.sqrt(np.maximum(f, 25.0)), 0) / (1 + (10 / np.maximum(f, 1e-3)) ** 2)
    muscle /= 1 + (f / 150.0) ** 4
    slow, muscle = (shape / np.sqrt((shape**2).sum()) for shape in (slow, muscle))  # unit power
    white = np.full(f.size, 1 / np.sqrt(f.size))
    drift_mv = 0.028 * np.exp(0.5 * patients.normal["drift"])
    muscle_mv = 0.0065 * np.exp(0.5 * patients.normal["noise"])
    amplitude = np.sqrt(np.outer(drift_mv**2, slow**2) + np.outer(muscle_mv**2, muscle**2) + (0.0015 * white) ** 2)
    out = np.empty((len(patients), len(ELECTRODES), n_samples), np.float32)
    for row, rng in enumerate(streams):
        parts = rng.standard_normal((2, len(ELECTRODES), f.size), dtype=np.float32)
        spectrum = (parts[0] + 1j * parts[1]) * amplitude[row].astype(np.float32)
        out[row] = irfft(spectrum, length, axis=-1)[:, :n_samples] * (length / 2)
    return out


def _add_motion(electrodes: np.ndarray, streams: list[np.random.Generator], time: np.ndarray) -> None:
    """In one record of eight, one electrode's potential jumps and recovers."""
    for row, rng in enumerate(streams):
        chance, when, recovery, sign = rng.random(4)
        which, size = int(rng.integers(len(ELECTRODES))), 0.10 * np.exp(0.5 * rng.standard_normal())
        if chance >= 0.125:
            continue
        since = (time - when * time[-1]) / (0.25 + 0.6 * recovery)
        jump = np.exp(-np.maximum(since, 0)) / (1 + np.exp(-np.clip(since, -1, 1) * 30))
        electrodes[row, which] += (size if sign < 0.5 else -size) * jump
