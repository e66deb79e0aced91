"""Does balancing by generation raise the rarest class? PTB-XL's superclasses, tested on people of another fold.

    pip install -c constraints.txt -e ".[bench]"
    python benchmarks/augmentation.py RUN [--times 1 2] [--all] [--fold 8] [--seeds 3] [--seed 1] [--quick]

RUN is the run of `benchmarks/conditional.py`, trained on folds 1 to 6. To these are added synthetic ECGs that bear the
rarest class, as `ecgveil augment` draws them, so many times as many as real ones bear it; with --all those of every
class, so many times as many as there are real ones. The classifiers of the evidence learn from the real ones alone and
from both; what the latter gain, on the same people and from the same starts, is told of each class with 95 % intervals
over people and starts, of both classifiers and their mean. What to add is to be chosen on fold 7.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from ecgveil.evaluation.bootstrap import Figure, draws, figure, mean, weighted_auc
from ecgveil.evaluation.classifiers import CLASSIFIERS, lead_scale, waveforms
from ecgveil.evaluation.utility import borne, learn
from ecgveil.sampling import load
from tstr import real_parts, shaped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "ptbxl_shape")
    parser.add_argument("--times", type=float, nargs="+", default=[1.0])
    parser.add_argument("--all", action="store_true", help="of every class, not the rarest alone")
    parser.add_argument("--fold", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    told = parser.parse_args()
    run = load(told.run)
    names = run.recipe.data.labels
    train, tested = real_parts(told.data, set(range(1, 7)), {told.fold})
    bear = [sum(name in each for each in train.labels) for name in names]
    rarest = names[int(np.argmin(bear))]
    run, as_many, what = (run, len(train), "of all") if told.all else (run.bearing([rarest]), min(bear), rarest)
    numbers = sorted({max(1, round(times * as_many)) for times in told.times})
    made = shaped(run.sample(max(numbers), seed=told.seed))
    print(f"{len(train)} real ECGs, {min(bear)} of them {rarest}; {len(tested)} tested on", flush=True)
    waves = [waveforms(each.pick(train.leads)) for each in (train, made, tested)]
    length, scale = min(each.shape[2] for each in waves), lead_scale(waves[0])
    x, added, test = (each[..., :length] / scale for each in waves)
    y, borne_too, truth = (borne(each, names) for each in (train, made, tested))
    scores: dict[tuple[int, str], list[np.ndarray]] = {}
    for repeat in range(told.seeds):
        rng = np.random.default_rng([told.seed, repeat])
        order, start = rng.permutation(len(x) + len(added)), int(rng.integers(2**31))
        for number in (0, *numbers):
            rows = order[order < len(x) + number]
            both, targets = (np.concatenate(pair)[rows] for pair in ((x, added), (y, borne_too)))
            for name, classifier in CLASSIFIERS.items():
                began = time.monotonic()
                ((found, _),) = learn(classifier, both, targets, [test], seed=start, quick=told.quick)
                scores.setdefault((number, name), []).append(found)
                print(f"start {repeat}, {number} added, {name}: {time.monotonic() - began:.0f} s", flush=True)
    drawn = draws(np.array(tested.patient_id), told.seeds, told.seed)
    print("\n| AUROC | " + " | ".join(names) + " | macro |\n" + "|---" * (len(names) + 2) + "|")
    areas = {key: figure(weighted_auc, np.array(each), truth, drawn) for key, each in scores.items()}
    for who, group in [("both", tuple(CLASSIFIERS)), *((name, (name,)) for name in CLASSIFIERS)]:
        of = {number: mean([areas[number, name] for name in group]) for number in (0, *numbers)}
        print(f"| {who}, real alone | {row(of[0])} |")
        for number in numbers:
            print(f"| {who}, gain with {number} {what} added | {row(of[number].minus(of[0]), '+.3f')} |")


def row(of: Figure, form: str = ".3f") -> str:
    """Each class and their mean, with intervals."""
    cells = [of.at(i) for i in range(len(of.value))] + [of.macro()]
    return " | ".join(
        f"{float(each.value[0]):{form}} [{low:{form}}, {high:{form}}]"
        for each, (low, high) in ((cell, cell.interval()) for cell in cells)
    )


if __name__ == "__main__":
    main()
