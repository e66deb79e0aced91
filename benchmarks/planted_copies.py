"""Copies of real ECGs planted in a 'synthetic' set: how many `find_copies` finds, and how often it cries wolf.

    python benchmarks/planted_copies.py ../shared/data/cinc2011 [--fs 500] [--seed 1] [--more FOLDER] [--kinds abghi]

The patients of the folder are split at random: half are training, a sixth holdout, the rest is unrelated. A planted
'generator' returns training ECGs (a) exact, (b) shifted by 1 to 200 ms, (c) with gain 0.8 to 1.25, (d) with 30 uV of
white noise, (e) with baseline wander of 0.3 mV, (f) resampled 500-360-500 Hz, (g) in the limb leads only, the others
being another person's, (h) for half of the record's length, the rest being another person's, (i) all of it at once.
'pure': the set holds nothing else; '5 %': they are 5 % of a set of unrelated real ECGs, as many as there are, where
false alarms are counted. Found: flagged; named: the original is the nearest record, too. `--more` adds the ECGs of
another folder to the training part, so that there is more to be mistaken for.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from ecgveil import ECGSet, read
from ecgveil.ecg import concat
from ecgveil.evaluation.copies import find_copies
from ecgveil.evaluation.privacy import clopper_pearson

KINDS = {
    "a": "exact",
    "b": "shifted by 1-200 ms",
    "c": "gain 0.8-1.25",
    "d": "30 uV noise",
    "e": "wander 0.3 mV",
    "f": "resampled 500-360-500",
    "g": "limb leads only",
    "h": "half of the record",
    "i": "all of it at once",
}
LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")


def shifted(signal: np.ndarray, rng: np.random.Generator, fs: float) -> np.ndarray:
    by = max(1, round(rng.uniform(0.001, 0.2) * fs)) * rng.choice([-1, 1])
    return signal[:, np.clip(np.arange(signal.shape[1]) - by, 0, signal.shape[1] - 1)]


def amplified(signal: np.ndarray, rng: np.random.Generator, fs: float) -> np.ndarray:
    return signal * rng.uniform(0.8, 1.25)


def noisy(signal: np.ndarray, rng: np.random.Generator, fs: float) -> np.ndarray:
    return signal + 0.03 * rng.standard_normal(signal.shape)


def wandering(signal: np.ndarray, rng: np.random.Generator, fs: float) -> np.ndarray:
    """A sine of 0.1 to 0.5 Hz, 0.3 mV in the lead where it is largest."""
    size = rng.uniform(-1, 1, (len(signal), 1))
    cycles = rng.uniform(0.1, 0.5) * np.arange(signal.shape[1]) / fs + rng.uniform()
    return signal + 0.3 * size / np.abs(size).max() * np.sin(2 * np.pi * cycles)


def resampled(signal: np.ndarray, rng: np.random.Generator, fs: float) -> np.ndarray:
    there = resample_poly(signal, 18, 25, axis=-1, padtype="line")
    return resample_poly(there, 25, 18, axis=-1, padtype="line")[:, : signal.shape[1]]


ALTER = {"b": [shifted], "c": [amplified], "d": [noisy], "e": [wandering], "f": [resampled]}
ALTER["i"] = [resampled, shifted, amplified, wandering, noisy]


def plant(kind: str, original: np.ndarray, other: np.ndarray, leads, fs: float, rng: np.random.Generator) -> np.ndarray:
    """A copy of `original`, (n_leads, n_samples) mV; what is not copied is `other`'s."""
    copy = original
    for alter in ALTER.get(kind, []):
        copy = alter(copy, rng, fs)
    if kind not in "ghi":
        return copy
    n = copy.shape[1]
    start = 0 if kind == "g" else int(rng.integers(n - n // 2 + 1))
    end = n if kind == "g" else start + n // 2
    rows = [row for row, lead in enumerate(leads) if kind == "h" or lead in LIMB]
    result = np.array(other)
    result[rows, start:end] = copy[rows, start:end]
    return result


def planted(kind: str, train: ECGSet, others: ECGSet, count: int, seed: int) -> tuple[ECGSet, list[str]]:
    """`count` copies, of training records drawn at random, and the names of their originals."""
    rng = np.random.default_rng([seed, ord(kind)])
    of, by = rng.choice(len(train), count, replace=count > len(train)), rng.integers(len(others), size=count)
    pairs = zip(train.signal[of], others.signal[by], strict=True)
    signal = [plant(kind, one, other, train.leads, train.fs, rng) for one, other in pairs]
    names = tuple(f"{kind}{k}" for k in range(count))
    return ECGSet(np.stack(signal), train.fs, train.leads, names, units=train.units), [train.record_name[i] for i in of]


def share(hits: int, n: int) -> str:
    low, high = clopper_pearson(hits, n)
    return f"{hits}/{n} = {hits / n:.1%} ({low:.1%}-{high:.1%})"


def parts(ecgs: ECGSet, seed: int) -> tuple[ECGSet, ECGSet, ECGSet]:
    people = np.random.default_rng(seed).permutation(sorted(set(ecgs.patient_id)))
    edges = len(people) // 2, len(people) // 2 + len(people) // 6
    of = np.array(ecgs.patient_id)
    train, holdout, rest = (ecgs.take(np.flatnonzero(np.isin(of, each))) for each in np.split(people, edges))
    return train, holdout, rest


def bare(ecgs: ECGSet, prefix: str) -> ECGSet:
    """Only what is compared, under names that cannot clash."""
    return ECGSet(ecgs.signal, ecgs.fs, ecgs.leads, tuple(prefix + name for name in ecgs.record_name), units=ecgs.units)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fs", type=float)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--copies", type=int, default=200, help="of each kind, in the pure sets")
    parser.add_argument("--kinds", default="".join(KINDS))
    parser.add_argument("--more", type=Path, help="a folder whose ECGs join the training part")
    args = parser.parse_args()
    form = {"fs": args.fs, "seconds": args.seconds, "resample": args.fs is not None, "allow": ("wrong_unit",)}
    ecgs, _ = read(args.folder, **form)
    train, holdout, rest = parts(ecgs, args.seed)
    own = train
    if args.more:
        more = bare(read(args.more, **form)[0].pick(train.leads), "more ")
        train = concat([bare(train, ""), replace(more, units=train.units)])
    print(f"{args.folder.name}: train {len(train)}, holdout {len(holdout)}, unrelated {len(rest)}, seed {args.seed}")
    for kind in args.kinds:
        copies, originals = planted(kind, own, rest, args.copies, args.seed)
        began = time.perf_counter()
        table = find_copies(train, holdout, copies, seed=args.seed)
        spent = time.perf_counter() - began
        named = table.flagged & (table.nearest_record == originals) & (table.part == "train")
        print(f"({kind}) {KINDS[kind]:22s} pure: found {share(table.flagged.sum(), len(table))}, ", end="")
        print(f"named {named.mean():.1%}, {spent:.0f} s; ", end="")
        few, _ = planted(kind, own, rest, max(1, round(len(rest) / 19)), args.seed + 1)
        table = find_copies(train, holdout, concat([bare(rest, "real "), few]), seed=args.seed)
        alarms, found = table.flagged[: len(rest)].sum(), table.flagged[len(rest) :].sum()
        print(f"5 %: found {share(found, len(few))}, false alarms {share(alarms, len(rest))}")
    print("limits of the distance:", {name: round(value, 3) for name, value in table.attrs["limits"].items()})


if __name__ == "__main__":
    main()
