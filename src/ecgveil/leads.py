"""Lead names and the arithmetic of the limb leads.

The limb leads are six views of two independent voltages: III = II - I, aVR = -(I + II)/2,
aVL = I - II/2, aVF = II - I/2 (Einthoven, Goldberger). So 12 leads carry 8 independent signals.
"""

import numpy as np

from ecgveil.errors import RecordError

LEADS_12 = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
LEADS_8 = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")

# The derived limb leads as combinations of (I, II).
DERIVED = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}

_STANDARD = {name.upper(): name for name in LEADS_12}


def standard_name(name: str) -> str | None:
    """Standard name of a lead, or None where it is not one of the 12 (Frank's vx, a pressure, ...).

    >>> standard_name("avr"), standard_name("MDC_ECG_LEAD_V1"), standard_name("vx")
    ('aVR', 'V1', None)
    """
    key = name.strip().upper().removeprefix("MDC_ECG_LEAD_").removeprefix("LEAD").strip(" _-")
    return _STANDARD.get(key)


def pick(signal: np.ndarray, leads: tuple[str, ...], wanted: tuple[str, ...]) -> np.ndarray:
    """The `wanted` leads of `signal`, by name.

    Parameters
    ----------
    signal : (..., n_leads, n_samples)
    leads : names of the second last axis
    wanted : names to return, in their order; a missing derived limb lead is computed from I and II

    Raises
    ------
    RecordError
        A wanted lead is neither there nor computable.
    """
    rows = []
    for name in wanted:
        if name in leads:
            rows.append(signal[..., leads.index(name), :])
        elif name in DERIVED and "I" in leads and "II" in leads:
            one, two = DERIVED[name]
            rows.append(one * signal[..., leads.index("I"), :] + two * signal[..., leads.index("II"), :])
        else:
            raise RecordError(f"lead {name} is missing; there are {', '.join(leads)}")
    return np.stack(rows, axis=-2)


def restore(signal: np.ndarray) -> np.ndarray:
    """8 independent leads -> 12, (..., 8, n_samples) -> (..., 12, n_samples)."""
    return pick(signal, LEADS_8, LEADS_12)


def limb_residual(signal: np.ndarray, leads: tuple[str, ...]) -> np.ndarray:
    """How far the recorded limb leads are from what I and II say they should be.

    Parameters
    ----------
    signal : (..., n_leads, n_samples), any unit
    leads : names of the second last axis

    Returns
    -------
    (..., n_derived, n_samples)
        Recorded minus computed, for each of III, aVR, aVL, aVF present; empty without I and II.
    """
    present = tuple(name for name in DERIVED if name in leads)
    if "I" not in leads or "II" not in leads or not present:
        return np.zeros((*signal.shape[:-2], 0, signal.shape[-1]), signal.dtype)
    computed = pick(pick(signal, leads, ("I", "II")), ("I", "II"), present)
    return pick(signal, leads, present) - computed
