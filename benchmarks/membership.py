"""Membership attacks on real ECGs with planted leaks: what each attack finds, and whom it accuses for nothing.

    python benchmarks/membership.py [--data ../shared/data/cinc2011] [--repeats 10]

The acceptable records of the CinC Challenge 2011 are dealt at random into train, holdout and unrelated ECGs, equally
many. The 'generator' returns training ECGs with 30 uV of white noise for a share of its output, unrelated people's for
the rest. For linkage, training has the first five seconds of each record and the attacker the last five: the same
minute and the same electrodes, so an easier case for the attacker than a recording of another day.
"""

import argparse
import csv
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ecgveil.ecg import ECGSet
from ecgveil.evaluation.distribution import clinical_features
from ecgveil.evaluation.membership import LEAKAGE, membership_metrics, membership_notes
from ecgveil.evaluation.metric import Metric
from ecgveil.evaluation.privacy import BeatShapes, beat_shapes
from ecgveil.measure import measure
from ecgveil.measure.beats import r_peaks
from ecgveil.windows import read

NOISE_MV = 0.03
SHARES = (1.0, 0.2, 0.05, 0.0)


@dataclass(frozen=True, eq=False)
class Seen:
    """What attackers see of every record that has a beat, rows alike in all arrays."""

    shapes: np.ndarray
    people: np.ndarray
    clinical: np.ndarray

    def at(self, rows: np.ndarray, prefix: str = "") -> BeatShapes:
        people = np.char.add(prefix, self.people[rows])
        return BeatShapes(self.shapes[rows], np.arange(len(rows)), people, 0)


def look(sets: list[ECGSet], *, clinical: bool) -> list[Seen]:
    """The records that have a beat in each of several sets of the same people."""
    peaks = [r_peaks(each) for each in sets]
    found = [beat_shapes(each, at) for each, at in zip(sets, peaks, strict=True)]
    common = np.array(sorted(set.intersection(*(set(each.rows) for each in found))))
    seen = []
    for ecgs, at, shapes in zip(sets, peaks, found, strict=True):
        table = clinical_features(measure(ecgs, at))[0] if clinical else np.zeros((len(ecgs), 0))
        rows = np.searchsorted(shapes.rows, common)
        seen.append(Seen(shapes.shapes[rows], np.array(ecgs.patient_id)[common], table[common]))
    return seen


def noisy(ecgs: ECGSet, seed: int) -> ECGSet:
    rng = np.random.default_rng([seed, 1])
    return replace(ecgs, signal=ecgs.signal + rng.normal(0, NOISE_MV, ecgs.signal.shape))


def run(real: Seen, copies: Seen, others: Seen | None, share: float, seed: int) -> list[Metric]:
    """All attacks on one dealing of the records."""
    order = np.random.default_rng([seed, 2]).permutation(len(real.people))
    n = len(order) // 3
    train, holdout, unrelated = (order[i * n : (i + 1) * n] for i in range(3))
    copied, rest = train[: round(share * n)], unrelated[round(share * n) :]
    one, two = copies.at(copied, "copy "), real.at(rest, "unrelated ")
    synthetic = BeatShapes(
        np.concatenate([one.shapes, two.shapes]), np.arange(n), np.concatenate([one.patient_id, two.patient_id]), 0
    )
    clinical = (
        real.clinical[train],
        real.clinical[holdout],
        np.concatenate([copies.clinical[copied], real.clinical[rest]]),
    )
    probes = others.at(np.concatenate([train, holdout])) if others else None
    given = clinical if real.clinical.shape[1] else None
    return membership_metrics(real.at(train), real.at(holdout), synthetic, seed=seed, clinical=given, others=probes)


def report(title: str, real: Seen, copies: Seen, others: Seen | None, only: str, repeats: int) -> None:
    print(f"\n{title}\n| copied | figure | median | range | median interval | verdict 'leakage' |")
    print("|---|---|---|---|---|---|")
    for share in SHARES:
        by_name: dict[str, list[Metric]] = defaultdict(list)
        for seed in range(repeats):
            metrics = run(real, copies, others, share, seed)
            for metric in metrics:
                if np.isfinite(metric.value) and only in metric.name:
                    by_name[metric.name].append(metric)
        for name, found in by_name.items():
            values = [metric.value for metric in found]
            low, high = (np.median([getattr(metric, end) for metric in found]) for end in ("ci_low", "ci_high"))
            hits = sum(metric.verdict == LEAKAGE for metric in found)
            print(
                f"| {share:.0%} | {name} | {np.median(values):.3f} | {min(values):.3f} to {max(values):.3f} "
                f"| {low:.2f} to {high:.2f} | {hits} of {len(found)} |"
            )
    print("\n" + "\n".join(membership_notes(metrics)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cinc2011")
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    ecgs, _ = read(arguments.data, seconds=10)
    with open(arguments.data / "quality.csv", newline="") as file:
        good = {row["record_name"] for row in csv.DictReader(file) if row["quality"] == "acceptable"}
    ecgs = ecgs.take([i for i, name in enumerate(ecgs.record_name) if name in good])
    real, copies = look([ecgs, noisy(ecgs, 0)], clinical=True)
    report(f"{len(real.people)} records", real, copies, None, "membership", arguments.repeats)
    half = ecgs.n_samples // 2
    early, late = replace(ecgs, signal=ecgs.signal[..., :half]), replace(ecgs, signal=ecgs.signal[..., half:])
    first, again, second = look([early, noisy(early, 3), late], clinical=False)
    report(f"{len(first.people)} records, other seconds", first, again, second, "linkage", arguments.repeats)


if __name__ == "__main__":
    main()
