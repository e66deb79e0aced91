"""An overfitted generator: 30 records, trained long. Do the attacks on membership catch it?

    python benchmarks/overfitted.py [--data ../shared/data/cinc2011] [--steps 100 300 3000] [--number 1000] [--seed 0]

A variational autoencoder (Kingma and Welling, ICLR 2014) with two latent dimensions learns 10 s of 8 leads at 125 Hz of
30 people, and ECGs are drawn from its prior. Members are those 30; non-members are as many, drawn again and again, of
the other people of the same database.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ecgveil.ecg import ECGSet
from ecgveil.evaluation.copies import best_scores, find_copies
from ecgveil.evaluation.distribution import clinical_features
from ecgveil.evaluation.membership import LEAKAGE, membership_metrics
from ecgveil.evaluation.near_copies import copies_metric, real_copies_share
from ecgveil.evaluation.summary import summarise
from ecgveil.leads import LEADS_8
from ecgveil.windows import read

MEMBERS = 30
DRAWS = 10  # of non-members
LATENT, WIDTH, KL = 2, 256, 1e-2


class Autoencoder(nn.Module):
    """(B, D) -> means and log variances (B, LATENT) -> (B, D)."""

    def __init__(self, size: int):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(size, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2 * LATENT))
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, size)
        )

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        divergence = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(dim=1)
        wrong = ((self.decoder(z) - x) ** 2).mean(dim=1) / x.var(dim=1)  # small ECGs count like large ones
        return wrong.mean() + KL * divergence.mean()


def fit(records: np.ndarray, steps: int, seed: int) -> Autoencoder:
    torch.manual_seed(seed)
    x = torch.from_numpy(records.reshape(len(records), -1))
    model = Autoencoder(x.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(x).backward()
        optimizer.step()
    return model


def draw(model: Autoencoder, like: ECGSet, number: int, seed: int) -> ECGSet:
    z = torch.from_numpy(np.random.default_rng([seed, 1]).standard_normal((number, LATENT)).astype(np.float32))
    with torch.no_grad():
        signal = model.decoder(z).numpy().reshape(number, *like.signal.shape[1:])
    return ECGSet(signal, like.fs, like.leads, tuple(f"synthetic-{i}" for i in range(number)))


def attack(train: ECGSet, strangers: ECGSet, synthetic: ECGSet, seed: int) -> None:
    summaries = [summarise(each, np.arange(len(each)), LEADS_8) for each in (train, strangers, synthetic)]
    clinical = tuple(clinical_features(each.features.table)[0] for each in summaries)
    shapes = [each.shapes for each in summaries]
    of_train, of_strangers = best_scores(synthetic, (train, strangers), seed=seed)

    def stretch(members: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return of_train[members], of_strangers[others]

    found = defaultdict(list)
    for draw_seed in range(DRAWS):
        for metric in membership_metrics(*shapes, seed=draw_seed, clinical=clinical, stretch=stretch):
            if metric.name.endswith("_auc"):
                found[metric.name].append(metric)
    for name, metrics in found.items():
        areas = [metric.value for metric in metrics]
        low, high = np.mean([(metric.ci_low, metric.ci_high) for metric in metrics], axis=0)
        caught = sum(metric.verdict == LEAKAGE for metric in metrics)
        print(
            f"  {name}: {np.mean(areas):.3f} (mean interval {low:.3f} to {high:.3f}; {min(areas):.3f} to "
            f"{max(areas):.3f} over {DRAWS} draws of {MEMBERS} non-members); leakage called in {caught}"
        )
    floor = real_copies_share(train, strangers, seed=seed)
    copies = copies_metric(find_copies(train, strangers, synthetic, seed=seed), *floor)
    print(f"  copies: {copies.value:.3f} ({copies.ci_low:.3f} to {copies.ci_high:.3f}), floor {copies.floor:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cinc2011"))
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 300, 3000])
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    ecgs, _ = read(args.data, leads=LEADS_8, fs=125, seconds=10, reduce=True)
    order = np.random.default_rng(args.seed).permutation(len(ecgs))  # of one record a person
    train, strangers = ecgs.take(order[:MEMBERS]), ecgs.take(order[MEMBERS:])
    for steps in args.steps:
        print(f"{steps} steps, seed {args.seed}")
        attack(train, strangers, draw(fit(train.signal, steps, args.seed), train, args.number, args.seed), args.seed)


if __name__ == "__main__":
    main()
