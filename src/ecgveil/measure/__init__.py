"""Clinical measurements of an ECG: one row for each, always, with the reason for every value that is missing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ecgveil.ecg import ECGSet
from ecgveil.measure.statements import statements
from ecgveil.measure.table import measurements


def measure(ecgs: ECGSet, peaks: list[np.ndarray] | None = None) -> pd.DataFrame:
    """Rate, intervals, axes, amplitudes and statements of each ECG.

    Beats are found over all leads together; ectopic and noisy ones are set apart; everything but the rhythm is measured
    on the median of the others, with onsets and offsets for all leads together (`median.Medians`).

    Parameters
    ----------
    ecgs : any leads; amplitudes, axes and the statements on them need mV
    peaks : R peaks of each ECG, in samples, where they are known. Default: `beats.r_peaks`

    Returns
    -------
    DataFrame
        One row for each ECG, in order:
        record_name; n_beats, n_ventricular, n_supraventricular, n_noisy; heart_rate_bpm, rr_mean_ms, rr_sd_ms,
        rr_rmssd_ms (of successive intervals between normal beats); p_duration_ms, pr_interval_ms, qrs_duration_ms,
        qt_interval_ms, qtc_<bazett, fridericia, framingham, hodges>_ms; p_axis_deg, qrs_axis_deg, t_axis_deg;
        for each lead the columns of `waves.amplitudes`, as r_v5_uv, stj_v5_uv, q_ii_ms; p_present (1, 0 or NaN);
        p_beats_share (of the normal beats, with the P wave of the median beat); limb_residual_uv (root mean square of
        recorded minus computed III, aVR, aVL, aVF); noise_uv (fine ripple, as the SD of white noise, median over the
        leads); wander_uv (root mean square below 0.5 Hz, median over the leads); flat_leads (constant for 1 s, or
        empty) and wild_leads (over 20 mV), numbers of leads; reasons (codes, `; ` between, why values are NaN);
        statements (`; ` between), codes, conclusion (`statements`).

    Raises
    ------
    RecordError
        `peaks` do not fit the set.
    """
    table = measurements(ecgs, peaks)
    return pd.concat([table, statements(table, np.asarray(ecgs.age, float), ecgs.sex)], axis=1)
