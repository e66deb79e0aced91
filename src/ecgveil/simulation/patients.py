"""The simulated population: every patient's clinical values, from the patient's own random stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from ecgveil.errors import ConfigError

# A condition is a rhythm, a shape of the QRS, or a kind of ectopic beat; a patient has at most one of each.
RHYTHMS = ("sinus rhythm", "sinus bradycardia", "sinus tachycardia", "atrial fibrillation")
SHAPES = (
    "right bundle branch block",
    "left bundle branch block",
    "old inferior infarction",
    "old anterior infarction",
)
ECTOPICS = ("ventricular ectopic beats", "atrial ectopic beats")
CONDITIONS = RHYTHMS + SHAPES + ECTOPICS

DEFAULT_MIX = {
    "sinus rhythm": 0.52,
    "sinus bradycardia": 0.08,
    "sinus tachycardia": 0.07,
    "atrial fibrillation": 0.08,
    "right bundle branch block": 0.05,
    "left bundle branch block": 0.05,
    "old inferior infarction": 0.04,
    "old anterior infarction": 0.04,
    "ventricular ectopic beats": 0.03,
    "atrial ectopic beats": 0.02,
    "old inferior infarction;ventricular ectopic beats": 0.01,
    "atrial fibrillation;right bundle branch block": 0.01,
}

# Mean, standard deviation and limits of the mean heart rate, beats per minute.
_RATE = {
    "sinus rhythm": (73, 9, 62, 96),
    "sinus bradycardia": (52, 4, 42, 57),
    "sinus tachycardia": (113, 9, 103, 140),
    "atrial fibrillation": (88, 18, 58, 135),
}
_WIDE_QRS = {"right bundle branch block": (140, 10, 124, 165), "left bundle branch block": (152, 11, 130, 180)}
_OLDER = {"atrial fibrillation": 14, "left bundle branch block": 10} | dict.fromkeys(SHAPES[2:], 8)

# What is drawn for a patient; new names go to the end, so that old patients stay who they are.
# fmt: off
_NORMALS = (
    "age", "rate", "pr", "p_duration", "qrs", "qtc", "gain", "p_gain", "t_gain", "qrs_frontal", "qrs_horizontal",
    "t_frontal", "t_horizontal", "p_frontal", "septal", "posterior", "hrv", "breathing", "fibrillation", "noise",
    "drift", "mains", "ectopic_qrs", "ectopic_gain",
)
_UNIFORMS = (
    "condition", "sex", "ectopic_origin", "ectopic_share", "coupling", "fibrillation_rate", "respiratory_share",
    "repeat",
)
# fmt: on


@dataclass(frozen=True, eq=False)
class Patients:
    """Clinical values, one for each patient, shape (n_patients,) unless stated; times in seconds, angles in degrees."""

    number: np.ndarray
    conditions: tuple[tuple[str, ...], ...]
    age: np.ndarray
    sex: tuple[str, ...]
    mean_rr: np.ndarray
    rr_sd: np.ndarray
    pr: np.ndarray
    p_duration: np.ndarray
    qrs_duration: np.ndarray
    ectopic_qrs_duration: np.ndarray
    qtc: np.ndarray  # Fridericia
    normal: Mapping[str, np.ndarray]  # standard normal draws by name, for shapes and noise
    uniform: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.number)

    def has(self, condition: str) -> np.ndarray:
        """Which patients have this condition, bool (n_patients,)."""
        return np.array([condition in each for each in self.conditions], bool)


def generator(seed: int, patient: int, stream: int) -> np.random.Generator:
    """The random stream of one patient: 0 is the patient, 1 + v the patient's record number v."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(patient, stream))))


def parse_mix(mix: Mapping[str, float] | None) -> tuple[list[tuple[str, ...]], np.ndarray]:
    """Conditions and their cumulative shares.

    Parameters
    ----------
    mix : condition -> weight; conditions of one patient are joined by ';'. None: `DEFAULT_MIX`

    Raises
    ------
    ConfigError
        Unknown or contradictory conditions, or weights that are negative, not finite or all zero.
    """
    mix = DEFAULT_MIX if mix is None else mix
    combinations = [tuple(part.strip() for part in key.split(";")) for key in mix]
    for names in combinations:
        _check_combination(names)
    weights = np.array(list(mix.values()), float)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise ConfigError(f"weights of conditions are {list(mix.values())}; give numbers >= 0, at least one above 0")
    return combinations, np.cumsum(weights / weights.sum())


def _check_combination(names: tuple[str, ...]) -> None:
    for name in names:
        if name not in CONDITIONS:
            near = get_close_matches(name, CONDITIONS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"the conditions are {', '.join(CONDITIONS)}"
            raise ConfigError(f"unknown condition '{name}'; {hint}")
    for group in (RHYTHMS, SHAPES, ECTOPICS):
        both = [name for name in names if name in group]
        if len(both) > 1:
            raise ConfigError(f"conditions {' and '.join(both)} exclude each other; name one of them")
    if "atrial fibrillation" in names and "atrial ectopic beats" in names:
        raise ConfigError("atrial fibrillation and atrial ectopic beats exclude each other; name one of them")


def draw(numbers: np.ndarray, seed: int, mix: Mapping[str, float] | None) -> Patients:
    """The patients with these numbers; patient k depends on (seed, k) and the mix alone."""
    combinations, cumulative = parse_mix(mix)
    streams = [generator(seed, int(k), 0) for k in numbers]
    normal_rows = np.array([rng.standard_normal(len(_NORMALS)) for rng in streams]).reshape(-1, len(_NORMALS))
    uniform_rows = np.array([rng.random(len(_UNIFORMS)) for rng in streams]).reshape(-1, len(_UNIFORMS))
    normal = dict(zip(_NORMALS, normal_rows.T, strict=True))
    uniform = dict(zip(_UNIFORMS, uniform_rows.T, strict=True))
    which = np.minimum(np.searchsorted(cumulative, uniform["condition"], side="right"), len(combinations) - 1)
    return _clinical_values(numbers, tuple(combinations[i] for i in which), normal, uniform)


def _clinical_values(numbers, conditions, normal, uniform) -> Patients:
    """Population values: intervals after the normal limits of Rijnbeek et al. 2014 (J Electrocardiol 47:914)."""
    older = np.array([max((_OLDER.get(name, 0) for name in names), default=0) for names in conditions], float)
    age = np.clip(54 + older + 17 * normal["age"], np.where(older > 0, 40, 18), 95).round()
    female = uniform["sex"] < 0.5
    rhythm = [next((name for name in names if name in RHYTHMS), RHYTHMS[0]) for names in conditions]
    rate = _limited([_RATE[name] for name in rhythm], normal["rate"])
    mean_rr = 60 / rate
    narrow = (94, 8, 76, 114)
    qrs_row = [next((_WIDE_QRS[name] for name in names if name in _WIDE_QRS), narrow) for names in conditions]
    qrs = _limited(qrs_row, normal["qrs"]) - 5 * female
    # Repolarisation ends later where conduction is slow: about half of the extra QRS width adds to QT.
    qtc = np.clip(402 + 10 * female + 0.1 * (age - 50) + 15 * normal["qtc"], 360, 455) + 0.6 * np.maximum(qrs - 100, 0)
    pr = np.clip(156 + 0.25 * (age - 50) + 20 * normal["pr"], 122, 215) * mean_rr**0.15
    return Patients(
        number=np.asarray(numbers),
        conditions=conditions,
        age=age,
        sex=tuple("female" if each else "male" for each in female),
        mean_rr=mean_rr,
        rr_sd=0.036 * mean_rr**1.5 * np.exp(0.4 * normal["hrv"] - 0.011 * (age - 50)),
        pr=pr / 1000,
        p_duration=np.clip(104 + 9 * normal["p_duration"], 82, np.minimum(128, pr - 28)) / 1000,
        qrs_duration=qrs / 1000,
        ectopic_qrs_duration=np.clip(152 + 11 * normal["ectopic_qrs"], 126, 185) / 1000,
        qtc=qtc / 1000,
        normal=normal,
        uniform=uniform,
    )


def _limited(rows: Sequence[tuple[float, ...]], z: np.ndarray) -> np.ndarray:
    """Normal values from rows of (mean, standard deviation, low, high), clipped to the limits."""
    mean, deviation, low, high = np.array(rows, float).reshape(-1, 4).T
    return np.clip(mean + deviation * z, low, high)
