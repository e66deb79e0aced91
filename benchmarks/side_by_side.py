"""Random recordings and random synthetic ECGs on ECG paper, side by side, for eyes.

    pip install -c constraints.txt -e .
    python benchmarks/side_by_side.py RUN --out DIR [--data FOLDER ...] [--number 20] [--seed 0] [--held-out] [--surest]

Nothing is chosen: rows are drawn by the seed, synthetic ones are the first of their seed. Pages of four pairs, the
recording on the left. They draw real ECGs, and belong to whoever keeps these. `--held-out` takes those that a split by
the seed keeps from training. With `--surest` it is a two-sample classifier that chooses, network and trees, judging as
many synthetic ECGs as there are recordings: those that it is surest are synthetic, beside those surest real.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

from ecgveil.ecg import ECGSet
from ecgveil.evaluation.two_sample import prepare, two_sample
from ecgveil.files import make_folder, write_atomic
from ecgveil.intake import take_in
from ecgveil.paper import draw_12lead, to_png
from ecgveil.sampling import load
from ecgveil.split import split

DATA = Path(__file__).parents[2] / "shared" / "data"
PAIRS, DPI = 4, 75


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, nargs="+", default=[DATA / "ludb"])
    parser.add_argument("--number", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--surest", action="store_true")
    told = parser.parse_args()
    make_folder(told.out)
    run = load(told.run)
    real = take_in(told.data, run.recipe, resample=True).ecgs
    if told.held_out:
        real = split(real, seed=told.seed).holdout
    number = min(told.number, len(real))
    if told.surest:
        real, synthetic = surest(real, run.sample(len(real), seed=told.seed), number, told.seed)
        number = len(real)
    else:
        synthetic = run.sample(number, seed=told.seed)
        real = real.take(np.sort(np.random.default_rng(told.seed).permutation(len(real))[:number]))
    real = real.pick(synthetic.leads)
    for first in range(0, number, PAIRS):
        rows = range(first, min(first + PAIRS, number))
        page = [[sheet(each, row, synthetic=each is synthetic) for each in (real, synthetic)] for row in rows]
        path = told.out / f"page-{first // PAIRS}.png"
        write_atomic(path, tiled(page))
        print(path)


def surest(real: ECGSet, synthetic: ECGSet, number: int, seed: int) -> tuple[ECGSet, ECGSet]:
    """Of each side the ECGs that classifiers which never saw them are surest about, one ECG of a patient."""
    _, first = np.unique(np.array(real.patient_id), return_index=True)
    real = real.take(first)
    judged = two_sample(prepare(real), prepare(synthetic), seed=seed)
    print(f"AUC {judged.auc:.3f} [{judged.auc_low:.3f}, {judged.auc_high:.3f}], n = {len(judged.holdout)} of each side")
    best = np.argsort(judged.holdout)[:number], np.argsort(-judged.synthetic)[:number]
    print("synthetic with", *(f"{p:.2f}" for p in judged.synthetic[best[1]]))
    print("real with", *(f"{p:.2f}" for p in judged.holdout[best[0]]))
    return real.take(judged.rows[0][best[0]]), synthetic.take(judged.rows[1][best[1]])


def sheet(ecgs: ECGSet, row: int, *, synthetic: bool) -> Image.Image:
    figure = draw_12lead(ecgs, row, title=ecgs.record_name[row], synthetic=synthetic)
    return Image.open(io.BytesIO(to_png(figure, dpi=DPI)))


def tiled(page: list[list[Image.Image]]) -> bytes:
    """Rows of pictures as one PNG."""
    heights = [max(each.height for each in line) for line in page]
    width = max(each.width for line in page for each in line)
    whole = Image.new("RGB", (width * len(page[0]), sum(heights)), "white")
    top = 0
    for line, height in zip(page, heights, strict=True):
        for column, each in enumerate(line):
            whole.paste(each, (column * width, top))
        top += height
    buffer = io.BytesIO()
    whole.save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
