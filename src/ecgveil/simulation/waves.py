"""The shape of a beat: Gaussian waves of the heart's dipole in the Frank frame, one set for each patient.

Frame: x to the left, y to the feet, z to the back (Frank 1956), mV as the Frank leads would show.
A wave is a vector times a Gaussian whose left and right widths may differ, after McSharry et al. 2003 and, for the
dipole, Sayadi et al. 2010; their phase angles are replaced by times, so that intervals are exact. The vectors are set
by hand to give the morphology that textbooks describe; they are not fitted to anyone's record.
"""

from dataclasses import dataclass

import numpy as np

from ecgveil.leads import LEADS_12, pick
from ecgveil.simulation.patients import SHAPES, Patients
from ecgveil.simulation.rhythm import ATRIAL, NORMAL, VENTRICULAR

# V1..V6, I, II from Frank x, y, z: Dower, Machado, Osborne 1980, Clin Cardiol 3:87, as tabulated by
# Bailon, Sornmo, Laguna in Clifford et al., Advanced Methods and Tools for ECG Data Analysis (2006), ch. 8.
DOWER = {
    "I": (0.632, -0.235, 0.059),
    "II": (0.235, 1.066, -0.132),
    "V1": (-0.515, 0.157, -0.917),
    "V2": (0.044, 0.164, -1.387),
    "V3": (0.882, 0.098, -1.277),
    "V4": (1.213, 0.127, -0.601),
    "V5": (1.125, 0.127, -0.086),
    "V6": (0.831, 0.076, 0.230),
}

# Rows: centre, left and right width (any time unit: rescaled to the patient's durations), x, y, z.
_P = ((36, 17, 17, 0.060, 0.075, -0.050), (64, 18, 19, 0.080, 0.045, 0.045))
_P_ECTOPIC = ((40, 16, 16, -0.030, -0.075, 0.020), (64, 18, 18, 0.050, -0.040, 0.050))


def _t_wave(x: float, y: float, z: float, left: float = 42) -> tuple[tuple[float, ...], ...]:
    """A T wave that rises slowly, first as a sloping ST segment, and falls faster."""
    return (110, 42, 42, 0.22 * x, 0.22 * y, 0.22 * z), (160, left, 33, x, y, z)


_T = _t_wave(0.31, 0.19, -0.155)

# Septal, anterior, main left, posterior, terminal.
_QRS = (
    (15, 6, 6, -0.12, -0.03, -0.12),
    (28, 7, 7, 0.22, 0.27, -0.38),
    (43, 8, 7.5, 1.00, 0.78, 0.22),
    (56, 7.5, 8, 0.22, 0.00, 0.66),
    (69, 7, 7, -0.08, -0.14, 0.14),
)
_QRS_BY_SHAPE = {
    "right bundle branch block": (
        (14, 6, 6, -0.13, -0.03, -0.11),
        (27, 7, 7, 0.24, 0.18, -0.38),
        (42, 8, 8, 0.90, 0.70, 0.15),
        (58, 9, 9, 0.10, 0.10, 0.45),
        (92, 15, 17, -0.52, -0.05, -0.62),
    ),
    "left bundle branch block": (
        (22, 9, 9, 0.16, 0.16, -0.06),
        (48, 15, 15, 0.66, 0.44, 0.58),
        (76, 15, 15, 0.34, 0.16, 0.78),
        (103, 15, 13, 0.66, 0.08, 0.56),
        (128, 9, 9, 0.08, -0.06, 0.10),
    ),
    "old inferior infarction": (
        (21, 10, 10, -0.06, -0.46, -0.14),
        (38, 8, 8, 0.22, -0.10, -0.38),
        (53, 8.5, 8.5, 0.98, 0.50, 0.22),
        (66, 8, 8, 0.14, 0.16, 0.62),
        (79, 7, 7, -0.10, 0.02, 0.14),
    ),
    "old anterior infarction": (
        (20, 9, 9, -0.10, 0.00, 0.30),
        (34, 10, 10, 0.00, 0.14, 0.62),
        (49, 9, 9, 0.72, 0.66, 0.48),
        (60, 9, 9, 0.16, 0.12, 0.62),
        (74, 8, 8, -0.04, -0.06, 0.16),
    ),
}
_T_BY_SHAPE = {
    "right bundle branch block": _t_wave(0.30, 0.18, 0.10),
    "left bundle branch block": _t_wave(-0.27, -0.08, -0.38, left=55),
    "old inferior infarction": _t_wave(0.26, -0.12, -0.17, left=38),
    "old anterior infarction": _t_wave(0.02, 0.15, 0.21, left=38),
}
# Ventricular ectopic beats from the right and from the left ventricle.
_ECTOPIC_QRS = (
    ((26, 13, 13, 0.30, 0.35, -0.10), (62, 18, 17, 0.85, 1.00, 1.00), (98, 17, 17, 0.40, 0.30, 0.80)),
    ((26, 13, 13, -0.20, 0.10, -0.35), (62, 18, 18, -0.60, -0.70, -1.05), (98, 17, 17, -0.75, -0.45, -0.30)),
)
_ECTOPIC_T = (_t_wave(-0.36, -0.38, -0.48, left=55), _t_wave(0.40, 0.34, 0.45, left=55))

# A wave lasts from where it first departs by 10 uV from the line in any lead, the least that a reader sees at 10 mm/mV,
# to where it last does: the earliest onset and the latest offset, as recommended (Kligfield et al., Circulation
# 115:1306, 2007).
EDGE_MV = 0.010
_LEADS = pick(np.array(list(DOWER.values())), tuple(DOWER), LEADS_12)  # (12 leads, x y z)


@dataclass(frozen=True, eq=False)
class Waves:
    """The Gaussians of P, QRS or T in unit time, 0 = onset and 1 = offset; a row for each patient and kind of beat.

    `centre`, `left`, `right` : (n_patients, 3 kinds, n_waves); `vector` : (n_patients, 3, n_waves, 3) in mV;
    `peak` : (n_patients, 3), where the spatial magnitude is largest. A wave that is absent has vector 0.
    """

    centre: np.ndarray
    left: np.ndarray
    right: np.ndarray
    vector: np.ndarray
    peak: np.ndarray

    def area(self) -> np.ndarray:
        """Integral of the dipole over unit time, (n_patients, 3 kinds, 3), exact for Gaussians."""
        width = np.sqrt(np.pi / 2) * (self.left + self.right)
        return np.einsum("pkw,pkwc->pkc", width, self.vector)

    def present(self) -> np.ndarray:
        """Which patients and kinds have the wave at all, bool (n_patients, 3)."""
        return np.abs(self.vector).max((2, 3)) > 0


def shapes(patients: Patients) -> dict[str, Waves]:
    """P, QRS and T of every patient, for normal, ventricular and atrial ectopic beats."""
    tables = _tables(patients)
    _scale(tables, patients)
    z = patients.normal
    # The axis turns to the left with age; T follows QRS in part.
    frontal = np.clip(-8 - 0.35 * (patients.age - 50) + 18 * z["qrs_frontal"], -60, 35)
    horizontal = np.clip(9 * z["qrs_horizontal"], -18, 18)
    _rotate(tables["QRS"], frontal, horizontal)
    _rotate(tables["T"], 0.35 * frontal + 8 * z["t_frontal"], 0.3 * horizontal + 8 * z["t_horizontal"])
    _rotate(tables["P"], np.clip(10 * z["p_frontal"], -22, 22), np.zeros(len(patients)))
    return {name: _unit(table) for name, table in tables.items()}


def _tables(patients: Patients) -> dict[str, np.ndarray]:
    """Wave rows of each patient's P, QRS and T before population values, each (n_patients, 3 kinds, n_waves, 6)."""
    origin = (patients.uniform["ectopic_origin"] > 0.6).astype(int)
    qrs, t = _by_shape(patients, _QRS, _QRS_BY_SHAPE), _by_shape(patients, _T, _T_BY_SHAPE)
    p, p_ectopic = (np.tile(np.array(rows), (len(patients), 1, 1)) for rows in (_P, _P_ECTOPIC))
    tables = {
        "P": _kinds(p, p, p_ectopic),
        "QRS": _kinds(qrs, np.array(_ECTOPIC_QRS)[origin], qrs),
        "T": _kinds(t, np.array(_ECTOPIC_T)[origin], t),
    }
    tables["P"][:, VENTRICULAR, :, 3:] = 0
    tables["P"][patients.has("atrial fibrillation"), :, :, 3:] = 0
    return tables


def _scale(tables: dict[str, np.ndarray], patients: Patients) -> None:
    """Give the waves, in place, the patient's sizes: QRS and T shrink a little with age and are smaller in women."""
    z, age = patients.normal, patients.age - 50
    female = np.array([sex == "female" for sex in patients.sex])
    qrs = np.exp(0.18 * z["gain"] - 0.1 * female - 0.003 * age)
    t = np.exp(0.09 * z["gain"] + 0.2 * z["t_gain"] - 0.2 * female - 0.0035 * age)
    p = 0.85 * np.exp(0.2 * z["p_gain"])
    ectopic = 1.15 * qrs * np.exp(0.15 * z["ectopic_gain"])
    for name, gains in {"P": (p, p, p), "QRS": (qrs, ectopic, qrs), "T": (t, qrs, t)}.items():
        tables[name][..., 3:] *= np.stack(gains, 1)[:, :, None, None]
    # The first and the second last wave vary by themselves: septal q and r, posterior S.
    own = tables["QRS"][:, [NORMAL, ATRIAL], :, 3:]
    own[:, :, 0] *= np.exp(0.2 * z["septal"])[:, None, None]
    own[:, :, 3] *= np.exp(0.25 * z["posterior"])[:, None, None]
    tables["QRS"][:, [NORMAL, ATRIAL], :, 3:] = own


def _by_shape(patients: Patients, usual, by_shape: dict) -> np.ndarray:
    """Wave rows of each patient's own QRS shape, (n_patients, n_waves, 6)."""
    variants = np.array([usual] + [by_shape[name] for name in SHAPES])
    which = np.zeros(len(patients), int)
    for i, name in enumerate(SHAPES, start=1):
        which[patients.has(name)] = i
    return variants[which]


def _kinds(normal: np.ndarray, ventricular: np.ndarray, atrial: np.ndarray) -> np.ndarray:
    """One table (n_patients, 3 kinds, n_waves, 6); missing waves are filled up with zero vectors."""
    n_waves = max(each.shape[1] for each in (normal, ventricular, atrial))
    out = np.zeros((len(normal), 3, n_waves, 6))
    out[..., :3] = 1.0  # a harmless place and width for the filling
    for kind, each in enumerate((normal, ventricular, atrial)):
        out[:, kind, : each.shape[1]] = each
    return out


def _rotate(table: np.ndarray, frontal_deg: np.ndarray, horizontal_deg: np.ndarray) -> None:
    """Turn all vectors in place: frontally from left to feet, horizontally from left to back."""
    for degrees, first, second in ((frontal_deg, 3, 4), (horizontal_deg, 3, 5)):
        cos, sin = np.cos(np.radians(degrees))[:, None, None], np.sin(np.radians(degrees))[:, None, None]
        a, b = table[..., first].copy(), table[..., second].copy()
        table[..., first], table[..., second] = cos * a - sin * b, sin * a + cos * b


def gaussians(time: np.ndarray, centre: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two-sided Gaussians of height 1: time (..., n_samples), others (..., n_waves) -> (..., n_waves, n_samples)."""
    away = time[..., None, :] - centre[..., None]
    away /= np.where(away < 0, left[..., None], right[..., None])
    np.square(away, out=away)
    away *= -0.5
    return np.exp(away, out=away)


def _unit(table: np.ndarray) -> Waves:
    """Move and scale the time of each row so that its onset is 0 and its offset 1, as `EDGE_MV` defines them."""
    centre, left, right, vector = table[..., 0], table[..., 1], table[..., 2], table[..., 3:]
    grid = np.linspace(-80.0, 330.0, 1025)
    values = gaussians(np.broadcast_to(grid, (*centre.shape[:2], grid.size)), centre, left, right)
    dipole = np.einsum("pkwt,pkwc->pkct", values, vector)
    seen = np.abs(np.einsum("lc,pkct->pklt", _LEADS, dipole)).max(axis=2)  # (patients, kinds, grid)
    seen = np.where(seen.max(-1, keepdims=True) > EDGE_MV, seen, 1.0)  # a wave that is absent: all of it
    onset = _crossing(grid, seen, EDGE_MV)
    offset = -_crossing(-grid[::-1], seen[..., ::-1], EDGE_MV)
    span = np.maximum(offset - onset, grid[1] - grid[0])
    return Waves(
        centre=(centre - onset[..., None]) / span[..., None],
        left=left / span[..., None],
        right=right / span[..., None],
        vector=vector,
        peak=(grid[np.linalg.norm(dipole, axis=2).argmax(-1)] - onset) / span,
    )


def _crossing(grid: np.ndarray, relative: np.ndarray, edge: float) -> np.ndarray:
    """First place where `relative` rises to `edge`, between grid points by linear interpolation."""
    after = np.maximum((relative >= edge).argmax(-1), 1)
    low, high = (np.take_along_axis(relative, i[..., None], -1)[..., 0] for i in (after - 1, after))
    part = np.divide(edge - low, high - low, out=np.zeros_like(low), where=high > low)
    return grid[after - 1] + part * (grid[after] - grid[after - 1])
