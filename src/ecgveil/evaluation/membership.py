"""Membership attacks: can one tell from the synthetic ECGs who was in the training set?

Members are training patients, non-members holdout patients, one record of each, equally many. A score says how much a
record looks like a member's; an attack is as good as its scores tell the two apart. Chance is an AUC of 0.5.

Where an attack calibrates against a reference population, it is the other people tested, of both kinds: each record is
compared with those of everybody else, never with one of the same person. Scores so made are blind to who is a member.
Were nobody's ECG used, members and non-members could be exchanged at will, which is what the tests here assume. (Had
they holdout patients alone for a reference, who then calibrate each other, it would not be so: at n = 60, AUCs without
leakage spread 15 % more than their intervals say.)

Records are compared by their median beats in all leads (`privacy.distances`), densities on the leading components of
those beats and of the clinical measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.optimize import brentq
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu, norm

from ecgveil.errors import EvaluationError
from ecgveil.evaluation.features import draw_rows
from ecgveil.evaluation.intervals import auc, auc_interval, tpr_at_fpr
from ecgveil.evaluation.metric import TOO_FEW, Metric
from ecgveil.evaluation.privacy import Apart, BeatShapes, all_distances, distances, p_hits

FPRS = (0.01, 0.001)
COMPONENTS = 8  # of the beats, and of the measurements, on which densities are estimated
LEVEL = 0.025  # probability that any of all the tests here cries leakage where there is none
POWER = 0.8
REVERSED = 0.0025  # the same of holdout people being recognised: nobody asks for them
TELLING = 0.75  # where only a higher AUC would be found, no leakage found says too little
MOST_HITS = 0.2  # likewise where a larger share would have to be recognised
HALVINGS = 20
SAME = 1e-3  # uV; recordings so near to each other are one and the same
_ALIKE = 1e-6  # the same between components, in spreads

NO_EVIDENCE = "no evidence of leakage"
LEAKAGE = "leakage"
EXCHANGED = "recognises holdout people, never to be trained on: were the sets exchanged, or the holdout used?"
SEES = "would recognise people, were the training ECGs themselves released"
BLIND = "would recognise nobody, were the training ECGs themselves released"
LINKAGE_BLIND = "cannot tell: this attack would not even recognise people in the training ECGs themselves"
_FLOOR_OF = "one half of the holdout as members, the other as non-members"
_CEILING = "linkage_ceiling_auc"

Scores = tuple[np.ndarray, np.ndarray]  # of members, of non-members; the higher, the more like a member
Clinical = tuple[np.ndarray, np.ndarray, np.ndarray]


def membership_metrics(
    train: BeatShapes,
    holdout: BeatShapes,
    synthetic: BeatShapes,
    *,
    seed: int,
    clinical: Clinical | None = None,
    critic: Scores | None = None,
    stretch: Callable[[np.ndarray, np.ndarray], Scores] | None = None,
    others: BeatShapes | None = None,
    apart: Apart | None = None,
) -> list[Metric]:
    """How well each attack tells training patients from holdout patients.

    Parameters
    ----------
    train, holdout, synthetic : median beats of the three sets; no patient in both train and holdout
    seed : for the draws of records, and the halves of the floor
    clinical : (n_records, d) measurements of the records of train, holdout and synthetic; NaN where missing
    critic : scores of the records of train and of holdout by the trained critic, the higher the more real to it: the
        attack of whoever holds the weights (LOGAN; Hayes, Melis, Danezis, De Cristofaro, PoPETs 2019(1):133)
    stretch : of rows of train and rows of holdout, how surely some seconds of them are in a synthetic ECG
        (`copies.best_scores`): whoever holds a person's very recording asks whether it was learned by heart
    others : recordings of train and holdout patients **that training never saw**, for the linkage attack: of another
        occasion, or seconds of a recording that no training window covers; for both parts of the same kind, or the
        kind is what is told apart. One half of a record is not another recording where training saw the whole.
        Recordings of patients in neither part are left out.
    apart : `privacy.all_distances` of the three sets, where they are known already

    Returns
    -------
    list of Metric
        For each attack `membership_<attack>_auc` and `_tpr_at_fpr_<0.01, 0.001>`, where attack is `gan_leaks` (nearest
        synthetic ECG, calibrated), `monte_carlo` (synthetic ECGs near by), `domias` (density ratio), `critic` (where
        `critic` is given), `stretch` (where it is given) and `linkage` (where `others` are given); for the last
        also `linkage_ceiling_auc`, what it would reach if the training ECGs themselves were released. A verdict of
        leakage allows for all the tests made (Bonferroni; one in 40 sets that leak nothing is accused at most), and so
        does one of exchanged sets, where holdout people are recognised (one in 400). That of a TPR is an exact test,
        which can show a leak where the interval, valid for any distribution, still reaches down to 0.

    Raises
    ------
    EvaluationError
        Arrays do not fit, a patient is on both sides, or `others` holds a training record.
    """
    _check(train, holdout, synthetic, clinical, critic)
    rng = np.random.default_rng([seed, 7])
    n = min(len(np.unique(each.patient_id)) for each in (train, holdout))
    if not n or not len(synthetic.rows):
        asked = {
            "gan_leaks": True,
            "monte_carlo": True,
            "domias": True,
            "critic": critic,
            "stretch": stretch,
            "linkage": others,
        }
        return [metric for name, given in asked.items() if given is not None for metric in _not_computed(name)]
    members, non_members = (draw_rows(each.patient_id, n, rng, replace=False) for each in (train, holdout))
    apart = apart or all_distances(train, holdout, synthetic)
    attacks = _record_attacks(train, holdout, synthetic, (members, non_members), clinical, apart)
    rows = train.rows[members], holdout.rows[non_members]
    if critic is not None:
        attacks["critic"] = (critic[0][rows[0]], critic[1][rows[1]])
    if stretch is not None:
        attacks["stretch"] = stretch(*rows)
    ceiling: Scores | None = None
    if others is not None:
        attacks["linkage"], ceiling = linkage(train, holdout, synthetic, others, rng)
    return score_metrics(attacks, seed=seed, ceiling=ceiling)


def score_metrics(attacks: Mapping[str, Scores], *, seed: int, ceiling: Scores | None = None) -> list[Metric]:
    """AUC and TPR of attacks from their scores.

    Parameters
    ----------
    attacks : name -> scores of members and of non-members, one for each patient; the higher, the more like a member
    seed : for the halves of the floor
    ceiling : scores of the linkage attack on the training ECGs themselves
    """
    tests = sum(_count_tests(len(non)) for members, non in attacks.values() if len(members))
    blind = ceiling is not None and _p_auc(*ceiling) >= LEVEL
    metrics: list[Metric] = []
    for number, (name, (members, non_members)) in enumerate(attacks.items()):
        members, non_members = np.asarray(members, float), np.asarray(non_members, float)
        if not (len(members) and len(non_members)):
            metrics += _not_computed(name)
            continue
        rng = np.random.default_rng([seed, 8, number])
        halves = [np.array_split(rng.permutation(non_members), 2) for _ in range(HALVINGS)]
        metrics.append(_auc_metric(name, members, non_members, halves, tests, blind and name == "linkage"))
        metrics += [
            _tpr_metric(name, members, non_members, halves, fpr, tests, blind and name == "linkage") for fpr in FPRS
        ]
    if ceiling is not None and len(ceiling[0]):
        metrics.append(_ceiling_metric(ceiling, blind))
    return metrics


def membership_notes(metrics: list[Metric]) -> list[str]:
    """Sentences on what the attacks among `metrics` could have found, and what they cannot promise."""
    found = [m for m in metrics if m.name.startswith("membership_") and np.isfinite(m.value)]
    tests = len(found)
    by_n: dict[int, list[str]] = {}
    for metric in found:
        if metric.name.endswith("_auc"):
            by_n.setdefault(metric.n, []).append(metric.name.removeprefix("membership_").removesuffix("_auc"))
    notes = [
        f"Membership{' (' + ', '.join(names) + ')' if len(by_n) > 1 else ''}: with {n} patients on either side and "
        f"{tests} tests, a leak of AUC {detectable_auc(n, tests=tests):.2f} or more would have been found with "
        f"{POWER:.0%} probability"
        + "".join(
            f", and {least_hits(n, n, fpr, tests)} recognised patients at {100 * fpr:g} % false alarms"
            for fpr in FPRS
            if n * fpr >= 1
        )
        + "."
        for n, names in by_n.items()
    ]
    if found:
        notes.append(
            "Weaker leaks, leaks of a few patients only, and attacks that were not tried remain possible; no test can "
            "rule them out."
        )
    return notes


def detectable_auc(n: int, *, tests: int = 1, power: float = POWER) -> float:
    """Smallest AUC that `n` members and `n` non-members would have shown to be above 0.5, 1 where none would.

    One-sided at 0.025 over `tests` tests, normal approximation with the variance of Hanley and McNeil (Radiology
    143:29, 1982).

    >>> round(detectable_auc(100), 2), round(detectable_auc(1000), 2)
    (0.61, 0.54)
    """
    at_chance = np.sqrt((2 * n + 1) / (12 * n * n)) if n else np.inf

    def surplus(area: float) -> float:
        q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
        variance = (area * (1 - area) + (n - 1) * (q1 + q2 - 2 * area**2)) / n**2
        return area - 0.5 - norm.isf(LEVEL / tests) * at_chance - norm.ppf(power) * np.sqrt(max(variance, 0.0))

    return float(brentq(surplus, 0.5, 1.0)) if n and surplus(1.0) > 0 else 1.0


def least_hits(n_members: int, n_non_members: int, fpr: float, tests: int = 1) -> int:
    """Fewest members above the score that `fpr` of the non-members exceed that count as leakage; more than
    there are where none would.

    >>> least_hits(200, 200, 0.01)
    10
    """
    p = p_hits(np.arange(n_members + 1), n_members, n_non_members, _allowed(n_non_members, fpr))
    return int((p >= LEVEL / tests).sum())  # p falls with the hits


def gan_leaks(to_synthetic: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Nearer to the synthetic ECGs than to other people's, (n,).

    Distance to the nearest synthetic ECG, calibrated by that to the nearest of a reference set (Chen, Yu, Zhang, Fritz,
    CCS 2020; their reference is a generator, ours other people's ECGs). The difference is one of logarithms: in uV, odd
    ECGs that lie far from everything would rule it.

    Parameters
    ----------
    to_synthetic : (n, m) distances in uV
    among : (n, n) distances between the tested records, infinite from each to itself
    """
    return np.log(np.maximum(among.min(axis=1), SAME) / np.maximum(to_synthetic.min(axis=1), SAME))


def monte_carlo(to_synthetic: np.ndarray) -> np.ndarray:
    """Share of the synthetic ECGs within eps of each tested record: distances (n, m) -> scores (n,).

    eps is the median over the tested records of the distance to the nearest synthetic ECG (Hilprecht, Harterich,
    Bernau, PoPETs 2019(4):232, their median heuristic).
    """
    return (to_synthetic <= np.median(to_synthetic.min(axis=1))).mean(axis=1)


def density_ratio(tested: np.ndarray, synthetic: np.ndarray, neighbours: int) -> np.ndarray:
    """Log density of the synthetic ECGs over that of other people's at each tested record, (n,).

    DOMIAS (van Breugel, Sun, Qian, van der Schaar, AISTATS 2023), with nearest-neighbour densities (Loftsgaarden and
    Quesenberry, Ann Math Stat 36:1049, 1965): Gaussian kernels of one width are too wide for copies, or too narrow for
    odd ECGs.

    Parameters
    ----------
    tested, synthetic : (n, d), (m, d), of about unit spread in each dimension
    neighbours : of the synthetic ECGs; of the other people it is the nearest
    """
    n, d = tested.shape
    density = _log_density(cdist(tested, synthetic), neighbours, len(synthetic), d)
    return density - _log_density(_without_self(cdist(tested, tested)), 1, n - 1, d)


def linkage(
    train: BeatShapes, holdout: BeatShapes, synthetic: BeatShapes, others: BeatShapes, rng: np.random.Generator
) -> tuple[Scores, Scores]:
    """`gan_leaks` from another recording of each person, against the synthetic and against the training ECGs.

    Returns
    -------
    scores, ceiling : of members and non-members, against the synthetic ECGs, and against the training ECGs themselves
    """
    sides = [np.flatnonzero(np.isin(others.patient_id, each.patient_id)) for each in (train, holdout)]
    n = min(len(np.unique(others.patient_id[rows])) for rows in sides)
    if not n:
        return (np.zeros(0), np.zeros(0)), (np.zeros(0), np.zeros(0))
    drawn = [rows[draw_rows(others.patient_id[rows], n, rng, replace=False)] for rows in sides]
    tested = others.shapes[np.concatenate(drawn)]
    to_train = distances(tested, train.shapes)
    copies = int((to_train.min(axis=1) < SAME).sum())
    if copies:
        raise EvaluationError(
            f"others: {copies} recordings are training records themselves; linkage needs recordings never trained on"
        )
    among = _without_self(distances(tested, tested))
    scores, ceiling = (gan_leaks(each, among) for each in (distances(tested, synthetic.shapes), to_train))
    return (scores[:n], scores[n:]), (ceiling[:n], ceiling[n:])


def _record_attacks(
    train: BeatShapes,
    holdout: BeatShapes,
    synthetic: BeatShapes,
    rows: tuple[np.ndarray, np.ndarray],
    clinical: Clinical | None,
    apart: Apart,
) -> dict[str, Scores]:
    """Scores of the attacks that see the tested records themselves, at `rows` of train and holdout."""
    n = len(rows[0])
    tested = np.concatenate([train.shapes[rows[0]], holdout.shapes[rows[1]]])
    to_synthetic = np.concatenate([apart.to_train[:, rows[0]].T, apart.to_holdout[:, rows[1]].T])
    across = apart.holdout_to_train[np.ix_(rows[1], rows[0])]
    among = np.block(
        [[apart.in_train[np.ix_(rows[0], rows[0])], across.T], [across, apart.in_holdout[np.ix_(*rows[1:] * 2)]]]
    )
    features = [_components(tested.reshape(2 * n, -1), synthetic.shapes.reshape(len(synthetic.rows), -1))]
    if clinical is not None:
        measured = [np.asarray(x, float) for x in clinical]
        people = np.concatenate([measured[0][train.rows[rows[0]]], measured[1][holdout.rows[rows[1]]]])
        features.append(_components(*_standardized(people, measured[2][synthetic.rows])))
    # A generator that memorises makes so many of each training patient; that is the scale at which it shows.
    neighbours = max(1, round(len(synthetic.rows) / len(np.unique(train.patient_id))))
    of_tested, of_synthetic = (np.concatenate(each, axis=1) for each in zip(*features, strict=True))
    scores = {
        "gan_leaks": gan_leaks(to_synthetic, _without_self(among)),
        "monte_carlo": monte_carlo(to_synthetic),
        "domias": density_ratio(of_tested, of_synthetic, neighbours),
    }
    return {name: (each[:n], each[n:]) for name, each in scores.items()}


def _without_self(apart: np.ndarray) -> np.ndarray:
    """Distances (n, n) with those of each record to itself set to infinity."""
    return np.where(np.eye(len(apart), dtype=bool), np.inf, apart)


def _standardized(tested: np.ndarray, synthetic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns to zero median and unit spread of the tested records; missing values at the median."""
    known = np.isfinite(tested).any(axis=0)
    middle = np.nanmedian(tested[:, known], axis=0)
    filled = [np.where(np.isfinite(x[:, known]), x[:, known], middle) - middle for x in (tested, synthetic)]
    spread = filled[0].std(axis=0)
    varies = spread > _ALIKE * np.abs(filled[0]).max(axis=0, initial=0)
    return filled[0][:, varies] / spread[varies], filled[1][:, varies] / spread[varies]


def _components(tested: np.ndarray, synthetic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The leading principal components of the tested records, each to unit spread.

    Fitted on members and non-members alike: components of one side would fit that side best, and give it away.
    """
    middle = tested.mean(axis=0)
    _, size, axes = np.linalg.svd(tested - middle, full_matrices=False)
    kept = (size > _ALIKE * max(size.max(initial=0), _ALIKE)) & (np.arange(len(size)) < COMPONENTS)
    scale = size[kept] / np.sqrt(len(tested))
    return (tested - middle) @ axes[kept].T / scale, (synthetic - middle) @ axes[kept].T / scale


def _log_density(apart: np.ndarray, k: int, count: int, d: int) -> np.ndarray:
    """Log of a k-nearest-neighbour density from distances (n, m), but for the volume of the unit ball."""
    radius = np.partition(apart, k - 1, axis=1)[:, k - 1]
    return np.log(k / count) - d * np.log(np.maximum(radius, _ALIKE))


def _p_auc(members: np.ndarray, non_members: np.ndarray) -> float:
    """One-sided p of members scoring no higher (Mann and Whitney 1947); 1 where all scores are one."""
    if not (len(members) and len(non_members)) or np.ptp(np.concatenate([members, non_members])) == 0:
        return 1.0
    return float(mannwhitneyu(members, non_members, alternative="greater").pvalue)


def _p_tpr(members: np.ndarray, non_members: np.ndarray, fpr: float) -> float:
    """One-sided p of as many members above the score that `fpr` of the non-members exceed; ties are conservative."""
    m = len(non_members)
    above = (members > np.sort(non_members)[m - 1 - _allowed(m, fpr)]).sum()
    return float(p_hits(above, len(members), m, _allowed(m, fpr)))


def _allowed(m: int, fpr: float) -> int:
    return int(fpr * m + 1e-9)  # as `tpr_at_fpr` counts


def _count_tests(n: int) -> int:
    return 1 + sum(n * fpr >= 1 - 1e-9 for fpr in FPRS)


def _auc_metric(
    name: str, members: np.ndarray, non_members: np.ndarray, halves: list[list[np.ndarray]], tests: int, blind: bool
) -> Metric:
    n = min(len(members), len(non_members))
    value, (low, high) = auc(members, non_members), auc_interval(members, non_members)
    floor = float(np.mean([auc(one, other) for one, other in halves])) if n > 1 else float("nan")
    if _p_auc(members, non_members) < LEVEL / tests:
        verdict = LEAKAGE
    elif _p_auc(non_members, members) < REVERSED / tests:
        verdict = EXCHANGED
    elif detectable_auc(n, tests=tests) > TELLING:
        verdict = TOO_FEW
    else:
        verdict = LINKAGE_BLIND if blind else NO_EVIDENCE
    return Metric("privacy", f"membership_{name}_auc", value, low, high, "target", floor, n, verdict, _FLOOR_OF, 0.5)


def _tpr_metric(
    name: str,
    members: np.ndarray,
    non_members: np.ndarray,
    halves: list[list[np.ndarray]],
    fpr: float,
    tests: int,
    blind: bool,
) -> Metric:
    n, m = min(len(members), len(non_members)), len(non_members)
    full, nan = f"membership_{name}_tpr_at_fpr_{fpr:g}", float("nan")
    if m * fpr < 1 - 1e-9:
        why = f"cannot tell with n this small: it takes {round(1 / fpr)} non-members, here are {m}"
        return Metric("privacy", full, nan, nan, nan, "target", nan, n, why, _FLOOR_OF, fpr)
    value, low, high = tpr_at_fpr(members, non_members, fpr)
    enough = m // 2 * fpr >= 1
    floor = float(np.mean([tpr_at_fpr(one, other, fpr)[0] for one, other in halves])) if enough else nan
    if _p_tpr(members, non_members, fpr) < LEVEL / tests:
        verdict = LEAKAGE
    elif least_hits(len(members), m, fpr, tests) > MOST_HITS * len(members):
        verdict = TOO_FEW
    else:
        verdict = LINKAGE_BLIND if blind else NO_EVIDENCE
    return Metric("privacy", full, value, low, high, "target", floor, n, verdict, _FLOOR_OF, fpr)


def _ceiling_metric(ceiling: Scores, blind: bool) -> Metric:
    value, (low, high) = auc(*ceiling), auc_interval(*ceiling)
    verdict, nan = BLIND if blind else SEES, float("nan")
    return Metric("privacy", _CEILING, value, low, high, "target", nan, len(ceiling[0]), verdict, _FLOOR_OF, 0.5)


def _not_computed(attack: str) -> list[Metric]:
    nan = float("nan")
    why = "cannot be computed: it takes ECGs with a whole beat, of people of either side"
    names = [f"membership_{attack}_{what}" for what in ("auc", *(f"tpr_at_fpr_{fpr:g}" for fpr in FPRS))]
    return [Metric("privacy", name, nan, nan, nan, "target", nan, 0, why, _FLOOR_OF) for name in names]


def _check(
    train: BeatShapes, holdout: BeatShapes, synthetic: BeatShapes, clinical: Clinical | None, critic: Scores | None
) -> None:
    shared = set(train.patient_id) & set(holdout.patient_id)
    if shared:
        raise EvaluationError(f"{len(shared)} patients are in both train and holdout; split by patient first")
    parts = (("training", train), ("holdout", holdout), ("synthetic", synthetic))
    for name, arrays in (("clinical", clinical), ("critic", critic)):
        for (part, each), values in zip(parts, arrays or (), strict=False):
            needed = len(each.rows) + each.no_beat
            if len(values) != needed:
                raise EvaluationError(
                    f"{name} has {len(values)} rows for {needed} {part} records; give one for each record"
                )
    for part, scores in zip(("train", "holdout"), critic or (), strict=False):
        if not np.isfinite(scores).all():
            raise EvaluationError(f"critic: scores of {part} are not all finite; score every record")
