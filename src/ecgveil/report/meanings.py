"""Two sentences on each figure: what it is, and how to read it."""

from __future__ import annotations

from ecgveil.evaluation import Metric

_KS = (
    "Kolmogorov-Smirnov distance between the distributions of synthetic and of real ECGs: 0 where they are the same, 1 "
    "where they have nothing in common. It should be no larger than between two groups of real ECGs."
)
_TOGETHER = "All measurements of an ECG taken together as one point (rate, intervals, axes, amplitudes). "
_LEARNED = "Each ECG as a point, placed by a network that taught itself on the training ECGs alone. "
_DISTRIBUTION = {
    "frechet": "The distance between the two clouds, were both normal: smaller is nearer.",
    "kernel": "The distance between the two clouds by a polynomial kernel: around 0 where they are the same.",
    "precision": "The share of synthetic ECGs that lie among real ones; a low share means ECGs that nobody has.",
    "recall": "The share of real ECGs that lie among synthetic ones; a low share means kinds of ECG that are missing.",
    "density": "How many real ECGs each synthetic one lies among; about 1 where it is as among real ones.",
    "coverage": "The share of real ECGs with a synthetic one nearby; a low share means that much is missing.",
}
_MEMBERSHIP = {
    "gan_leaks": "Whoever has a synthetic ECG unusually near is guessed to have been in the training set.",
    "monte_carlo": "Whoever has unusually many synthetic ECGs nearby is guessed to have been in the training set.",
    "domias": "Where synthetic ECGs are denser than other people's are, membership is guessed.",
    "critic": "Whoever holds the run folder asks its critic which ECGs it takes for real. It is in no release.",
    "stretch": "Whoever has some seconds of their ECG in a synthetic one is guessed to have been in the training set.",
    "linkage": "The attacker has another recording of the same person, and asks whether that person was in training.",
}
_BY_NAME = {
    "c2st_auc": (
        "Classifiers are trained to tell synthetic from real ECGs, and tried on ECGs of people they have not seen. "
        "0.5 is guessing and 1 is certainty: the figure to believe when the others flatter."
    ),
    "psd_distance_db": (
        "How far the mean power at each frequency lies from that of real ECGs. Too little at high frequencies means "
        "ECGs that are too smooth."
    ),
    "psd_mmd": ("A distance between the spectra of single ECGs, not of their mean. Around 0 where they are alike."),
    "lead_correlation_error": (
        "How the leads go up and down together, against real ECGs. A heart seen from twelve sides ties them to each "
        "other."
    ),
    "limb_residual_median_uv": (
        "III is II less I, in any ECG. What remains of that equation should be no more than rounding."
    ),
    "closer_to_train_share": (
        "Of the synthetic ECGs, the share that lies nearer to a training ECG than to any of equally many ECGs never "
        "trained on. Half is chance; more means that training ECGs shine through."
    ),
    "nearest_is_train_share": ("The same among all people of both parts. Chance is the share of training people."),
    "median_distance_to_train_uv": (
        "How far the typical synthetic beat lies from the nearest training beat. It should be as far as beats of "
        "unseen people lie."
    ),
    "near_copy_share": (
        "The share of synthetic ECGs nearer to a training ECG than the nearest twentieth of unseen real ones. About 5 "
        "% is chance."
    ),
    "same_beat_share": (
        "Synthetic ECGs whose beat is that of a training ECG, though it may come at another rhythm. Beats of two "
        "people are never so near; one such ECG is too many."
    ),
    "copies_share": (
        "ECGs of which some seconds are also found in a real ECG, whatever shift, gain, noise, wander or sampling rate "
        "lies between. Two people's ECGs hardly ever run alike so long; those flagged are in copies.csv."
    ),
    "measurement_correlation_error": (
        "How the measurements go together (a slow heart with a long QT), against real ECGs. The mean difference of "
        "their correlations."
    ),
    "qt_rr_slope_difference": ("QT lengthens as the heart slows. The difference of that slope from real ECGs."),
    "qt_rr_r_difference": ("How tightly QT follows the heart rate. The difference of that correlation from real ECGs."),
    "normal_share": ("The share that ecgveil's own reading calls normal. It should be that of the real ECGs."),
    "measuring_failure_share": (
        "The share whose rate, QRS or QT could not be measured. ECGs that no algorithm can read are no ECGs."
    ),
    "rules_valid_share": (
        "If-then rules learned on the training ECGs ('wide QRS and ... then ...'): the share that holds as often "
        "among synthetic ones. Rules tie several measurements together, as medicine does."
    ),
    "rules_error_increase": (
        "How much more often those rules are wrong among synthetic ECGs than among real ones, on the mean. It "
        "should be no more than among unseen real ECGs."
    ),
    "rules_broken": (
        "How many of those rules synthetic ECGs break more often than chance would, all tests allowed for. A broken "
        "rule is a tie between measurements that was not learned."
    ),
    "record_repeats_share": (
        "Synthetic ECGs that nearly repeat another synthetic ECG. Many mean that the generator has collapsed onto a "
        "few."
    ),
    "tstr_auroc": (
        "A classifier of diagnoses learns from synthetic ECGs alone and is tried on real ones. It should come near to "
        "one that learned from real ECGs."
    ),
    "trts_auroc": (
        "A classifier learns from real ECGs and is tried on synthetic ones. Low values mean that synthetic ECGs do "
        "not show what their labels say."
    ),
    "rarest_class_gain_auroc": (
        "What the rarest class gains in AUROC where synthetic ECGs are added to all real ones. Above 0 they help, "
        "below 0 they harm."
    ),
    "linkage_ceiling_auc": (
        "What the attack by another recording would reach if the training ECGs themselves were released. Near 0.5 the "
        "attack is too weak to tell anything."
    ),
    "canary_exposure_mean_bits": (
        "Odd ECGs were planted in training; the exposure says how much better they are known than odd ECGs that were "
        "not planted. 1.44 bits is chance."
    ),
    "canary_exposure_highest_bits": (
        "The same of the planted ECG that is known best. One that was learned by heart reaches the most there can be."
    ),
    "canary_first_share": (
        "The share of the planted ECGs to which the synthetic ones come nearer than to any not planted. More than a "
        "chance hit means that odd ECGs are learned by heart."
    ),
    "canary_epsilon_lower": (
        "The least epsilon of differential privacy that fits how well planted ECGs are recognised. 0 says that this "
        "test found nothing, not that there is nothing."
    ),
}
_BY_START = {
    "tstr_f1_": (
        "Of one class: precision and sensitivity taken together (F1) of a classifier that learned from synthetic ECGs "
        "alone, on real ones. It should come near to one that learned from real ECGs."
    ),
    "tstr_auroc_": _BY_NAME["tstr_auroc"],
    "trts_auroc_": _BY_NAME["trts_auroc"],
    "rarest_class_gain_auroc_": _BY_NAME["rarest_class_gain_auroc"],
    "real_auroc_": (
        "A classifier learns from so many per cent of the real ECGs, and is tried on other people's. The measure for "
        "those that learn from synthetic ones."
    ),
    "real_plus_synthetic_auroc_": (
        "The same with synthetic ECGs added to what it learns from. They are of use where this is higher than without."
    ),
    "augmentation_gain_auroc_": (
        "What adding synthetic ECGs to so many per cent of the real ones changes. Above 0 they help, below 0 they harm."
    ),
}


def meaning(metric: Metric) -> str:
    """Two sentences on a figure, for people who are no engineers; '' where there are none."""
    name = metric.name
    if name in _BY_NAME:
        return _BY_NAME[name]
    for start, told in _BY_START.items():
        if name.startswith(start):
            return told
    if name.startswith("membership_"):
        attack = next((key for key in _MEMBERSHIP if name.startswith(f"membership_{key}_")), "")
        how = "It is right as often as a coin at 0.5." if name.endswith("_auc") else "How many it finds, rarely wrong."
        return f"{_MEMBERSHIP.get(attack, '')} {how}".strip()
    for kind, told in _DISTRIBUTION.items():
        if name.startswith(f"{kind}_"):
            return (_TOGETHER if name.endswith("_clinical") else _LEARNED) + told
    if name.startswith("attribute_"):
        return (
            "What the nearest synthetic ECGs give away of a training person, beyond what they give away of anybody. 0 "
            "is nothing: the rest is what medicine knows anyway."
        )
    if name.endswith("_ks"):
        return _KS
    return ""
