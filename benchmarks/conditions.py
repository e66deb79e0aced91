"""Is what was asked for what is measured? Rhythms, bundle branch blocks and heart rates of a conditional `veil`.

    pip install -c constraints.txt -e .
    python benchmarks/conditions.py --out DIR [--data FOLDER] [--steps N] [--number 100] [--seed 0]

Trains `veil-conditional` on PTB-XL with labels for rhythms and blocks; draws `--number` ECGs of each label and says in
which share `measure` finds it, beside the share of the recordings that bear it. Then asks for heart rates from 45 to
140 bpm, as far as people had them, and says how far from them the measured ones are. Interrupted, the same command
goes on.

The records come z-scored. To be measured, all leads are taken as `MV_PER_SD`: axes are then turned, in recordings and
synthetic ECGs alike; .15 and .3 mV find the same shares in recordings.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError
from ecgveil.formats.labels import tables
from ecgveil.intake import take_in
from ecgveil.measure import measure
from ecgveil.recipe import load_recipe
from ecgveil.sampling import Run, load
from ecgveil.training.fit import fit

DATA = Path(__file__).parents[2] / "shared" / "data" / "ptbxl_shape"
MV_PER_SD = 0.25
# What is asked for: statements of PTB-XL, and the codes of `measure` one of which is to be found. Its SR is a sinus
# rhythm of any rate: of every sixth it is slower than 60 bpm.
LABELS = {
    "SR": {"SR", "SBRAD", "STACH"},
    "SBRAD": {"SBRAD", "SBRAD_MARKED"},
    "STACH": {"STACH"},
    "AFIB": {"AFIB"},
    "CLBBB": {"CLBBB"},
    "CRBBB": {"CRBBB"},
}
RATES_BPM = range(45, 141, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--number", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    settings = {"data.labels": list(LABELS), "data.conditions": ["heart_rate"], "data.units": "sd"}
    recipe = load_recipe("veil-conditional", settings | ({"training.steps": told.steps} if told.steps else {}))
    real = stated(take_in([told.data], recipe).ecgs, told.data)
    print(f"{len(real)} ECGs of {len(set(real.patient_id))} patients", flush=True)
    fit(real, recipe, told.out, seed=told.seed, use_all=True, resume=True, on_log=lambda row: print(row, flush=True))
    run = load(told.out)
    if run.finished:
        print(table(run, real, told.number, told.seed))


def stated(ecgs: ECGSet, folder: Path) -> ECGSet:
    """The same with the statements of PTB-XL's own table as labels, not its superclasses."""
    facts = tables(folder, ecgs.record_name)
    codes = [facts[name].meta["scp_codes"] for name in ecgs.record_name]
    return replace(ecgs, labels=tuple(tuple(code for code in LABELS if code in each) for each in codes))


def measured(ecgs: ECGSet) -> pd.DataFrame:
    return measure(replace(ecgs, signal=ecgs.signal * np.float32(MV_PER_SD), units="mV"))


def table(run: Run, real: ECGSet, number: int, seed: int) -> str:
    """Markdown."""
    lines = ["| asked for | found in synthetic ECGs | n | found in recordings that bear it | n |", "|---" * 5 + "|"]
    for label, codes in LABELS.items():
        made = measured(run.bearing([label]).sample(number, seed=seed))
        theirs = measured(real.take([i for i, borne in enumerate(real.labels) if label in borne]))
        shares = [
            f"{np.mean([bool(codes & set(row.split(';'))) for row in each['codes']]):.1%}" for each in (made, theirs)
        ]
        lines.append(f"| {label} | {shares[0]} | {len(made)} | {shares[1]} | {len(theirs)} |")
    away: list[float] = []
    asked = []
    for rate in RATES_BPM:
        try:
            paced = run.bearing(heart_rate=rate)
        except ConfigError:  # nobody's heart was so slow or so fast
            continue
        asked.append(rate)
        away += list(measured(paced.sample(20, seed=seed))["heart_rate_bpm"] - rate)
    off = np.abs(away)
    lines.append(
        f"\nHeart rates from {min(asked)} to {max(asked)} bpm, 20 ECGs each: mean absolute difference "
        f"{np.nanmean(off):.2f} bpm, 95th percentile {np.nanpercentile(off, 95):.2f}, none measured in "
        f"{np.isnan(off).sum()} of {len(off)}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
