"""[Metric] and figures -> report.html, evaluation.json: one page that stands alone, for people who are no engineers."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from ecgveil import paper
from ecgveil.ecg import ECGSet
from ecgveil.evaluation import Evaluation, Metric
from ecgveil.evaluation.fidelity import BEYOND
from ecgveil.evaluation.metric import number, text
from ecgveil.files import write_atomic
from ecgveil.report import answers, clinical, clinical_figures, evidence, fiducials, figures, intervals, words
from ecgveil.report.guard import enough, shareable
from ecgveil.report.meanings import meaning

__all__ = ["ANSWERS", "COPIES", "FIGURES", "About", "metrics_json", "write_figures", "write_report"]

ANSWERS, FIGURES, COPIES = "answers.json", "evaluation.json", "copies.csv"

SHOWN = 3  # ECGs of each kind
MOST_PICTURES = 6


@dataclass(frozen=True)
class About:
    """What the report says of the run, beside its figures.

    Parameters
    ----------
    title : heading
    recipe : its name
    settings : flat, by dotted name
    seed : the run's seed; it also chooses the ECGs that are drawn
    versions : of the programs used, by name
    counts : records and patients, by what they are; shown as given
    fs, seconds : of the synthetic ECGs
    notes : sentences on saturation, resampling and the like
    kept : real records used
    left_out : real records left out, by reason
    """

    title: str
    recipe: str
    settings: Mapping[str, object]
    seed: int
    versions: Mapping[str, str]
    counts: Mapping[str, int]
    fs: float
    seconds: float
    notes: tuple[str, ...] = ()
    kept: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)


def write_report(
    path: Path | str,
    *,
    train: ECGSet,
    holdout: ECGSet,
    synthetic: ECGSet,
    evaluation: Evaluation,
    about: About,
    history: Sequence[Mapping] = (),
    pictures: Sequence[tuple[int, bytes]] = (),
    show_real: bool = True,
) -> None:
    """Write one self-contained HTML page.

    Parameters
    ----------
    path : of the page
    train, holdout, synthetic : the sets that `evaluation` was made of
    evaluation : from `evaluation.evaluate`
    about : the run
    history : rows of the training's metrics, with 'step' and the losses, and any 'warning' of the monitors
    pictures : (step, PNG) along training
    show_real : False leaves out every drawing of a single real ECG, and the pictures along training, in which nobody
        looked for copies, so that the page may be passed on; distributions and means over records stay
    """
    path = Path(path)
    if not show_real:
        evaluation = replace(evaluation, metrics=shareable(evaluation.metrics))
    chosen = _chosen_rows(train, evaluation.rows[2], about.seed)
    page = _template().render(
        about=about,
        show_real=show_real,
        answers=answers.answers(evaluation),
        findings=[*words.findings(evaluation), *words.clinical(evaluation, public=not show_real)],
        not_shown=words.not_shown(evaluation),
        sheets=_sheets(train, synthetic, chosen, show_real),
        curves=Markup(figures.training_curves(list(map(dict, history)))),
        warnings=[warning["text"] for row in history for warning in row.get("warning", ())],
        pictures=[(step, _data_uri(png)) for step, png in _spread(pictures) if show_real],
        clinical=_clinical(evaluation, train, synthetic, chosen, public=not show_real),
        distributions=Markup(figures.distributions(evaluation, public=not show_real)),
        spectra=Markup(figures.spectra(evaluation, public=not show_real)),
        correlations=Markup(
            figures.correlations(evaluation) if enough(evaluation.train, "train", public=not show_real) else ""
        ),
        distances=Markup(
            figures.nearest_distances(evaluation.distances, public=not show_real) if evaluation.distances else ""
        ),
        n_reference=evaluation.distances.n_reference if evaluation.distances else 0,
        pairs=Markup(
            figures.closest_pairs(train, synthetic, evaluation.distances) if evaluation.distances and show_real else ""
        ),
        told_apart=_told_apart(evaluation, holdout, synthetic, public=not show_real),
        rules=evidence.rules(evaluation, public=not show_real),
        usefulness=Markup(evidence.usefulness(evaluation)),
        classes=evidence.classes(evaluation),
        families=_families(evaluation.metrics),
        seconds=evaluation.seconds,
        real_colour=paper.REAL_COLOUR,
        synthetic_colour=paper.SYNTHETIC_COLOUR,
    )
    write_atomic(path, page)


def write_figures(folder: Path, evaluation: Evaluation) -> None:
    """Write `answers.json`, the three answers; `evaluation.json`, every figure; and `copies.csv`, which names real
    records and is the keeper's."""
    told = [asdict(each) for each in answers.answers(evaluation)]
    write_atomic(folder / ANSWERS, json.dumps(told, indent=1) + "\n")
    write_atomic(folder / FIGURES, metrics_json(shareable(evaluation.metrics)))
    if evaluation.copies is not None:
        write_atomic(folder / COPIES, evaluation.copies.to_csv(index=False, float_format="%.4g"))


def metrics_json(metrics: Sequence[Metric]) -> str:
    """The figures as a JSON list; a value that could not be computed is null."""
    plain = [
        {key: number(value) if isinstance(value, float) else value for key, value in asdict(metric).items()}
        for metric in metrics
    ]
    return json.dumps(plain, indent=2, allow_nan=False) + "\n"


def _template() -> Template:
    source = files("ecgveil.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        source
    )


def _chosen_rows(train: ECGSet, compared: np.ndarray, seed: int) -> list[tuple[int, int]]:
    """(training row, synthetic row) drawn at random, so that nobody can have picked them.

    Of the synthetic ECGs only those `compared`: what was taken out as a copy is a real ECG.
    """
    rng = np.random.default_rng([seed, 7])
    n = min(SHOWN, len(train), len(compared))
    drawn = (rng.choice(each, n, replace=False) for each in (len(train), compared))
    return [(int(real), int(made)) for real, made in zip(*drawn, strict=True)]


def _clinical(
    evaluation: Evaluation, train: ECGSet, synthetic: ECGSet, chosen: list[tuple[int, int]], *, public: bool
) -> dict[str, object]:
    """Tables and charts of the clinical measurements; the labelled beats are of the first ECGs on paper."""
    beats: list[fiducials.Beat] = []
    for real, made in chosen[:1]:
        if not public:
            beats += fiducials.beats_of(train, real, "Real, training", paper.REAL_COLOUR)
        beats += fiducials.beats_of(synthetic, made, "Synthetic", paper.SYNTHETIC_COLOUR)
    return {
        "table2": clinical.table2(evaluation, public=public),
        "conclusions": clinical.conclusions(evaluation, public=public),
        "statements": clinical.statements(evaluation, public=public),
        "not_normal": clinical.not_normal(evaluation, public=public),
        "reasons": [{**row, "name": words.reason(row["name"])} for row in clinical.reasons(evaluation, public=public)],
        "beats": Markup(fiducials.labelled_beats(beats)),
        "heart_rates": Markup(clinical_figures.heart_rates(evaluation, public=public)),
        "qt_rr": Markup(clinical_figures.qt_rr(evaluation, public=public)),
        "together": Markup(clinical_figures.together(evaluation, public=public)),
    }


def _told_apart(evaluation: Evaluation, holdout: ECGSet, synthetic: ECGSet, *, public: bool) -> dict[str, object]:
    """The classifier's scores, and the ECGs it was surest about on paper."""
    sheets = []
    for name, row, p in evidence.surest(evaluation, public=public):
        title = f"{name.capitalize()} ECG {row}, held for synthetic with p = {p:.3f}"
        sheets.append(_sheet(synthetic if name == "synthetic" else holdout, row, title, synthetic=name == "synthetic"))
    return {"scores": Markup(evidence.scores(evaluation, public=public)), "sheets": sheets}


def _sheets(train: ECGSet, synthetic: ECGSet, chosen: list[tuple[int, int]], show_real: bool) -> list[dict]:
    sheets = []
    for real, made in chosen:
        if show_real:
            sheets.append(_sheet(train, real, f"Real ECG: training set, row {real}", synthetic=False))
        sheets.append(_sheet(synthetic, made, f"Synthetic ECG {made}", synthetic=True))
    return sheets


def _sheet(ecgs: ECGSet, row: int, title: str, *, synthetic: bool) -> dict:
    fig = paper.draw_12lead(ecgs, row, title=title, synthetic=synthetic)
    return {"src": _data_uri(paper.to_png(fig, dpi=130)), "alt": title, "width_mm": f"{paper.width_mm(fig):.1f}"}


def _spread(pictures: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """At most six pictures, evenly along training, first and last among them."""
    if len(pictures) <= MOST_PICTURES:
        return list(pictures)
    return [pictures[round(i)] for i in np.linspace(0, len(pictures) - 1, MOST_PICTURES)]


def _families(metrics: Sequence[Metric]) -> list[tuple[str, list[dict]]]:
    """(title, rows) of the table of all figures."""
    titles = {"fidelity": "Likeness", "utility": "Use", "privacy": "Privacy"}
    families = [
        (title, rows)
        for family, title in titles.items()
        if (rows := [_row(metric) for metric in metrics if metric.family == family])
    ]
    told: set[str] = set()
    for row in (row for _, rows in families for row in rows):
        if row["meaning"] in told:  # what holds for several figures is said of the first
            row["meaning"] = ""
        told.add(row["meaning"])
    return families


def _row(metric: Metric) -> dict[str, str]:
    aim = f"target {text(metric.target)}" if metric.better == "target" else metric.better
    return {
        "family": metric.family,
        "name": words.full_name(metric),
        "key": metric.name,
        "value": text(metric.value),
        "interval": f"{text(metric.ci_low)} to {text(metric.ci_high)}" if metric.ci_low == metric.ci_low else "-",
        "aim": aim,
        "floor": text(metric.floor),
        "floor_of": metric.floor_of,
        "n": str(metric.n),
        "verdict": words.VERDICTS.get(metric.verdict, metric.verdict),
        "good": {True: "", False: "bad"}[metric.verdict not in (*answers.ACCUSING, BEYOND)],
        "picture": Markup(intervals.picture(metric)),
        "meaning": meaning(metric),
    }


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
