"""What an ECG is taken apart into, and the time of a complex."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

COMPLEXES = "complexes"  # the encoder's arrangement of that name
LEAST_SECONDS = 4.0  # of an ECG that is to be taken apart
RATE_HZ = 250.0  # of a complex
BEFORE_S = 0.36  # of R in it
LENGTH = 256  # samples: 1.02 s
STRETCHED_AFTER_S = 0.1  # from where on time goes with RR ** 0.35: the ST segment and T
EXPONENT = 0.35
USUAL_RR_S = 0.8
_QRS_CENTRE_S, _QRS_WIDTH_S = 0.01, 0.045  # where QRS varies
_T_FROM_S, _T_WITHIN_S = 0.12, 0.02
_P_CENTRE_S, _P_WIDTH_S = -0.15, 0.045
SIZES, SHIFT = (0, 1, 2), 3  # of the ways in which beats vary
EDGES_HZ = np.concatenate([[0.05], np.geomspace(0.6, 125.0, 14), [160.0, 200.0, 250.0]])  # of the noise's bands
BANDS = len(EDGES_HZ) - 1
BURSTS_HZ = 6.0  # below and above which noise has a burstiness of its own

_LIMB = {"RA": 0, "LA": 1, "LL": 2}


@dataclass(frozen=True)
class Parts:
    """Of n ECGs in one unit (mV or sd).

    Parameters
    ----------
    complexes : (n, C, LENGTH)
    noise : power of each electrode in each band, per Hz, (n, E, BANDS); NaN above half the sampling rate
    variation : standard deviations from beat to beat, (n, 4, C): of the shares by which QRS, T and P are larger than
        usual (`SIZES`), and of the samples by which QRS comes later (`SHIFT`)
    common : of the shares that all leads have in common, (n, 3)
    bursts : standard deviation of the logarithm of the noise's power along time, below and above 6 Hz, (n, 2)
    """

    complexes: np.ndarray
    noise: np.ndarray
    variation: np.ndarray
    common: np.ndarray
    bursts: np.ndarray

    def take(self, rows: np.ndarray) -> Parts:
        """The parts of the ECGs at `rows`."""
        return Parts(*(getattr(self, each.name)[rows] for each in fields(self)))


def bands_of(fs: float) -> int:
    """How many of the noise's bands lie wholly within a signal at fs, Hz."""
    return int((EDGES_HZ[1:] <= fs / 2 + 0.2).sum())


def numbers_of(leads: tuple[str, ...], fs: float) -> int:
    """How many numbers beside complex and rhythm describe an ECG: noise, variation, what leads share of it, bursts."""
    return electrodes(leads).shape[1] * bands_of(fs) + (len(SIZES) + 1) * len(leads) + len(SIZES) + 2


def electrodes(leads: tuple[str, ...]) -> np.ndarray:
    """What each electrode adds to each lead, (C, E).

    Where all leads are among I, II and V1 to V6: right arm, left arm, left leg, then one for each V lead, whose
    reference is the mean of the three (Wilson). Otherwise each lead stands for an electrode of its own.
    """
    if not set(leads) <= {"I", "II", *(f"V{k}" for k in range(1, 7))}:
        return np.eye(len(leads))
    chest = [lead for lead in leads if lead.startswith("V")]
    mix = np.zeros((len(leads), 3 + len(chest)))
    for row, lead in zip(mix, leads, strict=True):
        if lead == "I":
            row[_LIMB["LA"]], row[_LIMB["RA"]] = 1, -1
        elif lead == "II":
            row[_LIMB["LL"]], row[_LIMB["RA"]] = 1, -1
        else:
            row[:3], row[3 + chest.index(lead)] = -1 / 3, 1
    return mix


def waves(time: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How much of a complex at these times since R, s, is QRS, how much T, and how much P: from 0 to 1."""
    qrs = np.exp(-0.5 * ((time - _QRS_CENTRE_S) / _QRS_WIDTH_S) ** 2)
    p_wave = np.exp(-0.5 * ((time - _P_CENTRE_S) / _P_WIDTH_S) ** 2)
    return qrs, 1 / (1 + np.exp(-(time - _T_FROM_S) / _T_WITHIN_S)), p_wave


def coming(r: np.ndarray) -> np.ndarray:
    """After how long, s, the next beat comes after each of these R times; after the last as after the one before."""
    rr = np.diff(r)
    return np.append(rr, rr[-1] if len(rr) else USUAL_RR_S)


def places(time: np.ndarray, rr: np.ndarray) -> np.ndarray:
    """Times since R, s -> places in a complex, in samples of it, where the next R comes after `rr`, s.

    A complex is that of a heart at `USUAL_RR_S`: so QT goes with the heart rate, from beat to beat and from person to
    person, without having to be learned.
    """
    stretch = np.clip(rr / USUAL_RR_S, 0.5, 2.0) ** EXPONENT
    late = STRETCHED_AFTER_S + (time - STRETCHED_AFTER_S) / stretch
    return (np.where(time > STRETCHED_AFTER_S, late, time) + BEFORE_S) * RATE_HZ
