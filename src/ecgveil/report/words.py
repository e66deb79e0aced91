"""The summary of the report in plain words. It says what the figures say, no more, and what nobody has yet shown."""

from __future__ import annotations

from ecgveil.evaluation import Evaluation, Metric
from ecgveil.evaluation.fidelity import BEYOND, WITHIN
from ecgveil.evaluation.metric import TOO_FEW, text
from ecgveil.evaluation.privacy import NO_EVIDENCE
from ecgveil.report.clinical import interpretable, normal_share, tellable

NAMES = {
    "heart_rate_ks": "heart rate",
    "rr_sd_ks": "irregularity of the rhythm",
    "beat_likeness_ks": "likeness of the beats within a record",
    "psd_distance_db": "power spectrum, dB",
    "lead_correlation_error": "correlation between leads",
    "limb_residual_median_uv": "limb leads against I and II, uV",
    "closer_to_train_share": "share nearer to training than to holdout, equal parts",
    "nearest_is_train_share": "share whose nearest real ECG is a training ECG, all patients",
    "median_distance_to_train_uv": "median distance to the nearest training ECG, uV",
    "near_copy_share": "share nearer to training than the nearest 5 % of holdout ECGs",
    "same_beat_share": "share whose median beat is a training ECG's own",
    "frechet_clinical": "measurements together: Frechet distance",
    "kernel_clinical": "measurements together: kernel distance",
    "precision_clinical": "measurements together: precision (synthetic ECGs among real ones)",
    "recall_clinical": "measurements together: recall (real ECGs among synthetic ones)",
    "density_clinical": "measurements together: density",
    "coverage_clinical": "measurements together: coverage (real ECGs with a synthetic one near)",
    "measurement_correlation_error": "correlations between measurements",
    "qt_rr_slope_difference": "slope of QT over RR",
    "qt_rr_r_difference": "correlation of QT with RR",
    "normal_share": "share called normal",
    "measuring_failure_share": "share that could not be measured",
    "c2st_auc": "a classifier tells synthetic from real: AUC",
    "psd_mmd": "power spectra of single ECGs: kernel distance",
    "qrs_variation_ks": "variation of the QRS from beat to beat",
    "t_variation_ks": "variation of ST and T from beat to beat",
    "record_repeats_share": "share that nearly repeats another synthetic ECG",
    "rules_valid_share": "share of the rules of real ECGs that hold",
    "rules_error_increase": "how much more often those rules are wrong",
    "rules_broken": "rules surely broken",
    "copies_share": "share flagged as copies of real ECGs",
    "tstr_auroc": "learned from synthetic, tried on real ECGs: macro AUROC",
    "trts_auroc": "learned from real, tried on synthetic ECGs: macro AUROC",
    "rarest_class_gain_auroc": "gain for the rarest class from adding synthetic ECGs: AUROC",
    "canary_exposure_mean_bits": "planted ECGs: mean exposure, bits",
    "canary_exposure_highest_bits": "planted ECGs: highest exposure, bits",
    "canary_first_share": "planted ECGs: share known better than any not planted",
    "canary_epsilon_lower": "planted ECGs: epsilon is at least",
}
ATTACKS = {
    "gan_leaks": "nearest synthetic ECG",
    "monte_carlo": "synthetic ECGs near by",
    "domias": "density of synthetic ECGs",
    "critic": "the critic's score",
    "stretch": "seconds of their ECG",
    "linkage": "linkage by another recording",
}

VERDICTS = {WITHIN: "as near as real ECGs", BEYOND: "further than real ECGs"}  # where there is little room

REASONS = {
    "no_beat": "no beat found",
    "few_beats": "too few beats",
    "no_whole_beat": "no whole beat",
    "no_qrs": "no QRS in the median beat",
    "no_p": "no P wave",
    "no_t": "no T wave",
    "noisy": "beats too unlike each other",
    "missing_leads": "leads missing",
    "too_short": "record too short",
    "odd_rate": "sampling rate that cannot be brought to the one asked for",
}
NOT_MEASURED = "PR, QRS and QT intervals, axes and clinical statements have not been measured yet, nor compared."
NOT_JUDGED = (
    "P, PR, QRS and QT, axes and clinical statements stand side by side below, measured by ecgveil alone; they are "
    "judged together, not one by one."
)
NO_EXPERT = "No cardiologist has reviewed them. Expert review is pending."
NO_WEIGHTS = "Nobody has tried to recognise training patients by the network's weights."
NO_LINKAGE = "Nobody has tried to recognise training patients by another recording of theirs."
NO_USE = (
    "Usefulness has not been tested: no classifier of diagnoses learned from these ECGs and was tried on real ones."
)
OTHER_ATTACKS = "Attacks that nobody has thought of yet may do better than those tried."


def full_name(metric: Metric) -> str:
    """Name of a figure for a reader."""
    for wave, word in (("r", "R wave"), ("t", "T wave")):
        if metric.name.startswith(f"{wave}_amplitude_"):
            return f"{word} in {metric.name.split('_')[2]}"
    if metric.name.startswith("membership_"):
        attack, _, figure = metric.name.removeprefix("membership_").partition("_auc")
        if not metric.name.endswith("_auc"):
            attack, _, rate = metric.name.removeprefix("membership_").partition("_tpr_at_fpr_")
            figure = f": share found at {100 * float(rate):g} % false alarms"
        return f"who was in training, by {ATTACKS.get(attack, attack)}{figure or ': AUC'}"
    if metric.name.startswith("attribute_"):
        what = metric.name.removeprefix("attribute_").replace("_advantage", "").replace("_", " ")
        return f"what it reveals of {what}, beyond what is known of anybody"
    if metric.name.endswith("_encoder"):
        return f"learned representation: {metric.name.removesuffix('_encoder')}"
    return NAMES.get(metric.name, metric.name.replace("_", " "))


def reason(code: str) -> str:
    """Why a value is missing, for a reader.

    >>> reason("no_p"), reason("unit_sd")
    ('no P wave', 'unit sd, not mV')
    """
    if code.startswith("unit_"):
        return f"unit {code.removeprefix('unit_')}, not mV"
    return REASONS.get(code, code.replace("_", " "))


def findings(evaluation: Evaluation) -> list[str]:
    """What the figures say, a sentence each."""
    return [*_privacy(evaluation.metrics), *_not_judged(evaluation.metrics)]


def not_shown(evaluation: Evaluation) -> list[str]:
    """What is not yet shown, a sentence each."""
    smallest = min(len(each) for each in (evaluation.train, evaluation.holdout, evaluation.synthetic))
    few = [f"The smallest set compared holds {smallest} ECGs: only coarse differences would be seen."]
    intervals = NOT_JUDGED if "qt_interval_ms" in evaluation.synthetic.table else NOT_MEASURED
    names = {metric.name for metric in evaluation.metrics}
    open_ = [
        sentence
        for name, sentence in (
            ("tstr_auroc", NO_USE),
            ("membership_critic_auc", NO_WEIGHTS),
            ("membership_linkage_auc", NO_LINKAGE),
        )
        if name not in names
    ]
    return [*(few if smallest < 100 else []), intervals, *open_, OTHER_ATTACKS, NO_EXPERT]


def clinical(evaluation: Evaluation, *, public: bool = False) -> list[str]:
    """What the clinical tables say, a sentence each; real ECGs of a few people are not spoken of where `public`."""
    if not interpretable(evaluation.train):
        return []
    shares = {
        words: normal_share(getattr(evaluation, name))
        for name, words in (("synthetic", "synthetic"), ("train", "training"), ("holdout", "holdout"))
        if tellable(getattr(evaluation, name), name, public)
    }
    told = [
        f"{100 * share.value:.0f} % of the {words} ECGs (95 % interval {100 * share.low:.0f} to "
        f"{100 * share.high:.0f} %)"
        for words, share in shares.items()
        if share is not None
    ]
    return [f"ecgveil's own reading calls normal: {', '.join(told)}."] if told else []


def _not_judged(metrics: list[Metric]) -> list[str]:
    figures = [metric for metric in metrics if metric.family == "fidelity"]
    unknown = [full_name(metric) for metric in figures if metric.verdict not in (WITHIN, BEYOND)]
    return [f"Not judged: {', '.join(unknown)}."] if unknown else []


def _privacy(metrics: list[Metric]) -> list[str]:
    said = []
    shares = {metric.name: metric for metric in metrics if metric.name in ("closer_to_train_share",
                                                                        "nearest_is_train_share")}  # fmt: skip
    for metric in shares.values():
        if metric.value != metric.value:  # NaN: not computed
            continue
        what = "equally many training and holdout ECGs" if metric.name == "closer_to_train_share" else "all real ECGs"
        verdict = f"{metric.verdict} (n = {metric.n})" if metric.verdict == TOO_FEW else metric.verdict
        if metric.verdict == NO_EVIDENCE and metric.ci_low > metric.target:
            verdict += " (as large a share often comes about when the same people are dealt to the two sides at random)"
        said.append(
            f"Among {what}, the nearest one is a training ECG for {100 * metric.value:.0f} % of the synthetic ECGs "
            f"(95 % interval {100 * metric.ci_low:.0f} to {100 * metric.ci_high:.0f} %; by chance "
            f"{100 * metric.target:.0f} %): {verdict}."
        )
    median = next((metric for metric in metrics if metric.name == "median_distance_to_train_uv"), None)
    if median is not None and median.value == median.value:
        said.append(
            f"The median distance to the nearest training ECG is {text(median.value)} uV; unseen real ECGs lie at "
            f"{text(median.floor)} uV: {median.verdict}."
        )
    return said
