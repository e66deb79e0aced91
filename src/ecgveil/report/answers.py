"""The three answers that the report opens with: is it real enough, is it useful, whom does it betray?"""

from __future__ import annotations

from dataclasses import dataclass

from ecgveil.evaluation import Evaluation, Metric
from ecgveil.evaluation.fidelity import BEYOND, WITHIN
from ecgveil.evaluation.membership import EXCHANGED, LEAKAGE, LINKAGE_BLIND
from ecgveil.evaluation.metric import LEAST_N, TOO_FEW, text
from ecgveil.evaluation.near_copies import COPIES, OF_HOLDOUT, SOME, TAKEN_OUT
from ecgveil.evaluation.privacy import CLOSER, NEARER, SAME
from ecgveil.evaluation.utility import AS_USEFUL
from ecgveil.report.words import full_name

OF_OTHERS = (OF_HOLDOUT, EXCHANGED)
ACCUSING = (LEAKAGE, COPIES, *OF_OTHERS, CLOSER, NEARER, SAME)
ASKS_THE_CRITIC = "membership_critic_"  # figures of an attacker who holds the run folder, which is not shared
LEAST_YES = 100  # people on a side: with fewer, differences that anybody would notice go unseen
_TELLING_AUC = 0.75  # a classifier above it tells most of the synthetic ECGs from real ones
_FEW_BEYOND = 0.25  # share of the figures
_AS_GOOD, _AT_LEAST = 0.9, 0.75  # of what real ECGs teach beyond guessing: as measured, and the interval's lower end


@dataclass(frozen=True)
class Answer:
    """A question, its answer in a few words, whether that is good news (None: cannot tell), and why."""

    question: str
    answer: str
    good: bool | None
    sentences: list[str]


def answers(evaluation: Evaluation) -> list[Answer]:
    """The three answers, from the figures alone."""
    return [_real(evaluation), _useful(evaluation), _betrays(evaluation)]


def _real(evaluation: Evaluation) -> Answer:
    question = "Is it real enough?"
    judged = [m for m in evaluation.metrics if m.family == "fidelity" and m.verdict in (WITHIN, BEYOND)]
    beyond = [m for m in judged if m.verdict == BEYOND]
    if not judged:
        return Answer(question, "Cannot tell: too few people", None, [f"It takes {LEAST_N} people on either side."])
    n = min(m.n for m in judged)
    told = [
        f"{len(judged) - len(beyond)} of {len(judged)} figures of likeness are no further from real ECGs than real "
        f"ECGs are from each other (n = {n} people on a side; smaller differences would not be seen)."
    ]
    classifier = _named(evaluation, "c2st_auc")
    if classifier is not None:
        told.insert(0, _told_apart(classifier, evaluation.quick))
    if beyond:
        worst = sorted(beyond, key=lambda m: m.p_value if m.p_value == m.p_value else 1.0)
        more = f", and {len(worst) - 6} more" if len(worst) > 6 else ""
        told.append(f"Further away: {', '.join(full_name(m) for m in worst[:6])}{more}.")
        telling = classifier is not None and classifier.verdict == BEYOND and classifier.value > _TELLING_AUC
        if telling or len(beyond) > _FEW_BEYOND * len(judged):
            return Answer(question, "No: they can be told from real ECGs", False, told)
        return Answer(question, "In most figures, not in all", False, told)
    if n < LEAST_YES:
        return Answer(question, f"No difference seen; {n} people a side are too few to say yes", None, told)
    if classifier is None or classifier not in judged or evaluation.quick:
        return Answer(question, "No difference seen at a first look", None, told)
    return Answer(question, f"Yes, as far as {n} people a side can tell", True, told)


def _told_apart(classifier: Metric, quick: bool) -> str:
    kind = "Decision trees" if quick else "A network and decision trees"
    told = (
        f"{kind} trained to tell synthetic from real ECGs reach an AUC of {text(classifier.value)} (95 % interval "
        f"{text(classifier.ci_low)} to {text(classifier.ci_high)}; 0.5 is guessing, real against real "
        f"{text(classifier.floor)})."
    )
    if classifier.verdict == BEYOND and classifier.value < 0.5:
        told += " Below guessing: the synthetic ECGs repeat the very real ones that they are compared with."
    return told


def _useful(evaluation: Evaluation) -> Answer:
    question = "Is it useful?"
    tstr, real = _named(evaluation, "tstr_auroc"), _named(evaluation, "real_auroc_100")
    if tstr is None or real is None:
        if evaluation.quick:
            return Answer(question, "Not tested", None, ["A quick look trains no classifier of diagnoses."])
        return Answer(question, "Not tested", None, ["It takes labels, such as diagnoses, on real and synthetic ECGs."])
    told = [
        f"Classifiers trained on synthetic ECGs alone reach, on real ones of other people, an AUROC of "
        f"{text(tstr.value)} (95 % interval {text(tstr.ci_low)} to {text(tstr.ci_high)}; n = {tstr.n}); trained on "
        f"real ECGs, {text(real.value)} ({text(real.ci_low)} to {text(real.ci_high)})."
    ]
    gain = _named(evaluation, "rarest_class_gain_auroc")
    if gain is not None:
        told.append(
            f"Added to the real ECGs, they change the AUROC of the rarest class by {text(gain.value)} "
            f"({text(gain.ci_low)} to {text(gain.ci_high)})."
        )
    if not real.ci_low > 0.5:  # NaN is no evidence either
        return Answer(question, "Cannot tell: not even real ECGs teach these labels", None, told)
    share = (tstr.value - 0.5) / (real.value - 0.5)
    if not tstr.ci_low > 0.5 or tstr.verdict == TOO_FEW:
        little = (tstr.ci_high - 0.5) / (real.value - 0.5) < 0.5
        answer = "No: hardly anything can be learned from them" if little else "Cannot tell with n this small"
        return Answer(question, answer, False if little else None, told)
    if share >= _AS_GOOD:
        sure = (tstr.ci_low - 0.5) / (real.value - 0.5) >= _AT_LEAST and tstr.verdict == AS_USEFUL
        if not sure:
            return Answer(
                question, "Nearly as good to learn from as real ECGs, on too few people to say yes", None, told
            )
        return Answer(question, "Yes: nearly as good to learn from as real ECGs", True, told)
    return Answer(question, f"In part: {100 * share:.0f} % of what real ECGs teach beyond guessing", False, told)


def _betrays(evaluation: Evaluation) -> Answer:
    question = "Whom does it betray?"
    promise = "No test can show that nothing leaks: weaker leaks and attacks that were not tried remain possible."
    tried = [m for m in evaluation.metrics if m.family == "privacy" and m.value == m.value]
    found = [m for m in tried if m.verdict in ACCUSING and not m.name.startswith(ASKS_THE_CRITIC)]
    by_weights = _by_weights(tried)
    copies = _named(evaluation, "copies_share")
    if found:
        told = [f"{_capital(full_name(m))}: {text(m.value)}{_interval(m)}, {m.verdict}." for m in found]
        if all(m.verdict in OF_OTHERS for m in found):
            return Answer(question, "People in the holdout: do not share, and look for the mistake", False, told)
        return Answer(question, "People in the training set: do not share", False, told + by_weights)
    attacks = [
        m
        for m in tried
        if m.name.startswith("membership_")
        and m.name.endswith("_auc")
        and not m.name.startswith(ASKS_THE_CRITIC)
        and not m.verdict.startswith(TOO_FEW)
        and m.verdict != LINKAGE_BLIND
    ]
    told = []
    if copies is not None:
        told.append(_of_copies(copies))
    if attacks:
        best = max(attacks, key=lambda m: m.value)
        tries = "1 attack" if len(attacks) == 1 else f"{len(attacks)} attacks"
        told.append(
            f"{tries} could not tell who was in the training set; the best reached an AUC of "
            f"{text(best.value)} (95 % interval {text(best.ci_low)} to {text(best.ci_high)}; guessing 0.5) with "
            f"{best.n} people on a side."
        )
    else:
        told.append("No attack on membership could be judged: too few people, or ECGs without beats.")
    if copies is None or copies.verdict == TOO_FEW or not attacks:
        return Answer(question, "Cannot tell", None, [*told, *by_weights, promise])
    if copies.verdict == SOME:
        flagged = round(copies.value * copies.n)
        them = "the ECG that might be a copy" if flagged == 1 else f"the {flagged} ECGs that might be copies"
        return Answer(question, f"Nobody found; first look at {them}", None, [*told, *by_weights, promise])
    if evaluation.quick:
        return Answer(question, "Nobody found at a first look", None, [*told, *by_weights, promise])
    return Answer(question, "Nobody, as far as these tests can tell", True, [*told, *by_weights, promise])


def _by_weights(tried: list[Metric]) -> list[str]:
    """What whoever holds the critic can find out, a sentence or none: the critic is in no release."""
    knows = [m for m in tried if m.name.startswith(ASKS_THE_CRITIC) and m.verdict in ACCUSING]
    if not knows:
        return []
    most = knows[0]
    return [
        f"That is said of the ECGs. The run folder is another thing: its critic, which judged ECGs while the program "
        f"learned, knows who was in the training set ({full_name(most)}: {text(most.value)}{_interval(most)}). Keep "
        "that folder; the critic is in no release."
    ]


def _of_copies(copies: Metric) -> str:
    flagged, share = round(copies.value * copies.n), f"{100 * copies.value:.2g} %"
    if copies.verdict == TAKEN_OUT and flagged:
        return (
            f"{flagged} of {copies.n} ECGs ({share}) were copies of real ones, and were taken out; this is of the rest."
        )
    if not flagged:
        return "None of the ECGs was found to be a copy of a real one."
    return (
        f"{flagged} of {copies.n} ECGs ({share}) might be copies of real ones, {copies.verdict}: the keeper's "
        "copies.csv names them."
    )


def _named(evaluation: Evaluation, name: str) -> Metric | None:
    return next((m for m in evaluation.metrics if m.name == name and m.value == m.value), None)


def _interval(metric: Metric) -> str:
    known = metric.ci_low == metric.ci_low and metric.ci_high == metric.ci_high
    return f" ({text(metric.ci_low)} to {text(metric.ci_high)})" if known else ""


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
