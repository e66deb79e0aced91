"""Two classifiers of different kind, and the form of ECGs that they take: a residual network and a ridge on MiniRocket.

A classifier is a function `(x, targets, tested, seed=, quick=) -> scores`: it learns from ECGs `x` (n, C, T) and their
classes `targets` (n, k) alone, and scores each array of `tested`, higher where a class is likelier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from importlib.util import find_spec

import numpy as np
from scipy.signal import resample_poly
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation.network import fit_network, predict
from ecgveil.leads import DERIVED

FS_HZ = 100.0
SECONDS = 10.0
STEPS, QUICK_STEPS = 800, 200
KERNELS, QUICK_KERNELS = 5000, 1000
_PENALTIES = np.logspace(1, 6, 11)
_FITTED = 200  # ECGs from which MiniRocket takes its thresholds; it draws single ones of them

Classifier = Callable[..., list[np.ndarray]]


def waveforms(ecgs: ECGSet) -> np.ndarray:
    """ECGs as a classifier takes them: the leads that are independent of each other, 100 Hz, 10 s at most, centred.

    Returns
    -------
    float32 (n, n_leads, n_samples), in the set's unit
    """
    leads = ecgs.leads
    if {"I", "II"} <= set(leads):
        leads = tuple(lead for lead in leads if lead not in DERIVED)
    x = ecgs.pick(leads).signal[..., : round(SECONDS * ecgs.fs)]
    ratio = Fraction(FS_HZ / ecgs.fs).limit_denominator(1000)
    if ratio != 1:
        x = resample_poly(x, ratio.numerator, ratio.denominator, axis=-1, padtype="line")
    return (x - x.mean(axis=-1, keepdims=True)).astype(np.float32)


def lead_scale(x: np.ndarray) -> np.ndarray:
    """Median over ECGs of each lead's standard deviation, (n, C, T) -> (C, 1); 1 where a lead is flat."""
    spread = np.median(x.std(axis=-1), axis=0)[:, None]
    return np.where(spread > 0, spread, 1).astype(np.float32)


def resnet(
    x: np.ndarray, targets: np.ndarray, tested: Sequence[np.ndarray], *, seed: int, quick: bool = False
) -> list[np.ndarray]:
    """Logits of `network.ResNet1d`, trained on crops of half the length: as many steps however many ECGs there are."""
    network = fit_network(x, targets, seed=seed, steps=QUICK_STEPS if quick else STEPS, crop=max(1, x.shape[2] // 2))
    return [predict(network, each) for each in tested]


def rocket(
    x: np.ndarray, targets: np.ndarray, tested: Sequence[np.ndarray], *, seed: int, quick: bool = False
) -> list[np.ndarray]:
    """sktime's MiniRocket (Dempster, Schmidt, Webb, KDD 2021) and a ridge, penalties by leave-one-out for each class.

    Raises
    ------
    EvaluationError
        sktime is not installed.
    """
    transform_of = _minirocket()
    rng = np.random.default_rng([seed, 41])
    transform = transform_of(num_kernels=QUICK_KERNELS if quick else KERNELS, random_state=seed, n_jobs=1)
    transform.fit(x[rng.permutation(len(x))[:_FITTED]])
    ridge = make_pipeline(StandardScaler(), RidgeCV(_PENALTIES, alpha_per_target=True))
    of_x = transform.transform(x).to_numpy()
    ridge.fit(of_x, 2.0 * targets - 1)
    # Mostly x itself is among those tested, and the transform is what takes the time.
    features = (of_x if each is x else transform.transform(each).to_numpy() for each in tested)
    return [ridge.predict(each).reshape(len(each), -1) for each in features]


CLASSIFIERS: dict[str, Classifier] = {"resnet": resnet, "rocket": rocket}


def missing_library() -> str:
    """Why there is no 'rocket', with the remedy; '' where it can be used."""
    lacking = [name for name in ("sktime", "sktime_cython") if find_spec(name) is None]
    if not lacking:
        return ""
    return f"'rocket' needs {lacking[0]}, which is not installed (pip install 'ecgveil[utility]')"


def _minirocket() -> Callable:
    if missing := missing_library():
        raise EvaluationError(f"the classifier {missing}; or leave it out with classifiers=('resnet',)")
    from sktime.transformations.rocket import MiniRocketMultivariateCython

    return MiniRocketMultivariateCython
