"""The three answers: each branch, and no green one that was not earned."""

import re
from dataclasses import replace

import numpy as np
import pytest

from ecgveil.ecg import ECGSet
from ecgveil.evaluation import Evaluation, Means, Metric, evaluate
from ecgveil.evaluation.canaries import make_canaries
from ecgveil.evaluation.embedding import encoder_metrics
from ecgveil.evaluation.fidelity import BEYOND, WITHIN
from ecgveil.evaluation.membership import EXCHANGED, LEAKAGE, LINKAGE_BLIND, NO_EVIDENCE
from ecgveil.evaluation.metric import TOO_FEW
from ecgveil.evaluation.near_copies import COPIES, NO_COPIES, OF_HOLDOUT, SOME, TAKEN_OUT
from ecgveil.evaluation.privacy import CLOSER, NEARER
from ecgveil.evaluation.utility import AS_USEFUL, LESS_USEFUL, utility_metrics
from ecgveil.report.answers import ACCUSING, answers
from ecgveil.report.intervals import picture
from ecgveil.report.meanings import meaning
from ecgveil.report.words import full_name
from ecgveil.simulate import simulate

NAN = float("nan")
BAD = re.compile(r"\bnan\b|\binf\b")


def metric(name, value, verdict, *, family="privacy", n=200, low=None, high=None, floor=0.5, p=NAN) -> Metric:
    low, high = value - 0.1 if low is None else low, value + 0.1 if high is None else high
    return Metric(family, name, value, low, high, "lower", floor, n, verdict, p_value=p)


def likeness(beyond=0, within=20, n=200, classifier=0.52, told=WITHIN) -> list[Metric]:
    found = [metric(f"figure_{i}_ks", 0.3, BEYOND, family="fidelity", n=n, p=1e-4 * (i + 1)) for i in range(beyond)]
    found += [metric(f"other_{i}_ks", 0.1, WITHIN, family="fidelity", n=n) for i in range(within)]
    if classifier is not None:
        found.append(metric("c2st_auc", classifier, told, family="fidelity", n=n, p=0.5))
    return found


def private(copies=NO_COPIES, share=0.0, attack=NO_EVIDENCE, n=200) -> list[Metric]:
    return [
        metric("copies_share", share, copies, low=0, high=0.02, floor=0.004, n=n),
        metric("membership_gan_leaks_auc", 0.51, attack, n=n),
        metric("membership_gan_leaks_tpr_at_fpr_0.01", NAN, f"{TOO_FEW}: it takes 100", n=n),
    ]


def useful(tstr=0.85, real=0.88, width=0.05, verdict=AS_USEFUL) -> list[Metric]:
    return [
        metric(name, value, verdict, family="utility", low=value - width, high=value + width)
        for name, value in (("tstr_auroc", tstr), ("real_auroc_100", real), ("rarest_class_gain_auroc", 0.01))
    ]


def asked(metrics, quick=False):
    """(answer, good, sentences) of the three; no sentence holds what is no number."""
    found = answers(Evaluation(list(metrics), None, None, None, None, None, [], quick=quick))
    assert [each.question for each in found] == ["Is it real enough?", "Is it useful?", "Whom does it betray?"]
    for each in found:
        assert not BAD.search(" ".join([each.answer, *each.sentences]))
    return [(each.answer, each.good, " ".join(each.sentences)) for each in found]


# --- Is it real enough?


def test_real_enough_takes_all_figures_many_people_and_a_classifier():
    answer, good, told = asked(likeness())[0]
    assert (answer, good) == ("Yes, as far as 200 people a side can tell", True)
    assert "21 of 21 figures" in told
    assert "AUC of 0.52" in told


@pytest.mark.parametrize(
    ("metrics", "quick", "words"),
    [
        ([], False, "Cannot tell"),
        ([metric("c2st_auc", NAN, TOO_FEW, family="fidelity", n=9)], False, "Cannot tell"),
        ([metric("heart_rate_ks", 0.2, TOO_FEW, family="fidelity", n=9)], False, "Cannot tell: too few people"),
        (likeness(n=99), False, "99 people a side are too few to say yes"),
        (likeness(), True, "No difference seen at a first look"),
        (likeness(classifier=None), False, "No difference seen at a first look"),
        (likeness(classifier=0.5, told=TOO_FEW), False, "No difference seen at a first look"),
    ],
)
def test_what_was_not_seen_is_no_yes(metrics, quick, words):
    answer, good, _ = asked(metrics, quick)[0]
    assert words in answer
    assert good is None


def test_figures_beyond_are_named_the_surest_first():
    answer, good, told = asked(likeness(beyond=8, within=40))[0]
    assert (answer, good) == ("In most figures, not in all", False)
    assert told.index("figure 0 ks") < told.index("figure 1 ks")
    assert "and 2 more" in told
    assert "41 of 49" in told


def test_many_figures_beyond_or_a_classifier_that_tells_are_a_no():
    for metrics in (likeness(beyond=8, within=20), likeness(classifier=0.9, told=BEYOND)):
        answer, good, _ = asked(metrics)[0]
        assert (answer, good) == ("No: they can be told from real ECGs", False)
    # one that tells a little is one figure among many
    assert asked(likeness(classifier=0.6, told=BEYOND))[0][0] == "In most figures, not in all"


def test_an_auc_below_guessing_is_explained_not_praised():
    answer, good, told = asked(likeness(classifier=0.3, told=BEYOND))[0]
    assert (answer, good) == ("In most figures, not in all", False)
    assert "repeat the very real ones" in told
    assert "repeat" not in asked(likeness(classifier=0.48))[0][2]


def test_a_quick_classifier_is_said_to_be_trees_alone():
    assert asked(likeness(), quick=True)[0][2].startswith("Decision trees trained")
    assert asked(likeness())[0][2].startswith("A network and decision trees trained")


def test_p_values_that_are_missing_come_last():
    metrics = [replace(m, p_value=NAN) if m.name == "figure_0_ks" else m for m in likeness(beyond=2, within=40)]
    told = asked(metrics)[0][2]
    assert told.index("figure 1 ks") < told.index("figure 0 ks")


# --- Is it useful?


@pytest.mark.parametrize(
    ("metrics", "answer", "good"),
    [
        (useful(), "Yes: nearly as good to learn from as real ECGs", True),
        (useful(tstr=0.95, real=0.88), "Yes: nearly as good to learn from as real ECGs", True),
        (useful(width=0.15), "Nearly as good to learn from as real ECGs, on too few people to say yes", None),
        (useful(verdict=LESS_USEFUL), "Nearly as good to learn from as real ECGs, on too few people to say yes", None),
        (useful(verdict=TOO_FEW), "Cannot tell with n this small", None),
        (useful(tstr=0.7, real=0.9), "In part: 50 % of what real ECGs teach beyond guessing", False),
        (useful(tstr=0.51, real=0.9), "No: hardly anything can be learned from them", False),
        (useful(tstr=0.7, real=0.9, width=0.25), "Cannot tell with n this small", None),
        (useful(tstr=0.7, real=0.52), "Cannot tell: not even real ECGs teach these labels", None),
        (useful(tstr=0.9, real=0.9, width=NAN), "Cannot tell: not even real ECGs teach these labels", None),
        ([useful(width=NAN)[0], *useful()[1:]], "Cannot tell with n this small", None),
        (useful()[:1], "Not tested", None),
        ([replace(each, value=NAN) for each in useful()], "Not tested", None),
    ],
)
def test_useful(metrics, answer, good):
    assert asked(metrics)[1][:2] == (answer, good)


def test_usefulness_that_was_not_tested_says_why():
    assert "quick look" in asked([], quick=True)[1][2]
    assert "takes labels" in asked([])[1][2]
    assert "rarest class by 0.01" in asked(useful())[1][2]
    assert "rarest" not in asked(useful()[:2])[1][2]


# --- Whom does it betray?


def test_nobody_takes_copies_looked_for_and_an_attack_judged():
    answer, good, told = asked(private())[2]
    assert (answer, good) == ("Nobody, as far as these tests can tell", True)
    assert "None of the ECGs was found to be a copy" in told
    assert "1 attack could not tell" in told
    assert "No test can show that nothing leaks" in told


@pytest.mark.parametrize(
    ("metrics", "quick", "words"),
    [
        ([], False, "Cannot tell"),
        (private()[1:], False, "Cannot tell"),  # copies not looked for
        (private()[:1], False, "Cannot tell"),  # no attack
        (private(attack=TOO_FEW), False, "Cannot tell"),
        (private(copies=TOO_FEW, n=10), False, "Cannot tell"),
        ([private()[0], metric("membership_linkage_auc", 0.5, LINKAGE_BLIND)], False, "Cannot tell"),
        (
            [private()[0], metric("membership_domias_auc", NAN, "cannot be computed: it takes ECGs")],
            False,
            "Cannot tell",
        ),
        ([private()[0], metric("linkage_ceiling_auc", 0.9, "would recognise people")], False, "Cannot tell"),
        ([private()[0], metric("closer_to_train_share", 0.5, "no evidence of copying")], False, "Cannot tell"),
        (private(), True, "Nobody found at a first look"),
    ],
)
def test_an_attack_that_could_see_nothing_clears_nobody(metrics, quick, words):
    answer, good, told = asked(metrics, quick)[2]
    assert answer == words
    assert good is None
    assert "No test can show" in told


def test_a_blind_attack_is_not_counted_among_those_that_found_nobody():
    metrics = [*private(), metric("membership_linkage_auc", 0.7, LINKAGE_BLIND)]
    assert (
        "1 attack could not tell who was in the training set; the best reached an AUC of 0.51" in asked(metrics)[2][2]
    )


@pytest.mark.parametrize(
    "accused",
    [
        metric("copies_share", 0.2, COPIES),
        metric("membership_gan_leaks_tpr_at_fpr_0.01", 0.2, LEAKAGE),
        metric("attribute_sex_advantage", 0.2, LEAKAGE),
        metric("canary_exposure_highest_bits", 10.0, LEAKAGE, low=NAN, high=NAN),
        metric("closer_to_train_share", 0.8, CLOSER),
        metric("near_copy_share", 0.3, NEARER),
    ],
)
@pytest.mark.parametrize("quick", [False, True])
def test_whoever_is_accused_is_named_whatever_else_was_found(accused, quick):
    assert accused.verdict in ACCUSING
    clean = [each for each in private() if each.name != accused.name]
    answer, good, told = asked([*clean, accused], quick)[2]
    assert (answer, good) == ("People in the training set: do not share", False)
    assert accused.verdict in told
    assert "(- to -)" not in told


def test_copies_of_the_holdout_are_a_mistake_to_look_for():
    holdout = metric("copies_share", 0.2, OF_HOLDOUT)
    answer, good, _ = asked([*private()[1:], holdout])[2]
    assert (answer, good) == ("People in the holdout: do not share, and look for the mistake", False)
    assert asked([*private(), metric("membership_domias_auc", 0.1, EXCHANGED)])[2][:2] == (answer, good)
    both = asked([holdout, metric("membership_stretch_auc", 0.7, LEAKAGE)])[2]
    assert both[:2] == ("People in the training set: do not share", False)


def test_copies_taken_out_are_told_and_the_rest_is_judged():
    answer, good, told = asked(private(copies=TAKEN_OUT, share=0.25))[2]
    assert good is True
    assert "50 of 200 ECGs (25 %) were copies of real ones, and were taken out" in told
    leak = metric("membership_stretch_auc", 0.7, LEAKAGE)
    assert asked([*private(copies=TAKEN_OUT, share=0.25), leak])[2][1] is False


def test_what_the_critic_knows_is_said_of_the_run_folder_and_not_of_the_ecgs():
    critic = metric("membership_critic_auc", 0.97, LEAKAGE)
    answer, good, told = asked([*private(), critic])[2]
    assert (answer, good) == ("Nobody, as far as these tests can tell", True)
    assert "1 attack could not tell" in told
    assert "its critic" in told
    assert "AUC: 0.97 (0.87 to 1.07)" in told
    assert "Keep that folder" in told
    assert "critic" not in asked([*private(), replace(critic, verdict=NO_EVIDENCE)])[2][2]
    # alone it clears nobody, and beside an attack by the ECGs it is told as well
    assert asked([private()[0], replace(critic, verdict=NO_EVIDENCE)])[2][:2] == ("Cannot tell", None)
    answer, good, told = asked([*private(attack=LEAKAGE), critic])[2]
    assert (answer, good) == ("People in the training set: do not share", False)
    assert "Keep that folder" in told


@pytest.mark.parametrize("floor", [0.004, NAN])
def test_a_few_flagged_ecgs_are_told(floor):
    copies = replace(private(copies=SOME, share=0.005)[0], floor=floor)
    answer, good, told = asked([copies, *private()[1:]])[2]
    assert (answer, good) == ("Nobody found; first look at the ECG that might be a copy", None)
    assert "1 of 200 ECGs (0.5 %) might be copies" in told
    assert "copies.csv names them" in told


def test_without_a_value_no_verdict_accuses():
    assert asked([*private(), metric("attribute_age_advantage", NAN, LEAKAGE)])[2][1] is True


# --- every figure has a name and a meaning


def labelled(ecgs: ECGSet) -> ECGSet:
    labels = tuple(("a_b",) if i % 2 else ("c",) for i in range(len(ecgs)))
    return replace(ecgs, labels=labels, sex=tuple(("female", "male")[i % 2] for i in range(len(ecgs))))


@pytest.fixture(scope="module")
def every() -> list[Metric]:
    """Figures of all names that `evaluate` gives, with all that attackers may have; too few people for most values."""
    ecgs = labelled(simulate(36, seed=4, fs=100)[0])
    train, holdout, made = ecgs.take(range(12)), ecgs.take(range(12, 24)), ecgs.take(range(24, 36))
    later = replace(ecgs.take(range(24)), signal=ecgs.signal[:24, :, ::-1].copy())
    critic, canaries = (np.arange(12.0), np.arange(12.0)), make_canaries(train, 3, seed=0, references=5)

    def guess(x, targets, tested, *, seed, quick):
        return [np.zeros((len(each), targets.shape[1])) for each in tested]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ecgveil.evaluation.attributes.LEAST_BEARERS", 5)
        patch.setattr("ecgveil.evaluation.utility.LEAST", 5)
        patch.setattr("ecgveil.evaluation.utility.CLASSIFIERS", {"resnet": guess, "rocket": guess})
        found = evaluate(train, holdout, made, seed=0, quick=True, means=Means(later, critic, canaries))
        learned = utility_metrics(train, holdout, made, seed=0, seeds=1)[0]
    few = np.zeros((3, 5, 3, 500), np.float32)
    encoder = encoder_metrics(*few, (np.array(list("abcde")),) * 3, seed=0)
    return [*found.metrics, *learned, *encoder]


def test_every_figure_has_a_name_and_a_meaning(every):
    names = {each.name for each in every}
    for part in (
        "c2st_auc",
        "tstr_f1_a_b",
        "real_auroc_1_rocket",
        "coverage_encoder",
        "linkage_ceiling_auc",
        "rules_broken",
    ):
        assert part in names
    for start in ("attribute_", "canary_", "membership_critic_", "membership_linkage_", "augmentation_gain_"):
        assert any(name.startswith(start) for name in names), start
    for each in every:
        assert meaning(each), f"{each.name} has no meaning"
        assert "_" not in full_name(each), each.name
    assert len({full_name(each) for each in every}) == len(names)


def test_what_is_unknown_has_no_meaning_and_still_a_name():
    unknown = metric("something_new", 1.0, "")
    assert meaning(unknown) == ""
    assert full_name(unknown) == "something new"


def test_a_picture_shows_what_is_known(every):
    assert picture(metric("a_share", NAN, "")) == ""
    drawn = picture(metric("a_share", 0.5, "", low=0.4, high=0.6, floor=0.25))
    assert 'cx="90.0"' in drawn  # the middle of a line from 0 to 1
    assert 'x1="48.0" x2="48.0"' in drawn  # the floor
    assert "from 0 to 1" in drawn
    without = picture(metric("a_distance", 4.0, "", low=NAN, high=NAN, floor=NAN))
    assert "var(--real)" not in without
    assert 'stroke-width="2"' not in without
    assert "from 0 to 4" in without
    assert "from -1 to 0" in picture(metric("a_gain", -1.0, "", low=NAN, high=NAN, floor=NAN))
    for each in every:
        assert "nan" not in picture(each)
        at = re.findall(r'(?:x1|x2|cx)="([-\d.]+)"', picture(each))
        assert all(0 <= float(x) <= 180 for x in at), each
