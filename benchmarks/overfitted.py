"""An overfitted generator: 30 records, trained long, without augmentation. Do the attacks on membership catch it?

    python benchmarks/overfitted.py --out RUN [--data ../shared/data/cinc2011] [--steps 12000] [--number 1000] [--seed 0]

Members are the 30 people whose records it learned from; non-members are as many, drawn again and again, of the other
people of the same database. A second run of the command goes on where the first one stopped.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from ecgveil.evaluation.copies import find_copies
from ecgveil.evaluation.distribution import clinical_features
from ecgveil.evaluation.membership import LEAKAGE, membership_metrics
from ecgveil.evaluation.near_copies import copies_metric, real_copies_share
from ecgveil.evaluation.summary import summarise
from ecgveil.recipe import load_recipe
from ecgveil.sampling import load
from ecgveil.split import split
from ecgveil.training.fit import fit
from ecgveil.windows import read

MEMBERS = 30
DRAWS = 10  # of non-members
OVERRIDES = {
    "data.fs": 125.0,
    "data.n_samples": 384,
    "model.width": 96,
    "model.latent": 16,
    "model.jitter": 0.0,
    "model.critic_width": 24,
    "training.learning_rate": 1e-3,
    "training.penalty": 3.0,
    "training.penalty_every": 2,
    "training.augment_gain": 0.0,
    "training.augment_noise": 0.0,
    "training.decay": 0.3,
    "training.ema": 0.99,
    "training.betas": [0.0, 0.99],
    "training.pictures": 4,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cinc2011"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    recipe = load_recipe("quick", OVERRIDES | {"training.steps": args.steps})
    data = recipe.data
    ecgs, _ = read(args.data, leads=data.leads, fs=data.fs, n_samples=data.n_samples, reduce=True)
    # 43 people give a train part of 30 and, unused, validation and holdout parts.
    people, of = np.unique(ecgs.patient_id, return_inverse=True)
    chosen = np.isin(of, np.random.default_rng(args.seed).permutation(len(people))[:43])
    part = split(ecgs.take(np.flatnonzero(chosen)), seed=args.seed).train
    assert len(set(part.patient_id)) == MEMBERS
    fit(
        ecgs.take(np.flatnonzero(chosen)),
        recipe,
        args.out,
        seed=args.seed,
        resume=True,
        on_log=lambda row: print(row, flush=True),
    )
    synthetic = load(args.out).sample(args.number, seed=args.seed).pick(data.leads)
    strangers = ecgs.take(np.flatnonzero(~chosen))
    train, holdout, made = (summarise(each, np.arange(len(each)), data.leads) for each in (part, strangers, synthetic))
    table = find_copies(part, strangers, synthetic, seed=args.seed)
    copies = copies_metric(table, *real_copies_share(part, strangers, seed=args.seed))
    print(
        f"copies: {copies.value:.3f} [{copies.ci_low:.3f}, {copies.ci_high:.3f}], floor {copies.floor:.3f}: "
        f"{copies.verdict}"
    )
    found = defaultdict(list)
    clinical = tuple(clinical_features(each.features.table)[0] for each in (train, holdout, made))
    for seed in range(DRAWS):
        for metric in membership_metrics(train.shapes, holdout.shapes, made.shapes, seed=seed, clinical=clinical):
            if metric.name.endswith("_auc"):
                found[metric.name].append(metric)
    for name, metrics in found.items():
        areas = [metric.value for metric in metrics]
        low, high = np.mean([(metric.ci_low, metric.ci_high) for metric in metrics], axis=0)
        caught = sum(metric.verdict == LEAKAGE for metric in metrics)
        print(
            f"{name}: {np.mean(areas):.3f} (mean interval {low:.3f} to {high:.3f}), {min(areas):.3f} to "
            f"{max(areas):.3f} over {DRAWS} draws of {MEMBERS} non-members; leakage called in {caught}"
        )


if __name__ == "__main__":
    main()
