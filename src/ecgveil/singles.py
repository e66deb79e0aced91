"""ECGs -> single beats, one ECG each, aligned on the R peak."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from ecgveil.ecg import ECGSet
from ecgveil.errors import RecordError
from ecgveil.measure.beats import iter_beats, r_peaks

SECONDS = 10.0  # of the windows that beats are looked for in: as long as a resting ECG
R_AT = 3 / 8  # of a beat's length lies before its R peak; of 0.8 s that is 0.3 s, room for a P wave and a long PR


def r_sample(n_samples: int) -> int:
    """Where the R peak lies in a beat of `n_samples`.

    >>> r_sample(200)
    75
    """
    return round(R_AT * n_samples)


def single_beats(ecgs: ECGSet, n_samples: int) -> ECGSet:
    """Every beat that lies wholly within its ECG, ectopic ones too; baseline wander is taken off by `iter_beats`.

    Parameters
    ----------
    ecgs : the set, at least 60 Hz
    n_samples : length of a beat; its R peak is at `r_sample(n_samples)`

    Returns
    -------
    ECGSet
        A beat bears its record's name with '#0', '#1', ... in order of time, and shares patient and labels with the
        others. Windows of one record ('name#0', 'name#1') are counted through. ECGs without a beat are not there.

    Raises
    ------
    RecordError
        No ECG shows a whole beat, or the sampling rate is too low to find any.
    """
    before = r_sample(n_samples)
    ms = 1000 / ecgs.fs
    found = iter_beats(ecgs, r_peaks(ecgs), before * ms, (n_samples - before - 1) * ms)
    beats = list(found)
    rows = np.repeat(np.arange(len(ecgs)), [len(each) for each in beats])
    if not len(rows):
        raise RecordError(
            f"none of {len(ecgs)} ECGs shows a whole beat of {n_samples / ecgs.fs:.3g} s; "
            "give ECGs with visible QRS complexes, or ask for shorter beats (data.n_samples)"
        )
    counted: Counter[str] = Counter()
    names = []
    for row in rows:
        record = ecgs.record_name[row].rpartition("#")[0] or ecgs.record_name[row]
        names.append(f"{record}#{counted[record]}")
        counted[record] += 1
    return replace(
        ecgs,
        signal=np.concatenate(beats),
        record_name=tuple(names),
        patient_id=tuple(ecgs.patient_id[row] for row in rows),
        labels=tuple(ecgs.labels[row] for row in rows),
        age=ecgs.age[rows],
        sex=tuple(ecgs.sex[row] for row in rows),
    )
