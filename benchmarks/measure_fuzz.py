"""Random corruptions of ECGs, in arrays and in files: each gets a row, and nothing raises or warns.

    python benchmarks/measure_fuzz.py [--number 10000] [--files 1000] [--seed 0]

Prints how many were measured, and every failure with the seed that repeats it. `tests/test_measure_fuzz.py` runs a few
hundred of the same.
"""

import argparse
import math
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from ecgveil.ecg import ECGSet
from ecgveil.formats import wfdb
from ecgveil.formats.wfdb_write import write
from ecgveil.leads import LEADS_8, LEADS_12, pick
from ecgveil.measure import measure
from ecgveil.measure.delineate import delineate
from ecgveil.measuring import measure_folder
from ecgveil.simulate import simulate

CONCLUSIONS = {"normal", "otherwise normal", "abnormal", "not interpretable"}
MAIN = ["heart_rate_bpm", "p_duration_ms", "pr_interval_ms", "qrs_duration_ms", "qt_interval_ms", "qrs_axis_deg"]


def some_leads(x, rng):
    """At least one row of x."""
    return rng.permutation(len(x))[: rng.integers(1, len(x) + 1)]


def flat(x, rng):
    x[some_leads(x, rng)] = rng.normal()


def zero(x, rng):
    x[:] = 0


def swapped(x, rng):
    x[:] = x[rng.permutation(len(x))]


def inverted(x, rng):
    x[some_leads(x, rng)] *= -1


def spikes(x, rng):
    at = rng.integers(0, x.shape[1], rng.integers(1, 40))
    x[:, at] += rng.normal(0, 10 ** rng.uniform(-1, 3), (len(x), len(at)))


def saturated(x, rng):
    low, high = np.sort(np.quantile(x, rng.random(2)))
    np.clip(x, low, high, out=x)


def steps(x, rng):
    for at in rng.integers(0, x.shape[1], rng.integers(1, 5)):
        x[:, at:] += rng.normal(0, 10 ** rng.uniform(-1, 2), (len(x), 1))


def gain(x, rng):
    x *= 10 ** rng.uniform(1, 5)


def tiny(x, rng):
    x *= 10 ** rng.uniform(-40, -2)


def gain_of_leads(x, rng):
    x *= 10 ** rng.uniform(-4, 4, (len(x), 1))


def noise(x, rng):
    x += rng.normal(0, 10 ** rng.uniform(-2, 2), x.shape)


def noise_alone(x, rng):
    x[:] = rng.normal(0, 10 ** rng.uniform(-3, 1), x.shape)


def mains(x, rng):
    x += rng.uniform(0, 5) * np.sin(rng.uniform(0.1, 3) * np.arange(x.shape[1]))


def wander(x, rng):
    x += np.cumsum(rng.normal(0, 10 ** rng.uniform(-3, 0), x.shape), axis=1)


def dropped(x, rng):
    first, last = np.sort(rng.integers(0, x.shape[1] + 1, 2))
    x[some_leads(x, rng), first:last] = 0


def repeated(x, rng):
    """One piece over and over, from a single sample to the whole."""
    size = math.ceil(x.shape[1] ** rng.uniform(0, 1))
    x[:] = np.tile(x[:, :size], (1, -(-x.shape[1] // size)))[:, : x.shape[1]]


def alike(x, rng):
    x[:] = x[0]


def coarse(x, rng):
    step = 10 ** rng.uniform(-2, 1)
    x[:] = np.round(x / step) * step


def single_beat(x, rng):
    at = rng.integers(0, x.shape[1])
    x[:, np.abs(np.arange(x.shape[1]) - at) > 400] = 0


def backwards(x, rng):
    x[:] = x[:, ::-1].copy()


CORRUPTIONS = (
    flat, zero, swapped, inverted, spikes, saturated, steps, gain, tiny, gain_of_leads, noise, noise_alone, mains,
    wander, dropped, repeated, alike, coarse, single_beat, backwards,
)  # fmt: skip


def pool(seed: int = 0) -> np.ndarray:
    """Sound ECGs to corrupt, all conditions of the simulator among them: (32, 12, 12000) at 1000 Hz."""
    return simulate(32, seed=seed, fs=1000, seconds=12)[0].signal


def corrupted(sound: np.ndarray, seed: int) -> tuple[ECGSet, list[str]]:
    """One corrupted ECG of random form, and what was done to it."""
    rng = np.random.default_rng([seed, 1])
    stride = int(rng.choice([1, 2, 4, 8, 10, 16]))  # without a filter: aliasing is one more corruption
    signal = sound[rng.integers(len(sound)), :, ::stride].astype(float)
    fs = 1000 / stride if rng.random() < 0.8 else rng.uniform(60, 1000)
    size = signal.shape[1]
    if rng.random() < 0.2:
        size = math.ceil(size ** rng.uniform(0, 1))  # down to one sample
    signal = signal[:, :size]
    leads = LEADS_8 if rng.random() < 0.3 else tuple(map(str, rng.permutation(LEADS_12)[: rng.integers(1, 13)]))
    leads = LEADS_12 if rng.random() < 0.3 else leads
    signal = pick(signal, LEADS_12, leads)
    chosen = rng.choice(len(CORRUPTIONS), rng.integers(1, 4), replace=False)
    for number in chosen:
        CORRUPTIONS[number](signal, rng)
    units = "sd" if rng.random() < 0.1 else "mV"
    age, sex = rng.choice([np.nan, 0, 45, 120]), str(rng.choice(["female", "male", ""]))
    signal = np.clip(signal, -1e6, 1e6)[None]  # what `formats` lets through
    ecgs = ECGSet(signal, fs, leads, (f"seed {seed}",), age=np.array([age]), sex=(sex,), units=units)
    return ecgs, [CORRUPTIONS[number].__name__ for number in chosen]


def complaints(ecgs: ECGSet, table: pd.DataFrame, columns: list[str]) -> list[str]:
    """What is wrong with the table of one ECG."""
    said = []
    if list(table["record_name"]) != list(ecgs.record_name):
        return [f"rows for {list(table['record_name'])}"]
    row = table.iloc[0]
    if list(table.columns) != columns:
        said.append(f"columns differ: {sorted(set(table.columns) ^ set(columns))[:5]}")
    numbers = table.select_dtypes("number").iloc[0]
    if np.isinf(numbers.to_numpy(float)).any():
        said.append(f"infinite: {list(numbers.index[np.isinf(numbers.to_numpy(float))])[:5]}")
    for name in numbers.index:
        positive = name.endswith("_ms") or name == "heart_rate_bpm" or name.startswith(("r_", "r2_", "n_"))
        negative = name.startswith(("q_", "s_")) and name.endswith("_uv")
        if (positive and numbers[name] < 0) or (negative and numbers[name] > 0):
            said.append(f"{name} is {numbers[name]}")
    missing = [name for name in MAIN if np.isnan(numbers[name])]
    if missing and not row["reasons"]:
        said.append(f"no reason why {', '.join(missing)} is missing")
    if row["conclusion"] not in CONCLUSIONS:
        said.append(f"conclusion is {row['conclusion']!r}")
    if np.isnan(numbers["heart_rate_bpm"]) and row["conclusion"] != "not interpretable":
        said.append(f"{row['conclusion']} without a heart rate")
    return said


def marks_out_of_place(ecgs: ECGSet) -> list[str]:
    """Marks beyond the record, or with edges on the wrong side of their peak, by more than a sample."""
    said = []
    for annotator, marks in delineate(ecgs)[0].items():
        for mark in marks:
            places = np.array([mark.onset, mark.peak, mark.offset])
            if not (np.diff(places) >= -ecgs.fs / 250 - 1).all() or places[0] < 0 or places[2] > ecgs.n_samples:
                said.append(f"{annotator}: {tuple(mark)} of {ecgs.n_samples} samples")
    return said[:3]


def try_one(sound: np.ndarray, seed: int, columns: list[str]) -> tuple[list[str], pd.DataFrame | None]:
    """Measure one corrupted ECG; what is wrong, and its table."""
    ecgs, done = corrupted(sound, seed)
    form = f"seed {seed}: {'+'.join(done)}, {len(ecgs.leads)} leads, {ecgs.n_samples} samples, {ecgs.fs:.1f} Hz"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            table = measure(ecgs)
            said = complaints(ecgs, table, columns)
            if seed % 10 == 0:  # slower
                said += marks_out_of_place(ecgs)
        except Exception as error:  # all that escapes is a finding
            return [f"{form}: {type(error).__name__}: {error}"], None
    return [f"{form}: {each}" for each in said], table


def corrupt_files(folder: Path, sound: np.ndarray, number: int, seed: int) -> None:
    """Records of format 16: sound ones, with samples that are no numbers, with changed bytes, cut short, or garbled."""
    rng = np.random.default_rng([seed, 2])
    for i in range(number):
        name = f"record-{i:05d}"
        signal = sound[rng.integers(len(sound)), :, :10_000:2]
        write(ECGSet(signal[None], 500, LEADS_12, (name,)), folder)
        data, header = folder / f"{name}.dat", folder / f"{name}.hea"
        counts = np.frombuffer(data.read_bytes(), "<i2").reshape(-1, 12).copy()
        for _ in range(rng.integers(0, 4)):
            first = rng.integers(0, len(counts))
            lead = rng.integers(0, 12) if rng.random() < 0.7 else slice(None)
            counts[first : first + math.ceil(5000 ** rng.uniform(0, 1)), lead] = -32768
        content = bytearray(counts.tobytes())
        text = [" ".join([*line.split()[:5], "0 0", *line.split()[7:]]) for line in header.read_text().splitlines()[1:]]
        lines = [header.read_text().splitlines()[0], *text]  # checksums of 0: never filled in
        if rng.random() < 0.1:
            content = content[: rng.integers(0, len(content))]
        if rng.random() < 0.2:
            for at in rng.integers(0, max(1, len(content)), 50):
                content[at : at + 1] = bytes([rng.integers(0, 256)])
        if rng.random() < 0.1:
            line, at = rng.integers(0, len(lines)), rng.integers(0, 20)
            lines[line] = lines[line][:at] + chr(rng.integers(32, 127)) + lines[line][at + 1 :]
        data.write_bytes(bytes(content))
        header.write_text("\n".join([*lines, ""]))


def try_files(sound: np.ndarray, number: int, seed: int) -> tuple[list[str], pd.DataFrame]:
    """Measure a folder of corrupted records as the command does; what is wrong, and the table."""
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("error")
        folder, out = Path(place) / "data", Path(place) / "measurements.csv"
        corrupt_files(folder, sound, number, seed)
        names = wfdb.find(folder)
        try:
            measure_folder(folder, out, annotations=Path(place) / "marks")
        except Exception as error:
            return [f"files of seed {seed}: {type(error).__name__}: {error}"], pd.DataFrame()
        table = pd.read_csv(out)
    said = [] if list(table["record_name"]) == names else ["files: rows are not those of the folder"]
    silent = table[MAIN].isna().any(axis=1) & table["reasons"].isna()
    said += [f"{name}: no reason for what is missing" for name in table["record_name"][silent]]
    return said, table


def tell(failures: list[str]) -> None:
    print(f"{len(failures)} failures", flush=True)
    for each in failures[:40]:
        print(f"  {each}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="the first; each ECG has its own")
    args = parser.parse_args()
    sound = pool()
    columns = list(measure(ECGSet(sound[:1], 1000, LEADS_12, ("sound",))).columns)
    began = time.perf_counter()
    failures, conclusions, measured = [], Counter(), 0
    for seed in range(args.seed, args.seed + args.number):
        said, table = try_one(sound, seed, columns)
        failures += said
        if table is not None:
            conclusions.update(table["conclusion"])
            measured += int(table["heart_rate_bpm"].notna().sum())
    spent = time.perf_counter() - began
    print(f"{args.number} corrupted ECGs in {spent:.0f} s: {measured} with a heart rate, {dict(conclusions)}")
    tell(failures)
    said, table = try_files(sound, args.files, args.seed)
    conclusions = Counter(table.get("conclusion", ()))
    print(f"{args.files} corrupted records: {len(table)} rows, {dict(conclusions)}")
    tell(said)


if __name__ == "__main__":
    main()
