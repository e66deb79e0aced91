"""Faults in the headers of published databases, recognised beyond doubt and put right.

They would otherwise reach the model as wrong physics: leads under each other's name, and amplitudes that are no
millivolts. Each repair leaves a note on the record; anything less certain is left alone for `quality` to refuse.
"""

from __future__ import annotations

import numpy as np

from ecgveil.leads import DERIVED, limb_residual

COUNTS_PER_MV = 1000.0  # 1 uV per count
_WRONG_CHALLENGE_GAINS = (200.0, 4880.0, 2000000.0)


def exchange_names(signal: np.ndarray, leads: tuple[str, ...], tolerance: float) -> tuple[tuple[str, ...], str]:
    """Lead names with aVL and aVF exchanged where only that makes the limb leads agree.

    III = II - I and aVR = -(I + II)/2 must hold as named (so I and II are what they say), and aVL and aVF must fail as
    named and hold exchanged. So it is in PhysioNet's Challenge 2011 set.

    Parameters
    ----------
    signal : (n_leads, n_samples)
    leads : names of its rows
    tolerance : largest deviation, in the unit of `signal`, that counts as agreement

    Returns
    -------
    leads, note
        The names to use; the note is '' where nothing was changed.
    """
    if not {"I", "II", *DERIVED} <= set(leads):
        return leads, ""
    swap = {"aVL": "aVF", "aVF": "aVL"}
    exchanged = tuple(swap.get(name, name) for name in leads)
    if _deviation(signal, leads) <= tolerance or _deviation(signal, exchanged) > tolerance:
        return leads, ""
    return exchanged, "aVL and aVF carried each other's name"


def own_ranges(counts: np.ndarray, gains: np.ndarray, leads: tuple[str, ...]) -> str:
    """Note where the header's gains are each lead's own range and so no calibration; '' elsewhere.

    The Lobachevsky database's headers give every lead the gain that makes its range 1.0 'mV'. In those units the limb
    leads contradict each other; in counts they agree to half a count, so one scale is common to all leads. It is taken
    as 1 uV per count, which makes ranges of 0.3 to 4 mV.

    Parameters
    ----------
    counts : int (n_leads, n_samples), as stored
    gains : (n_leads,), counts per mV
    leads : names of the rows
    """
    if not {"I", "II", *DERIVED} <= set(leads) or not counts.size or len(set(gains)) < 3:
        return ""
    if np.abs(np.ptp(counts, axis=1) - gains).max() > 1 or _deviation(counts.astype(float), leads) > 1:
        return ""
    return "gains in the header are each lead's own range; read as 1 uV per count, at which the limb leads agree"


def challenge_gain(gains: np.ndarray, comments: tuple[str, ...]) -> str:
    """Note where the gain is one of three errors in headers of the PhysioNet/CinC Challenge 2020; '' elsewhere.

    Parts of its first release state 200, 4880 or 2000000 counts per mV. Later headers of the same databases state 1000,
    and the same patients' records elsewhere agree with 1000: S0004 holds half the counts of PTB's s0015lre, which has
    2000 per mV.

    Parameters
    ----------
    gains : (n_leads,), counts per mV
    comments : the header's; those of the Challenge have the keys Dx, Rx, Hx and Sx
    """
    keys = {line.partition(":")[0].strip() for line in comments}
    if len(set(gains)) != 1 or gains[0] not in _WRONG_CHALLENGE_GAINS or not {"Dx", "Rx", "Hx", "Sx"} <= keys:
        return ""
    return (
        f"gain {gains[0]:.0f}/mV is an error of the Challenge's first release; read as 1 uV per count, as in later ones"
    )


def _deviation(signal: np.ndarray, leads: tuple[str, ...]) -> float:
    residual = np.abs(limb_residual(signal, leads))
    return float(residual.max()) if np.isfinite(residual).all() else np.inf
