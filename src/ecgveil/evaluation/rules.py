"""Validated rules: if-then rules learned from real ECGs, and the share of them that hold on synthetic ones.

After Pon Bharathi et al. (Image augmentation on ECG image dataset using GAN, section 4), who count validated rules
along training without saying how. Here: the training patients are halved. One half is learned from: a small decision
tree for each measurement, from all the others; each of its leaves is a rule, `if r_v1_uv <= 120 and qrs_duration_ms >
110 then s_v5_uv is high`. The other half, which no rule was fitted to, says how many ECGs a rule covers (support) and
of how many of these it is wrong (error). A rule is valid on another set if neither its support nor its error there
differs by more than chance from that half's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import beta, norm
from sklearn.tree import DecisionTreeClassifier

from ecgveil.errors import EvaluationError
from ecgveil.evaluation.distribution import AXES, INTERVALS, WAVES
from ecgveil.evaluation.features import draw_rows
from ecgveil.evaluation.fidelity import AMPLITUDE_LEADS, BEYOND, WITHIN
from ecgveil.evaluation.metric import LEAST_N, TOO_FEW, Better, Metric, p_of_draws

COLUMNS = ("heart_rate_bpm", "rr_sd_ms", *INTERVALS, *AXES,
           *(f"{wave}_{lead.lower()}_uv" for lead in AMPLITUDE_LEADS for wave in WAVES))  # fmt: skip
LEVELS = ("low", "middle", "high")  # thirds of the half that is learned from
MOST_LEAVES, LEAST_COVERED, LEAST_SHARE = 6, 12, 0.08  # of a tree; in a leaf
MOST_ERROR, SURE = 0.75, 0.99  # of the error of always saying the same; at the end of an interval as sure as that
LEVEL = 0.05  # of a rule: half for its support, half for its error
ALARM = 0.05  # of a verdict
DRAWS, EXCHANGES, RESAMPLES = 10, 400, 200
SETS = ("train", "holdout", "synthetic")
NAMES = ("rules_valid_share", "rules_error_increase", "rules_broken")
BETTER: tuple[Better, ...] = ("higher", "lower", "lower")
NO_RULES = "cannot be computed: nothing in the training ECGs makes a rule"
FLOOR_OF = "holdout records in the place of synthetic ones"

Sets = tuple[np.ndarray, ...]  # three: of train, holdout and synthetic
Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Rule:
    """If every condition holds, the outcome does.

    Parameters
    ----------
    conditions : (column, above, limit): the column's value is above the limit, or else at most the limit
    outcome : column it speaks of
    says : value of `conclusion`, or one of `LEVELS` of a measurement
    bounds : the measurement lies above the first and at most at the second; None for a conclusion
    """

    conditions: tuple[tuple[str, bool, float], ...]
    outcome: str
    says: str
    bounds: tuple[float, float] | None

    def __str__(self) -> str:
        terms = [f"{column} {'>' if above else '<='} {limit:g}" for column, above, limit in self.conditions]
        return f"if {' and '.join(terms)} then {self.outcome} is {self.says}"

    def covers(self, table: pd.DataFrame) -> np.ndarray:
        """(n,) bool; a missing value meets no condition."""
        held = np.ones(len(table), bool)
        for column, above, limit in self.conditions:
            value = table[column].to_numpy(float)
            held &= value > limit if above else value <= limit
        return held

    def right(self, table: pd.DataFrame) -> np.ndarray:
        """(n,) bool: what it says is so; it is not where the value is missing."""
        if self.bounds is None:
            return (table[self.outcome] == self.says).to_numpy(bool)
        value = table[self.outcome].to_numpy(float)
        return (value > self.bounds[0]) & (value <= self.bounds[1])


def learn_rules(
    table: pd.DataFrame, *, seed: int, columns: Sequence[str] = COLUMNS, progress: Progress | None = None
) -> list[Rule]:
    """Rules of a table of `measure.measure`: for each measurement, and for the conclusion, from the measurements.

    Each is a leaf of a decision tree with at most `MOST_LEAVES` leaves (Breiman et al., Classification and Regression
    Trees, 1984). Limits are rounded to three digits: what is read is what is tested.

    Parameters
    ----------
    table : with the columns `columns` and `conclusion`; columns that are constant or empty make no rules
    seed : breaks ties between splits
    columns : measurements that rules speak of; others of another table, as of `beat_features.beat_features`
    progress : called with (outcomes done, outcomes)

    Returns
    -------
    list of Rule
        Those whose error is surely at most `MOST_ERROR` of what always saying the same is wrong of; perhaps none. The
        99 % are for the search, which finds the best of many splits.
    """
    known = [column for column in columns if column in table and table[column].nunique() > 1]
    outcomes = known + (["conclusion"] if "conclusion" in table and table["conclusion"].nunique() > 1 else [])
    rules = []
    for done, outcome in enumerate(outcomes, start=1):
        for conditions, says, bounds in _leaves(table, outcome, [name for name in known if name != outcome], seed):
            rule = Rule(conditions, outcome, says, bounds)
            covered, wrong = rule.covers(table), ~rule.right(table)
            if _error_limit(int((covered & wrong).sum()), int(covered.sum())) <= MOST_ERROR * wrong.mean():
                rules.append(rule)
        if progress:
            progress(done, len(outcomes))
    return rules


def rules_metrics(
    train_table: pd.DataFrame,
    holdout_table: pd.DataFrame,
    synthetic_table: pd.DataFrame,
    patient_ids: Sets,
    *,
    seed: int,
    columns: Sequence[str] = COLUMNS,
    progress: Progress | None = None,
) -> tuple[list[Metric], pd.DataFrame]:
    """Share of the rules of real ECGs that hold on synthetic ones, and by how much more often they are wrong there.

    A rule's support and error are each compared by the two-sample score test for proportions, at 2.5 %; there is no
    correction for the number of rules, because the floor bears the same. So a few rules in a hundred are not valid on
    real ECGs either; which ones says nothing. Verdicts are those of permutation tests of the whole figure: holdout and
    synthetic patients are exchanged at random, which keeps every dependence between rules. Counts are of equally many
    patients, one record of each, drawn several times; twice the median p over the draws counts (Rueger, Metrika 25:171,
    1978). A single rule is broken where all synthetic ECGs and all real ones that it was not learned from differ in it
    by more than in any rule in 95 % of the exchanges (Westfall and Young, Resampling-Based Multiple Testing, 1993): on
    real ECGs one or more are so in at most 5 % of evaluations.

    Parameters
    ----------
    train_table, holdout_table, synthetic_table : from `measure.measure`
    patient_ids : (n,) of each of the three
    seed : for halves, draws and exchanges
    columns, progress : as in `learn_rules`

    Returns
    -------
    metrics : rules_valid_share; rules_error_increase, the mean over the rules, weighted by their support on real
        records, of the error's increase over real records; rules_broken, how many, without an interval. Without
        values where patients are fewer than `LEAST_N` in a set, or twice that in train, or no rule is found.
    rules : a row for each: rule, outcome; support, error of real (train), holdout and synthetic; valid_holdout,
        valid_synthetic (in most draws); p_adjusted of synthetic against real, by which they are sorted. Empty
        without values.

    Raises
    ------
    EvaluationError
        A set has not one patient for each record.
    """
    tables = (train_table, holdout_table, synthetic_table)
    for name, table, who in zip(SETS, tables, patient_ids, strict=True):
        if len(table) != len(who):
            raise EvaluationError(f"{name} has {len(table)} records and {len(who)} patients; give one for each record")
    rng = np.random.default_rng([seed, 40])
    learned = _half(patient_ids[0], rng)
    people = (patient_ids[0][~learned], patient_ids[1], patient_ids[2])
    n = min(len(np.unique(each)) for each in people)
    if n < LEAST_N:
        return [_no_metric(name, n, TOO_FEW) for name in NAMES], _frame([], np.zeros((1, 3, 0, 2)), np.zeros(0), n)
    rules = learn_rules(train_table[learned], seed=seed, columns=columns, progress=progress)
    if not rules:
        return [_no_metric(name, n, NO_RULES) for name in NAMES], _frame([], np.zeros((1, 3, 0, 2)), np.zeros(0), n)
    hits = [_hits(rules, table) for table in (train_table[~learned], holdout_table, synthetic_table)]
    draws = [
        tuple(hit[draw_rows(who, n, rng, replace=False)] for hit, who in zip(hits, people, strict=True))
        for _ in range(DRAWS)
    ]
    resamples = np.array([
        [hit[draw_rows(who, n, rng, replace=True)].sum(axis=0) for hit, who in zip(hits, people, strict=True)]
        for _ in range(RESAMPLES)
    ])  # fmt: skip
    counts = np.array([[hit.sum(axis=0) for hit in draw] for draw in draws], float)  # (draws, 3, rules, 2)
    p = p_of_draws([_worse(draw, rng) for draw in draws])
    every = [
        hit[draw_rows(who, len(np.unique(who)), rng, replace=False)] for hit, who in zip(hits, people, strict=True)
    ]
    adjusted = _adjusted(np.concatenate(every[:2]), every[2], rng)
    broken = _broken(adjusted, _adjusted(every[0], every[1], rng), min(len(every[0]) + len(every[1]), len(every[2])))
    return [*_metrics(counts, resamples.astype(float), p, n), broken], _frame(rules, counts, adjusted, n)


def _error_limit(wrong: int, covered: int) -> float:
    """Upper end of the error's exact one-sided interval (Clopper and Pearson, Biometrika 26:404, 1934)."""
    return float(beta.ppf(SURE, wrong + 1, covered - wrong)) if wrong < covered else 1.0


def _half(patients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) bool: the records of half of the patients."""
    people = np.unique(patients)
    return np.isin(patients, rng.permutation(people)[: len(people) // 2])


def _leaves(table: pd.DataFrame, outcome: str, predictors: list[str], seed: int) -> list[tuple]:
    """(conditions, says, bounds) of the leaves of a tree for `outcome`; none where it does not divide."""
    table = table[table[outcome].notna()]
    if outcome == "conclusion":
        says, edges = table[outcome].to_numpy(str), None
    else:
        low, high = (float(f"{x:.3g}") for x in np.percentile(table[outcome], [100 / 3, 200 / 3]))
        edges = dict(zip(LEVELS, [(-np.inf, low), (low, high), (high, np.inf)], strict=True))
        says = np.array(LEVELS)[np.searchsorted([low, high], table[outcome].to_numpy(float), side="left")]
    least = max(LEAST_COVERED, round(LEAST_SHARE * len(table)))
    if len(table) < 2 * least or not predictors or len(np.unique(says)) < 2:
        return []
    tree = DecisionTreeClassifier(max_leaf_nodes=MOST_LEAVES, min_samples_leaf=least, random_state=seed)
    tree.fit(table[predictors].to_numpy(float), says)
    found = [(conditions, str(tree.classes_[at])) for conditions, at in _paths(tree, predictors) if conditions]
    return [(conditions, name, edges[name] if edges else None) for conditions, name in found]


def _paths(tree: DecisionTreeClassifier, names: list[str]) -> list[tuple[tuple, int]]:
    """Conditions on the way to each leaf, only the narrowest of each column and side, and the leaf's class."""
    nodes, found = tree.tree_, []
    pending: list[tuple[int, dict[tuple[str, bool], float]]] = [(0, {})]
    while pending:
        node, terms = pending.pop()
        if nodes.children_left[node] < 0:
            conditions = tuple((column, above, limit) for (column, above), limit in terms.items())
            found.append((conditions, int(nodes.value[node].argmax())))
            continue
        column, limit = names[nodes.feature[node]], float(f"{nodes.threshold[node]:.3g}")
        for above, child in ((True, nodes.children_right[node]), (False, nodes.children_left[node])):
            pending.append((child, {**terms, (column, above): limit}))  # a later one is the narrower
    return found


def _hits(rules: list[Rule], table: pd.DataFrame) -> np.ndarray:
    """Whether each rule covers each record, and is wrong of it, (n, rules, 2) of 0 and 1."""
    covers = np.array([rule.covers(table) for rule in rules])
    wrong = covers & ~np.array([rule.right(table) for rule in rules])
    return np.stack([covers.T, wrong.T], axis=-1).astype(np.float32)


def _valid(real: np.ndarray, other: np.ndarray, n: int) -> np.ndarray:
    """Whether support and error agree, (..., rules) from counts (..., rules, 2) among n records each."""
    return _change(real, n, other, n) <= norm.ppf(1 - LEVEL / 4)


def _change(one: np.ndarray, n: int, other: np.ndarray, m: int) -> np.ndarray:
    """The larger of the score statistics of support and of error, (..., rules), from counts among n and m records."""
    support = _score(one[..., 0], n, other[..., 0], m)
    return np.maximum(support, _score(one[..., 1], one[..., 0], other[..., 1], other[..., 0]))


def _score(one: np.ndarray, n: np.ndarray | int, other: np.ndarray, m: np.ndarray | int) -> np.ndarray:
    """Size of the two-sample score statistic of shares one / n and other / m; 0 where they cannot differ.

    With Yates's correction for continuity: without it, rules that cover a handful would have the largest.
    """
    n, m = np.maximum(n, 1e-9), np.maximum(m, 1e-9)
    pooled = (one + other) / (n + m)
    variance = np.maximum(pooled * (1 - pooled), 0) * (1 / n + 1 / m)
    gap = np.maximum(np.abs(one / n - other / m) - (1 / n + 1 / m) / 2, 0)
    return np.divide(gap, np.sqrt(variance), out=np.zeros_like(gap), where=variance > 0)


def _increase(real: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mean increase of the error, weighted by real support, of rules that cover something in both; (...)."""
    both = (real[..., 0] > 0) & (other[..., 0] > 0)
    errors = [each[..., 1] / np.maximum(each[..., 0], 1) for each in (real, other)]
    weight = real[..., 0] * both
    total = weight.sum(axis=-1)
    return np.divide(((errors[1] - errors[0]) * weight).sum(axis=-1), total, out=np.ones_like(total), where=total > 0)


def _figures(real: np.ndarray, other: np.ndarray, n: int) -> np.ndarray:
    """(..., 2): share of valid rules, and increase of the error, from counts (..., rules, 2)."""
    return np.stack([_valid(real, other, n).mean(axis=-1), _increase(real, other)], axis=-1)


def _worse(hits: Sets, rng: np.random.Generator) -> np.ndarray:
    """p values (2,) of synthetic being worse than holdout in `_figures`, of hits (n, rules, 2) of the three sets."""
    real, holdout, synthetic = hits
    n = len(real)
    first, second = _exchanged(synthetic, holdout, rng)
    reference = np.broadcast_to(real.sum(axis=0, dtype=float), first.shape)
    worse = (_figures(reference, first, n) - _figures(reference, second, n)) * [-1, 1]
    reached, sd = (worse >= worse[0] - 1e-12).mean(axis=0), worse[1:].std(axis=0)
    excess = np.divide(worse[0] - worse[1:].mean(axis=0), sd, out=np.zeros(2), where=sd > 0)
    return _beyond(reached, norm.sf(excess))


def _adjusted(real: np.ndarray, synthetic: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """p value of each rule, (rules,), adjusted for their number, from hits (n, rules, 2) and (m, rules, 2)."""
    first, second = _exchanged(synthetic, real, rng)
    change = _change(first, len(synthetic), second, len(real))
    reached = (change.max(axis=1)[:, None] >= change[0] - 1e-12).mean(axis=0)
    return _beyond(reached, np.minimum(1, 4 * change.shape[1] * norm.sf(change[0])))  # two tests of two sides


def _beyond(reached: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Shares of exchanges that reach what was found, or, where none other does, the p value of a normal tail."""
    alone = reached < 1.5 / (EXCHANGES + 1)
    return np.where(alone, np.minimum(reached, normal), reached)


def _exchanged(one: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Counts of both sides, (1 + exchanges, rules, 2), as they are and with labels exchanged at random."""
    pooled = np.concatenate([one, other]).reshape(len(one) + len(other), -1)
    chosen = np.zeros((EXCHANGES + 1, len(pooled)), np.float32)
    chosen[:, : len(one)] = 1
    chosen[1:] = rng.permuted(chosen[1:], axis=1)
    first = (chosen @ pooled).astype(float)
    second = pooled.sum(axis=0, dtype=float) - first
    return first.reshape(-1, *one.shape[1:]), second.reshape(-1, *one.shape[1:])


def _metrics(counts: np.ndarray, resamples: np.ndarray, p: np.ndarray, n: int) -> list[Metric]:
    """From counts (draws or resamples, 3, rules, 2)."""
    values = _figures(counts[:, 0], counts[:, 2], n).mean(axis=0)
    floors = _figures(counts[:, 0], counts[:, 1], n).mean(axis=0)
    spread = _figures(resamples[:, 0], resamples[:, 2], n)
    low, high = values + np.percentile(spread - spread.mean(axis=0), [2.5, 97.5], axis=0)
    low, high = np.maximum(low, [0, -1]), np.minimum(high, 1)
    return [
        Metric("fidelity", name, float(values[i]), float(low[i]), float(high[i]), better, float(floors[i]), n,
               BEYOND if p[i] < ALARM else WITHIN, FLOOR_OF, p_value=float(p[i]))
        for i, (name, better) in enumerate(zip(NAMES[:2], BETTER, strict=False))
    ]  # fmt: skip


def _broken(p: np.ndarray, of_real: np.ndarray, n: int) -> Metric:
    """From adjusted p values (rules,) of synthetic against real, and of holdout against train."""
    counts, nan = [int((each < ALARM).sum()) for each in (p, of_real)], float("nan")
    verdict = BEYOND if counts[0] else WITHIN
    least = float(p.min())
    return Metric("fidelity", NAMES[2], counts[0], nan, nan, BETTER[2], counts[1], n, verdict, FLOOR_OF, p_value=least)


def _no_metric(name: str, n: int, why: str) -> Metric:
    nan = float("nan")
    return Metric("fidelity", name, nan, nan, nan, BETTER[NAMES.index(name)], nan, n, why, FLOOR_OF)


def _frame(rules: list[Rule], counts: np.ndarray, p: np.ndarray, n: int) -> pd.DataFrame:
    """The rules as a table, from counts (draws, 3, rules, 2) and adjusted p values (rules,)."""
    covered, wrong = np.moveaxis(counts.mean(axis=0), -1, 0)  # (3, rules)
    error = np.divide(wrong, covered, out=np.full_like(wrong, np.nan), where=covered > 0)
    columns: dict[str, object] = {"rule": [str(rule) for rule in rules], "outcome": [rule.outcome for rule in rules]}
    columns |= {f"support_{name}": covered[i] / n for i, name in enumerate(SETS)}
    columns |= {f"error_{name}": error[i] for i, name in enumerate(SETS)}
    valid = [_valid(counts[:, 0], counts[:, i], n).mean(axis=0) for i in (1, 2)]  # share of the draws
    columns |= {f"valid_{name}": of > 0.5 for name, of in zip(SETS[1:], valid, strict=True)}
    columns["p_adjusted"] = p
    return pd.DataFrame(columns).sort_values(["p_adjusted", "valid_synthetic"], kind="stable", ignore_index=True)
