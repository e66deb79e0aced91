"""Record: one ECG as it was read, before leads are picked, resampled or cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class Record:
    """One ECG record with what is known of its patient; no free text, no dates.

    Parameters
    ----------
    name : where the record is, relative to its folder, without suffix: '5', 'records500/00000/00024_hr'
    path : its header file
    signal : float32 (n_leads, n_samples), in `units`; NaN where the file marks a sample as invalid
    fs : sampling rate in Hz
    leads : standard lead names, in the file's own order
    units : 'mV' wherever the file's unit converts to it, otherwise the file's unit as it stands
    patient_id : '' where unknown
    labels : the record's labels, perhaps none
    age : years, NaN where unknown
    sex : 'female', 'male' or '' (unknown)
    extra : signals that are not of the 12 leads (Frank's vx, vy, vz, a pressure), kept aside in their own units
    meta : what a database adds beyond that: PTB-XL's 'scp_codes' and 'strat_fold'
    notes : what was put right while reading, one sentence each
    """

    name: str
    path: Path
    signal: np.ndarray
    fs: float
    leads: tuple[str, ...]
    units: str = "mV"
    patient_id: str = ""
    labels: tuple[str, ...] = ()
    age: float = float("nan")
    sex: str = ""
    extra: dict[str, np.ndarray] = field(default_factory=dict)
    meta: dict[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def n_samples(self) -> int:
        return self.signal.shape[-1]
