import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgveil import paper
from ecgveil.ecg import ECGSet
from ecgveil.evaluation import Evaluation, evaluate
from ecgveil.evaluation.privacy import SAME
from ecgveil.report import About, answers, figures, metrics_json, words, write_figures, write_report
from ecgveil.report.guard import enough
from ecgveil.simulate import simulate

HISTORY = [
    {"step": i, "epoch": 0, "critic_loss": -1 / (i + 1), "generator_loss": 0.1 * i, "seconds": i} for i in range(50)
]
ABOUT = About(
    title="Demo <clinic> & co",
    recipe="quick",
    settings={"training.batch_size": 32},
    seed=3,
    versions={"ecgveil": "0.1.0"},
    counts={"training ECGs": 40, "synthetic ECGs": 25},
    fs=250,
    seconds=10,
    notes=("12 of 1000 values were cut.",),
    kept=65,
    left_out={"flat lead": 2},
)


@pytest.fixture(scope="module")
def sets() -> tuple[ECGSet, ECGSet, ECGSet]:
    ecgs = simulate(90, seed=12, fs=250)[0]
    secret = replace(
        ecgs,
        record_name=[f"secret-record-{i}" for i in range(90)],
        patient_id=[f"secret-patient-{i}" for i in range(90)],
    )
    made = replace(ecgs.take(range(65, 90)), record_name=[f"syn-{i}" for i in range(25)], patient_id=())
    return secret.take(range(40)), secret.take(range(40, 65)), made


@pytest.fixture(scope="module")
def evaluation(sets) -> Evaluation:
    return evaluate(*sets, seed=0, quick=True)


@pytest.fixture(scope="module")
def pictures(sets) -> list[tuple[int, bytes]]:
    png = paper.to_png(paper.draw_strips(sets[2], [0], synthetic=True), dpi=30)
    return [(step, png) for step in range(0, 1000, 100)]


def write(folder: Path, sets, evaluation, **changes) -> str:
    train, holdout, synthetic = sets
    arguments = {"about": ABOUT, "history": HISTORY, **changes}
    write_report(
        folder / "report.html", train=train, holdout=holdout, synthetic=synthetic, evaluation=evaluation, **arguments
    )
    return (folder / "report.html").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, sets, evaluation, pictures) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write(folder, sets, evaluation, pictures=pictures)
    return folder


@pytest.fixture(scope="module")
def page(folder) -> str:
    return (folder / "report.html").read_text()


class Tags(HTMLParser):
    """Every tag with its attributes, checked to be closed in order."""

    void = frozenset({"meta", "img", "br", "link"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def images(page: str) -> list[dict]:
    return [attributes for tag, attributes in Tags(page).seen if tag == "img"]


def prose(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))


def test_the_page_stands_alone(page):
    for tag, attributes in Tags(page).seen:
        assert tag not in ("script", "link", "iframe")
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    assert not re.search(r"url\((?!#)", page)
    assert "@import" not in page
    assert "prefers-color-scheme: dark" in page


def test_nobody_real_is_named(page):
    assert "secret" not in page


def test_the_title_is_escaped(page):
    assert "Demo &lt;clinic&gt; &amp; co" in page
    assert "<clinic>" not in page


def test_it_promises_nothing(page):
    said = prose(page).lower()
    assert not re.search(r"anonym|private|privacy is|safe to|guarantee", said)
    for needed in (
        "not for clinical use",
        "expert review",
        "what is not yet shown",
        "attacks that nobody has thought of",
        "pr, qrs and qt",
    ):
        assert needed in said
    assert "the smallest set compared holds 25 ecgs" in said


def test_the_order_of_the_page(page):
    headings = re.findall(r"<h[123][^>]*>(.*?)</h", page)
    expected = ["What the figures say", "What is not yet shown", "Real and synthetic ECGs on ECG paper", "Training"]
    expected += ["Heart rate and wave heights", "Power spectra", "How the leads go together"]
    expected += ["Distance to the nearest real ECG", "All figures", "How it was made"]
    at = [headings.index(each) for each in expected]
    assert at == sorted(at)


def test_every_figure_is_in_the_table_with_its_floor(page, evaluation):
    for metric in evaluation.metrics:
        assert f"{metric.family}: {metric.name}" in page
    assert "target 0.5" in page
    assert page.count('<td class="number" title=') == len(evaluation.metrics)


def test_ecgs_are_shown_at_true_scale(page, sets):
    sheets = [image for image in images(page) if image["alt"].startswith(("Real ECG", "Synthetic ECG "))]
    width = paper.width_mm(paper.draw_12lead(sets[0], 0, synthetic=False))
    assert len(sheets) == 6
    assert all(f"width: {width:.1f}mm" in sheet["style"] for sheet in sheets)
    assert "seed 3, not picked" in prose(page)


def test_the_shared_copy_draws_no_real_ecg(tmp_path, sets, evaluation, pictures, monkeypatch):
    drawn = []
    draw = paper.draw_12lead
    monkeypatch.setattr(paper, "draw_12lead", lambda ecgs, row, **k: drawn.append((ecgs, k)) or draw(ecgs, row, **k))
    shared = write(tmp_path, sets, evaluation, pictures=pictures, show_real=False)
    assert all(ecgs is sets[2] and k["synthetic"] for ecgs, k in drawn)
    assert len(drawn) == 3
    assert "Synthetic, step" not in shared  # nobody looked for copies in what was drawn on the way
    assert not any(image["alt"].startswith("Real") for image in images(shared))
    assert "leaves out every drawing of a single real ECG" in prose(shared)
    assert "Pair 1" not in shared


def test_the_full_copy_draws_the_nearest_pairs(page):
    assert "Pair 1" in page
    assert "SYNTHETIC" in page


def test_pictures_run_from_first_to_last(page):
    steps = [int(found) for found in re.findall(r"Synthetic, step (\d+)", page)]
    assert steps[0] == 0
    assert steps[-1] == 900
    assert steps == sorted(steps)
    assert len(steps) == 6


def test_the_same_input_gives_the_same_page(tmp_path, sets, evaluation, pictures, page):
    assert write(tmp_path, sets, evaluation, pictures=pictures) == page
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_files_beside_the_page_hold_every_figure_and_what_each_ecg_is_nearest_to(tmp_path, sets, evaluation):
    write_figures(tmp_path, evaluation)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.json", "copies.csv", "evaluation.json"]
    nearest = pd.read_csv(tmp_path / "copies.csv", dtype={"record_name": str})
    assert list(nearest["record_name"]) == list(sets[2].record_name)
    assert set(nearest["nearest_record"].dropna()) <= {*sets[0].record_name, *sets[1].record_name}
    stored = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert [each["name"] for each in stored] == [metric.name for metric in evaluation.metrics]
    assert stored[0]["value"] == pytest.approx(evaluation.metrics[0].value)
    assert metrics_json([replace(evaluation.metrics[0], value=float("nan"))]).count("null") == 2


def test_white_noise_of_one_lead_without_history_still_has_a_report(tmp_path, sets):
    train, holdout, synthetic = (each.take(range(4)).pick(["I"]) for each in sets)
    noise = replace(synthetic, signal=np.random.default_rng(0).standard_normal(synthetic.signal.shape))
    three = (train, holdout, noise)
    page = write(tmp_path, three, evaluate(*three, seed=0, quick=True), history=[])
    assert "No distances could be made" in page
    assert "Cannot tell: too few people" in page
    assert "How the leads go together" not in page
    assert "<h2>Training</h2>" not in page
    Tags(page)


def test_copies_are_named_in_the_summary(sets):
    train, holdout, synthetic = sets
    copies = replace(synthetic, signal=train.signal[: len(synthetic)])
    found = evaluate(train, holdout, copies, seed=0, quick=True)
    assert "closer to training than chance" in " ".join(words.findings(found))
    assert next(metric for metric in found.metrics if metric.name == "same_beat_share").verdict == SAME
    assert answers.answers(found)[2].answer == "People in the training set: do not share"


def test_one_training_record_may_be_the_nearest_of_several(sets, tmp_path):
    """Two synthetic ECGs made from one real one: both pairs are drawn."""
    train, holdout, _ = sets
    copies = replace(train.take([4]), signal=train.signal[[4]] * 1.01, record_name=("a",), patient_id=("a",))
    others = replace(copies, signal=copies.signal + 0.001, record_name=("b",), patient_id=("b",))
    made = replace(
        copies,
        signal=np.concatenate([copies.signal, others.signal]),
        record_name=("a", "b"),
        patient_id=(),
        labels=(),
        age=np.empty(0),
        sex=(),
    )
    found = evaluate(train, holdout, made, seed=0, quick=True)
    assert [pair.train_row for pair in found.distances.pairs[:2]] == [4, 4]
    assert "Pair 2" in write(tmp_path, (train, holdout, made), found)


def test_a_public_page_draws_no_small_group_of_real_people(sets):
    train, holdout, synthetic = sets
    found = evaluate(train, holdout.take(range(5)), synthetic, seed=0, quick=True)
    for draw in (figures.distributions, figures.spectra):
        assert "real, holdout" in draw(found)
        assert "real, holdout" not in draw(found, public=True)
        assert "real, training" in draw(found, public=True)


def test_many_ecgs_of_few_people_are_no_group(sets):
    train, holdout, synthetic = sets
    few = replace(train, patient_id=tuple(f"p{i % 5}" for i in range(len(train))))
    found = evaluate(few, holdout, synthetic, seed=0, quick=True)
    for draw in (figures.distributions, figures.spectra):
        assert "real, training" not in draw(found, public=True)
    assert not enough(found.train, "train", public=True)


def test_a_public_histogram_has_no_bar_of_one_or_two_people():
    from matplotlib.figure import Figure

    values = {"real, training": np.r_[np.zeros(30), np.full(30, 5.0), 9.0], "synthetic": np.linspace(0, 9, 50)}
    styles = {"real, training": (paper.REAL_COLOUR, "-"), "synthetic": (paper.SYNTHETIC_COLOUR, "-")}
    for public in (False, True):
        ax = Figure().subplots()
        whose = {label: np.arange(len(each)) for label, each in values.items()} if public else None
        figures._histogram(ax, values, styles, whose=whose, public=public)
        bars = next(patch for patch in ax.patches if patch.get_label() == "real, training").get_data().values
        people = np.rint(bars * 61 / 100)
        assert (people[people > 0] >= 3).all() == public
