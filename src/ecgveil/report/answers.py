"""The three answers that the report opens with: is it real enough, is it useful, whom does it betray?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ecgveil.evaluation import Evaluation, Metric
from ecgveil.evaluation.fidelity import BEYOND, WITHIN
from ecgveil.evaluation.membership import LEAKAGE
from ecgveil.evaluation.metric import LEAST_N, TOO_FEW, text
from ecgveil.evaluation.near_copies import COPIES
from ecgveil.evaluation.privacy import CLOSER, NEARER
from ecgveil.report.words import full_name

ACCUSING = (LEAKAGE, COPIES, CLOSER, NEARER)
_TELLING_AUC = 0.75  # a classifier above it tells most of the synthetic ECGs from real ones
_FEW_BEYOND = 0.25  # share of the figures


@dataclass(frozen=True)
class Answer:
    """A question, its answer in a few words, whether that is good news (None: cannot tell), and why."""

    question: str
    answer: str
    good: bool | None
    sentences: list[str]


def answers(evaluation: Evaluation) -> list[Answer]:
    """The three answers, from the figures alone."""
    metrics = evaluation.metrics
    return [_real(metrics), _useful(metrics), _betrays(metrics)]


def _real(metrics: Sequence[Metric]) -> Answer:
    question = "Is it real enough?"
    judged = [m for m in metrics if m.family == "fidelity" and m.verdict in (WITHIN, BEYOND)]
    beyond = [m for m in judged if m.verdict == BEYOND]
    if not judged:
        return Answer(question, "Cannot tell", None, [f"Fewer than {LEAST_N} people on one side."])
    n = min(m.n for m in judged)
    told = [
        f"{len(judged) - len(beyond)} of {len(judged)} figures of likeness are no further from real ECGs than real "
        f"ECGs are from each other (n = {n} on a side; smaller differences would not be seen)."
    ]
    if beyond:
        worst = sorted(beyond, key=lambda m: m.p_value if m.p_value == m.p_value else 1.0)
        more = f", and {len(worst) - 6} more" if len(worst) > 6 else ""
        told.append(f"Further away: {', '.join(full_name(m) for m in worst[:6])}{more}.")
    classifier = next((m for m in metrics if m.name == "c2st_auc" and m.value == m.value), None)
    if classifier is not None:
        told.insert(
            0,
            f"A classifier trained to tell synthetic from real ECGs reaches an AUC of {text(classifier.value)} (95 % "
            f"interval {text(classifier.ci_low)} to {text(classifier.ci_high)}; 0.5 is guessing, real against real "
            f"{text(classifier.floor)}).",
        )
    if not beyond:
        return Answer(question, f"Yes, as far as {n} ECGs a side can tell", True, told)
    told_apart = classifier is not None and classifier.value > _TELLING_AUC
    if len(beyond) > _FEW_BEYOND * len(judged) or told_apart:
        return Answer(question, "No: they can be told from real ECGs", False, told)
    return Answer(question, "In most figures; not in all", False, told)


def _useful(metrics: Sequence[Metric]) -> Answer:
    question = "Is it useful?"
    tstr = next((m for m in metrics if m.name == "tstr_auroc" and m.value == m.value), None)
    if tstr is None:
        return Answer(question, "Not tested", None, ["It takes labels, such as diagnoses, on real and synthetic ECGs."])
    told = [
        f"A classifier trained on synthetic ECGs alone reaches, on real ones of other people, an AUROC of "
        f"{text(tstr.value)} (95 % interval {text(tstr.ci_low)} to {text(tstr.ci_high)}); trained on real ECGs, "
        f"{text(tstr.floor)}."
    ]
    gain = next((m for m in metrics if m.name == "rarest_class_gain_auroc" and m.value == m.value), None)
    if gain is not None:
        told.append(
            f"Added to the real ECGs, they change the AUROC of the rarest class by {text(gain.value)} "
            f"({text(gain.ci_low)} to {text(gain.ci_high)})."
        )
    share = (tstr.value - 0.5) / (tstr.floor - 0.5) if tstr.floor > 0.5 else float("nan")
    if share >= 0.9:
        return Answer(question, "Yes: nearly as good to learn from as real ECGs", True, told)
    if tstr.ci_low > 0.5:
        return Answer(question, f"In part: {100 * share:.0f} % of what real ECGs teach", False, told)
    return Answer(question, "No: nothing could be learned from them", False, told)


def _betrays(metrics: Sequence[Metric]) -> Answer:
    question = "Whom does it betray?"
    tried = [m for m in metrics if m.family == "privacy" and m.value == m.value]
    found = [m for m in tried if m.verdict in ACCUSING]
    if found:
        told = [f"{_capital(full_name(m))}: {text(m.value)} ({text(m.ci_low)} to {text(m.ci_high)}), {m.verdict}."
                for m in found]  # fmt: skip
        return Answer(question, "People in the training set: do not share", False, told)
    judged = [m for m in tried if not m.verdict.startswith(TOO_FEW)]
    promise = "No test can show that nothing leaks: weaker leaks and attacks that were not tried remain possible."
    if not judged:
        return Answer(question, "Cannot tell: too few ECGs", None, [promise])
    told = [f"None of {len(judged)} tests found copies of training ECGs, or a way to tell who was among them."]
    best = max((m for m in judged if m.name.startswith("membership_") and m.name.endswith("_auc")),
               key=lambda m: m.value, default=None)  # fmt: skip
    if best is not None:
        told.append(
            f"The best attack on membership reached an AUC of {text(best.value)} (95 % interval {text(best.ci_low)} to "
            f"{text(best.ci_high)}; guessing 0.5) with {best.n} people on a side."
        )
    return Answer(question, "Nobody, as far as these tests can tell", True, [*told, promise])


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
