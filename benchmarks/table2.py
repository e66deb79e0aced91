"""Table 2 of Thambawita et al. (2021), measured by ecgveil: ECGs of the published Pulse2Pulse generator.

    pip install -c constraints.txt -e ".[bench]"
    python benchmarks/table2.py [--number 2000] [--seed 0] [--cache drawn.npy]

The paper's figures are those of a commercial program, GE's Marquette 12SL, on 150,000 ECGs of the same generator (PyPI
deepfake-ecg 1.1.2). Ours are of other draws, so a mean also carries its sampling error, SD / sqrt(n), printed as se.

Published figures:
- TABLE2_ALL, TABLE2_NORMAL, which `ecgveil reproduce` knows: Thambawita et al., "DeepFake electrocardiograms using
  generative adversarial networks are the beginning of the end for privacy issues in medicine", Sci Rep 11:21896, 2021,
  Table 2: mean, SD, 2.5 %, 97.5 % of all Pulse2Pulse ECGs and of the 121,977 (81.3 %) that 12SL called normal.
- NORMAL_12SL: 12SL's figures on those 121,977 ECGs, from statistics that their author printed in a public notebook:
  mean, SD, 25 %, 50 %, 75 %. There the correlation of QT with RR is 0.627.
"""

import argparse
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import deepfakeecg
import numpy as np
import pandas as pd
import torch

from ecgveil.ecg import ECGSet
from ecgveil.leads import LEADS_8
from ecgveil.measure import measure
from ecgveil.studies.deepfake import TABLE2

TABLE2_NORMAL, TABLE2_ALL = ({name: each[k] for name, each in TABLE2.items()} for k in (1, 2))
NORMAL_12SL = {
    "heart_rate_bpm": (69.71, 7.55, 64, 68, 74),
    "pr_interval_ms": (158.11, 16.85, 146, 158, 170),
    "qrs_duration_ms": (92.05, 8.67, 86, 92, 98),
    "qt_interval_ms": (395.21, 20.48, 382, 396, 410),
    "qtc_fridericia_ms": (414.15, 16.71, 403, 414, 425),
    "rr_mean_ms": (869.18, 86.81, 812, 880, 940),
    "r_ii_uv": (862.99, 273.52, 678, 849, 1035),
    "r_v5_uv": (1275.95, 369.74, 1015, 1259, 1523),
}
NORMAL_SHARE, QT_RR = 0.813, 0.627

# How far a mean may be off: bpm, ms, uV, or a share of the published mean.
MOST_OFF = {"heart_rate_bpm": 1.0, "stj_v5_uv": 12.0}
MOST_OFF |= {name: 6.0 for name in TABLE2_ALL if name.endswith("_ms")}
MOST_OFF |= {name: 0.04 * TABLE2_ALL[name][0] for name in ("r_v5_uv", "t_v5_uv")}
MOST_SD_OFF, MOST_SHARE_OFF, MOST_UNMEASURED = 0.30, 0.06, 0.005

BLOCK = 64


def generator() -> torch.nn.Module:
    """The published generator with its published weights."""
    network = deepfakeecg.Generator()
    file = Path(deepfakeecg.__file__).parent / "checkpoints" / "g_stat.pt"
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True)["stat_dict"])
    return network.eval()


@torch.inference_mode()
def draw(number: int, seed: int) -> np.ndarray:
    """ECGs in whole uV as the package writes them, int16 (number, 8, 5000); ECG k depends on (seed, k) alone."""
    network = generator()
    out = np.empty((number, 8, 5000), np.int16)
    for k in range(number):
        noise = np.random.default_rng([seed, k]).uniform(-1, 1, (1, 8, 5000)).astype(np.float32)
        out[k] = (network(torch.from_numpy(noise)) * 6000).int().numpy()[0]
        if (k + 1) % 200 == 0:
            print(f"drawn {k + 1}/{number}", flush=True)
    return out


def drawn(number: int, seed: int, cache: Path | None) -> np.ndarray:
    """As `draw`, from the cache where it holds enough ECGs of that seed."""
    if cache is None:
        return draw(number, seed)
    cache = cache.with_name(f"{cache.stem}-seed{seed}.npy")
    if cache.exists():
        held = np.load(cache, mmap_mode="r", allow_pickle=False)
        if len(held) >= number:
            return held[:number]
    signal = draw(number, seed)
    np.save(cache, signal, allow_pickle=False)
    return signal


def measured(microvolts: np.ndarray) -> pd.DataFrame:
    parts = []
    for start in range(0, len(microvolts), BLOCK):
        signal = microvolts[start : start + BLOCK].astype(np.float32) / 1000
        names = tuple(f"{k:06d}" for k in range(start, start + len(signal)))
        parts.append(measure(ECGSet(signal, 500, LEADS_8, names)))
    return pd.concat(parts, ignore_index=True)


def verdict(passed: bool) -> str:
    return "PASS" if passed else "short"


def compare(table: pd.DataFrame, published: dict[str, tuple], title: str, judged: bool) -> None:
    print(f"\n{title} (n = {len(table)}): ours; 12SL's; deviation of mean and SD" + ("; bars" if judged else ""))
    for name, (mean, sd, low, high) in published.items():
        values = table[name].dropna().to_numpy(float)
        ours = values.mean(), values.std(ddof=1), *np.percentile(values, [2.5, 97.5])
        off, spread = ours[0] - mean, ours[1] / sd - 1
        line = f"{name:18s} {ours[0]:7.1f} +-{ours[1]:6.1f} [{ours[2]:6.0f},{ours[3]:6.0f}]   "
        error = ours[1] / len(values) ** 0.5
        line += f"{mean:5d} +-{sd:4d} [{low:5d},{high:5d}]   {off:+6.1f} (se {error:.1f}) {spread:+5.0%}"
        if judged:
            passes = verdict(abs(off) <= MOST_OFF[name]), verdict(abs(spread) <= MOST_SD_OFF)
            line += f"   mean within {MOST_OFF[name]:.0f}: {passes[0]}, SD within 30 %: {passes[1]}"
        print(line)


def compare_normal(table: pd.DataFrame) -> None:
    print(f"\nThose we call normal (n = {len(table)}) beside those 12SL does: mean, SD, quartiles; ours; 12SL's")
    for name, theirs in NORMAL_12SL.items():
        values = table[name].dropna().to_numpy(float)
        ours = values.mean(), values.std(ddof=1), *np.percentile(values, [25, 50, 75])
        told = ["{:8.1f} +-{:6.1f} [{:6.0f} {:6.0f} {:6.0f}]".format(*each) for each in (ours, theirs)]
        print(f"{name:18s} {told[0]}   {told[1]}   {ours[0] - theirs[0]:+.1f}")


def correlation(table: pd.DataFrame) -> float:
    """Pearson's, of QT with RR."""
    return float(table[["qt_interval_ms", "rr_mean_ms"]].dropna().corr().iloc[0, 1])


def conclusions(table: pd.DataFrame) -> None:
    counts = Counter(table["conclusion"])
    share = counts["normal"] / len(table)
    print("\nconclusions: " + ", ".join(f"{each} {n / len(table):.1%}" for each, n in counts.most_common()))
    passes = verdict(abs(share - NORMAL_SHARE) <= MOST_SHARE_OFF)
    print(f"normal: {share:.1%}, 12SL {NORMAL_SHARE:.1%}, within 6 points: {passes}")
    others = table[table["conclusion"] != "normal"]
    said = Counter(each for row in others["statements"] for each in row.split("; ") if each)
    print(f"statements of the {len(others)} others (share of them):")
    for statement, n in said.most_common(15):
        print(f"  {n / len(others):6.1%}  {statement}")


def unmeasured(table: pd.DataFrame) -> None:
    lacking = table[list(TABLE2_ALL)].isna()
    share = lacking.any(axis=1).mean()
    print(f"\nunmeasured in one of the eight: {share:.2%}, at most 0.5 %: {verdict(share <= MOST_UNMEASURED)}")
    for name, n in lacking.sum().items():
        if n:
            print(f"  {name}: {n}")
    reasons = Counter(reason for row in table["reasons"][lacking.any(axis=1)] for reason in row.split("; "))
    print(f"  reasons: {dict(reasons.most_common())}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="keep the drawn ECGs here; the seed is added to the name")
    args = parser.parse_args()
    table = measured(drawn(args.number, args.seed, args.cache))
    print(f"{len(table)} ECGs of deepfake-ecg {version('deepfake-ecg')}, seed {args.seed}")
    normal = table[table["conclusion"] == "normal"]
    compare(table, TABLE2_ALL, "Table 2, Pulse2Pulse, all", judged=True)
    compare(normal, TABLE2_NORMAL, "Table 2, Pulse2Pulse, normal", judged=False)
    compare_normal(normal)
    print(f"\nr(QT, RR): normal {correlation(normal):.3f}, all {correlation(table):.3f}; 12SL, normal: {QT_RR}")
    conclusions(table)
    unmeasured(table)


if __name__ == "__main__":
    main()
