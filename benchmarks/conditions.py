"""Is what was asked for what is measured? Rhythms, bundle branch blocks and heart rates of a conditional `veil`.

    pip install -c constraints.txt -e .
    python benchmarks/conditions.py --out DIR [--data FOLDER ...] [--steps N] [--number 100] [--seed 0]

Trains `veil-conditional` on labelled recordings in mV (LUDB and the Challenge 2021 samples), whose labels are brought
to one name each; draws `--number` ECGs of each label and says in which share `measure` finds it, beside the share of
the recordings that bear it. Then asks for heart rates from 45 to 140 bpm and says how far from them the measured ones
are. Interrupted, the same command goes on.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from ecgveil.ecg import ECGSet
from ecgveil.intake import take_in
from ecgveil.measure import measure
from ecgveil.recipe import load_recipe
from ecgveil.sampling import Run, load
from ecgveil.training.fit import fit

DATA = Path(__file__).parents[2] / "shared" / "data"
# What is asked for: names in the databases, and the codes of `measure` one of which is to be found.
LABELS = {
    "atrial fibrillation": ({"Atrial fibrillation"}, {"AFIB"}),
    "sinus rhythm": ({"Sinus rhythm"}, {"SR"}),
    "sinus bradycardia": ({"Sinus bradycardia"}, {"SBRAD", "SBRAD_MARKED"}),
    "sinus tachycardia": ({"Sinus tachycardia"}, {"STACH"}),
    "bundle branch block": (
        {
            "Right bundle branch block",
            "Left bundle branch block",
            "Complete right bundle branch block",
            "Complete left bundle branch block",
        },
        {"CRBBB", "CLBBB"},
    ),
}
RATES_BPM = range(45, 141, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, nargs="+", default=[DATA / "ludb", DATA / "challenge2021"])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--number", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    settings = {"data.labels": list(LABELS), "data.conditions": ["heart_rate"]}
    recipe = load_recipe("veil-conditional", settings | ({"training.steps": told.steps} if told.steps else {}))
    real = named(take_in(told.data, recipe, resample=True).ecgs)
    print(f"{len(real)} ECGs of {len(set(real.patient_id))} patients", flush=True)
    fit(real, recipe, told.out, seed=told.seed, use_all=True, resume=True, on_log=lambda row: print(row, flush=True))
    run = load(told.out)
    if run.step == run.steps:
        print(table(run, real, told.number, told.seed))


def named(ecgs: ECGSet) -> ECGSet:
    """The same with the labels of `LABELS`; ECGs that bear none of them keep none."""
    borne = [set(labels) for labels in ecgs.labels]
    return replace(
        ecgs, labels=tuple(tuple(label for label, (names, _) in LABELS.items() if names & each) for each in borne)
    )


def table(run: Run, real: ECGSet, number: int, seed: int) -> str:
    """Markdown."""
    lines = ["| asked for | found in synthetic ECGs | n | found in recordings that bear it | n |", "|---" * 5 + "|"]
    measured = measure(real)
    for label, (_, codes) in LABELS.items():
        made = measure(run.bearing([label]).sample(number, seed=seed))
        theirs = measured[[label in labels for labels in real.labels]]
        shares = [
            f"{np.mean([bool(codes & set(row.split(';'))) for row in each['codes']]):.1%}" for each in (made, theirs)
        ]
        lines.append(f"| {label} | {shares[0]} | {len(made)} | {shares[1]} | {len(theirs)} |")
    away: list[float] = []
    for rate in RATES_BPM:
        away += list(measure(run.bearing(heart_rate=rate).sample(20, seed=seed))["heart_rate_bpm"] - rate)
    off = np.abs(away)
    lines.append(
        f"\nHeart rates from {RATES_BPM[0]} to {RATES_BPM[-1]} bpm, 20 ECGs each: mean absolute difference "
        f"{np.nanmean(off):.2f} bpm, 95th percentile {np.nanpercentile(off, 95):.2f}, none measured in "
        f"{np.isnan(off).sum()} of {len(off)}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
