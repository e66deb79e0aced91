"""Fit the delineating network on LUDB's manual marks: the one that ships, and one for each fold of the benchmark.

    pip install -c constraints.txt -e ".[bench]"
    python benchmarks/fit_delineator.py ../shared/data/ludb --fold 0  # writes benchmarks/ludb_folds/fold0.safetensors
    python benchmarks/fit_delineator.py ../shared/data/ludb           # on all records: what the package ships

One thread, about 10 minutes each. Two batches of three are stretches of 5 s, the third median beats, as the network
meets them when it measures. Stretching in time widens what it takes for possible: without it, durations shrink towards
the usual ones.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from ecgveil import ECGSet
from ecgveil.leads import LEADS_12
from ecgveil.measure.beats import r_peaks
from ecgveil.measure.delineate import OVERALL, Mark
from ecgveil.measure.inference import CLASSES, scale
from ecgveil.measure.median import AFTER, BEFORE
from ecgveil.measure.network import FS_HZ, Delineator
from ecgveil.measure.prepare import iter_blocks
from ludb import FOLDS, N_FOLDS, test_rows
from ludb_marks import load

SHIPPED = Path(__file__).parents[1] / "src" / "ecgveil" / "measure" / "delineator.safetensors"
TRACKS = (*(lead.lower() for lead in LEADS_12), OVERALL)
RECORDS, CROPS, MORE_BEATS = 4, 2, 12  # a step: 4 records, two stretches of each; or the median beats of 16
CROP = 1248  # samples at 250 Hz
RATE, DECAY = 3e-3, 1e-3
STRETCH = (0.75, 1.33)


def targets(marks: list[dict[str, list[Mark]]], n_samples: int, fs: float) -> tuple[np.ndarray, np.ndarray]:
    """Class shares (n, 13, 4, T) at 250 Hz and weights (n, 13, T): 0 where the cardiologists did not mark."""
    to = FS_HZ / fs
    size = round(n_samples * to)
    share = np.zeros((len(marks), len(TRACKS), 4, size), np.float32)
    weight = np.zeros((len(marks), len(TRACKS), size), np.float32)
    for row, by_track in enumerate(marks):
        for i, track in enumerate(TRACKS):
            waves = by_track[track]
            known = [value * to for wave in waves for value in wave[1:] if np.isfinite(value)]
            if not known:
                continue
            weight[row, i, max(0, round(min(known)) - 10) : round(max(known)) + 10] = 1
            for wave in waves:
                onset, offset = wave.onset, wave.offset
                peak = round(wave.peak * to)
                if np.isnan(onset):
                    onset, weight[row, i, max(0, peak - 25) : peak] = wave.peak - 1, 0
                if np.isnan(offset):
                    offset, weight[row, i, peak : peak + 40] = wave.peak + 1, 0
                paint(share[row, i, CLASSES[wave.kind]], onset * to, offset * to)
    share[:, :, 0] = np.clip(1 - share[:, :, 1:].sum(axis=2), 0, 1)
    return share / share.sum(axis=2, keepdims=True), weight


def paint(track: np.ndarray, onset: float, offset: float) -> None:
    """How much of each sample's span lies between onset and offset."""
    t = np.arange(max(0, int(onset) - 1), min(len(track), int(np.ceil(offset)) + 2))
    covered = np.minimum(t + 0.5, offset) - np.maximum(t - 0.5, onset)
    track[t] = np.maximum(track[t], np.clip(covered, 0, 1))


def at(track: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Values between samples, along the last axis."""
    low = np.clip(place.astype(int), 0, track.shape[-1] - 2)
    part = (place - low).astype(np.float32)
    return track[..., low] * (1 - part) + track[..., low + 1] * part


def weights_at(weight: np.ndarray, place: np.ndarray) -> np.ndarray:
    low = np.clip(place.astype(int), 0, weight.shape[-1] - 2)
    return np.minimum(weight[..., low], weight[..., low + 1])


class Examples:
    """Draws batches: signal (B, 12, T), class shares (B, 13, 4, T), weights (B, 13, T)."""

    def __init__(self, ecgs: ECGSet, marks: list[dict[str, list[Mark]]], rng: np.random.Generator) -> None:
        self.signal = np.concatenate([block.complete(block.signal) for block in iter_blocks(ecgs)])
        self.share, self.weight = targets(marks, ecgs.n_samples, ecgs.fs)
        self.peaks = [np.rint(peaks * FS_HZ / ecgs.fs).astype(int) for peaks in r_peaks(ecgs)]
        self.rng = rng

    def stretches(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        drawn = []
        size = self.signal.shape[-1]
        for row in np.repeat(rows, CROPS):
            factor = self.rng.uniform(*STRETCH) if self.rng.random() < 0.5 else 1.0
            span = min((CROP - 1) / factor, size - 1)
            start = self.rng.uniform(0, size - 1 - span)
            place = np.clip((start if factor != 1 else round(start)) + np.arange(CROP) / factor, 0, size - 1)
            drawn.append((at(self.signal[row], place), at(self.share[row], place), weights_at(self.weight[row], place)))
        return tuple(np.stack(each) for each in zip(*drawn, strict=True))

    def median_beats(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Median beats of one to all beats of each record, stretched about the R peak."""
        drawn = []
        for row in rows:
            factor = self.rng.uniform(*STRETCH) if self.rng.random() < 0.6 else 1.0
            place = (np.arange(-BEFORE, AFTER) + self.rng.integers(-3, 4)) / factor
            low, high = int(np.floor(place[0])) - 1, int(np.ceil(place[-1])) + 2
            peaks = self._usable(row, low, high)
            if not len(peaks):
                continue
            number = self.rng.integers(1, len(peaks) + 1) if self.rng.random() < 0.7 else 1
            peaks = self._alike(row, np.sort(self.rng.choice(peaks, number, replace=False)))
            window = peaks[:, None] + np.arange(low, high)
            beat = np.median(self.signal[row][:, window], axis=1)
            share = self.share[row][:, :, window].mean(axis=2)
            weight = self.weight[row][:, window].min(axis=1)
            inner = place - low
            drawn.append((at(beat, inner), at(share, inner), weights_at(weight, inner)))
        return tuple(np.stack(each).astype(np.float32) for each in zip(*drawn, strict=True))

    def _usable(self, row: int, low: int, high: int) -> np.ndarray:
        peaks, size = self.peaks[row], self.signal.shape[-1]
        inside = peaks[(peaks + low >= 0) & (peaks + high <= size)]
        marked = [self.weight[row, :-1, peak - 40 : peak + 100].mean() > 0.9 for peak in inside]
        return inside[np.array(marked, bool)]

    def _alike(self, row: int, peaks: np.ndarray) -> np.ndarray:
        if len(peaks) < 2:
            return peaks
        shapes = np.stack([self.signal[row, :, peak - 25 : peak + 100].ravel() for peak in peaks])
        likeness = np.array([np.corrcoef(shape, np.median(shapes, axis=0))[0, 1] for shape in shapes])
        return peaks[likeness > 0.9] if (likeness > 0.9).any() else peaks[:1]


def augment(signal: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Gain, polarity, low-pass, white noise, mains hum and wander, (B, L, T); each ECG and lead its own."""
    b, n, t = signal.shape
    seconds = np.arange(t) / FS_HZ

    def size(chance: float, log_mean: float, log_sd: float, most: float) -> np.ndarray:
        drawn = np.exp(rng.normal(log_mean, log_sd, (b, n, 1))).clip(max=most)
        return np.where(rng.random((b, 1, 1)) < chance, drawn, 0)

    def wave(hz: np.ndarray) -> np.ndarray:
        return np.sin(2 * np.pi * (hz * seconds + rng.random((b, n, 1))))

    x = signal.numpy() * np.exp(rng.normal(0, 0.25, (b, n, 1))) * np.where(rng.random((b, n, 1)) < 0.1, -1, 1)
    freqs = np.fft.rfftfreq(t, 1 / FS_HZ)
    for i in np.flatnonzero(rng.random(b) < 0.3):
        x[i] = np.fft.irfft(np.fft.rfft(x[i]) / np.sqrt(1 + (freqs / rng.uniform(25, 90)) ** 8), t)
    x += size(0.6, -3.5, 0.8, 0.25) * rng.normal(size=x.shape)
    x += size(0.3, -3.5, 0.8, 0.2) * wave(rng.choice([50, 60], (b, 1, 1)))
    x += size(0.5, -2.0, 0.7, 0.5) * wave(rng.uniform(0.2, 1.5, (b, 1, 1)))
    return torch.from_numpy(x.astype(np.float32))


def some_leads(rng: np.random.Generator) -> np.ndarray:
    """All 12, the 8 independent ones, or a few."""
    kind = rng.random()
    if kind < 0.35:
        return np.array([0, 1, 6, 7, 8, 9, 10, 11])
    return np.sort(rng.choice(12, rng.integers(1, 6), replace=False)) if kind < 0.55 else np.arange(12)


def loss_of(network: Delineator, batch: tuple[np.ndarray, ...], rng: np.random.Generator) -> torch.Tensor:
    signal, share, weight = (torch.from_numpy(np.ascontiguousarray(each, np.float32)) for each in batch)
    keep = some_leads(rng)
    signal = augment(torch.from_numpy(scale(signal.numpy())[0]), rng)[:, keep]
    signal = signal / signal.std(-1, keepdim=True).clamp(min=1e-6)
    by_lead, overall = network(signal, torch.ones(signal.shape[:2], dtype=torch.bool))
    cross = -(F.log_softmax(by_lead, 2) * share[:, keep]).sum(2)
    cross_overall = -(F.log_softmax(overall, 1) * share[:, -1]).sum(1)
    of_leads, of_all = weight[:, keep], weight[:, -1]
    return (cross * of_leads).sum() / of_leads.sum().clamp(min=1) + 0.5 * (
        cross_overall * of_all
    ).sum() / of_all.sum().clamp(min=1)


def fit(examples: Examples, rows: np.ndarray, epochs: int, seed: int) -> dict[str, torch.Tensor]:
    """Weights, averaged along training."""
    rng = examples.rng
    torch.manual_seed(seed)
    network = Delineator()
    mean = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    per_epoch = len(rows) // RECORDS
    total, began = epochs * per_epoch, time.perf_counter()
    for step in range(total):
        if step % per_epoch == 0:
            order = rng.permutation(rows)
        chosen = order[step % per_epoch * RECORDS :][:RECORDS]
        beats = step % 3 == 2
        batch = (
            examples.median_beats(np.concatenate([chosen, rng.choice(rows, MORE_BEATS)]))
            if beats
            else examples.stretches(chosen)
        )
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 100) * (0.5 * (1 + np.cos(np.pi * step / total)) + 0.005)
        loss = loss_of(network, batch, rng)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        keep = min(0.995, (step + 1) / (step + 20))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                mean[name].mul_(keep).add_(value, alpha=1 - keep)
            else:
                mean[name].copy_(value)
        if step % 100 == 0:
            print(f"step {step} of {total}, loss {loss.item():.3f}, {time.perf_counter() - began:.0f} s", flush=True)
    return mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ludb", type=Path)
    parser.add_argument("--fold", type=int, choices=range(N_FOLDS), help="leave this fold out; default: none")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    ecgs, marks = load(args.ludb)
    left_out = np.empty(0, int) if args.fold is None else test_rows(len(ecgs), args.fold)
    rng = np.random.default_rng([args.seed, N_FOLDS if args.fold is None else args.fold])
    rows = np.setdiff1d(np.arange(len(ecgs)), left_out)
    weights = fit(Examples(ecgs, marks, rng), rows, args.epochs, args.seed)
    out = args.out or (SHIPPED if args.fold is None else FOLDS / f"fold{args.fold}.safetensors")
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in weights.items()}, out)


if __name__ == "__main__":
    main()
