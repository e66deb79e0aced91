"""The page of a study: figures stamped with how they were made, tables of what was published beside what was found."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from ecgveil.files import write_atomic
from ecgveil.paper import REAL_COLOUR, SYNTHETIC_COLOUR, to_png

if TYPE_CHECKING:
    from ecgveil.studies.job import Job


class Best(str):
    """A cell of a table to be shown bold."""

    __slots__ = ()


STAMP_COLOUR = "#5b6470"
STYLE: dict[Any, Any] = {"font.size": 9, "axes.titlesize": 9.5, "axes.spines.top": False, "axes.spines.right": False}


@dataclass(frozen=True)
class Section:
    """One finding: a figure, a table, or both.

    Parameters
    ----------
    key : of its files
    title : with the paper's own number, such as 'Fig. 8'
    text : what one should see, in a sentence or two
    stamp : data, steps, scale and seed it was made with
    figure, table : what there is of them; a `Best` cell is bold
    sheets : ECGs on paper, as PNG, with what each is
    svg : a drawing in the report's style, which takes its colours from the page
    """

    key: str
    title: str
    text: str
    stamp: str
    figure: Figure | None = None
    table: pd.DataFrame | None = None
    sheets: tuple[tuple[str, bytes], ...] = ()
    svg: str = ""


def new_figure(width: float, height: float) -> Figure:
    """A figure in inches, with room for its stamp."""
    with mpl.rc_context(STYLE):
        return Figure(figsize=(width, height), layout="constrained")


def what_was_read(job: Job) -> list[Section]:
    """What reading the records left out or changed, where there is anything to say."""
    if not job.taken:
        return []
    taken = job.taken[-1]
    rows = [(f"{n} records left out", reason) for reason, n in taken.left_out.items()]
    rows += [("", note) for note in taken.notes]
    if not rows:
        return []
    table = pd.DataFrame(rows, columns=["records", "what"])
    return [Section("records", "The records", f"{taken.kept} were read.", job.source, table=table)]


def write_page(folder: Path, name: str, summary: str, source: str, sections: list[Section], job: Job) -> None:
    """Write index.html, figures/*.png, tables/*.csv and study.json."""
    shown = []
    for each in sections:
        pictures = [(each.title, _png(each))] if each.figure is not None else []
        pictures += each.sheets
        for i, (_, png) in enumerate(pictures):
            _write(folder / "figures" / (f"{each.key}-{i}.png" if i else f"{each.key}.png"), png)
        if each.table is not None:
            _write(folder / "tables" / f"{each.key}.csv", each.table.to_csv(index=False))
        shown.append(
            {
                "title": each.title,
                "text": each.text,
                "stamp": each.stamp,
                "pictures": [(alt, "data:image/png;base64," + base64.b64encode(png).decode()) for alt, png in pictures],
                "svg": Markup(each.svg),
                "columns": [] if each.table is None else list(each.table.columns),
                "rows": [] if each.table is None else [[_cell(v) for v in row] for row in each.table.to_numpy(object)],
            }
        )
    template = files("ecgveil.studies").joinpath("study.html.j2").read_text(encoding="utf-8")
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    html = page.from_string(template).render(
        real_colour=REAL_COLOUR,
        synthetic_colour=SYNTHETIC_COLOUR,
        name=name,
        summary=summary,
        source=source,
        sections=shown,
    )
    write_atomic(folder / "index.html", html)
    facts = {
        "notice": "synthetic data beside real; not for clinical use",
        "study": name,
        "source": source,
        "data": job.source,
        "scale": job.scale,
        "all patients": job.all_patients,
        "seed": job.seed,
        "settings changed": job.changes,
        "versions": {package: version(package) for package in ("ecgveil", "torch", "numpy")},
        "sections": {each.key: each.stamp for each in sections},
    }
    write_atomic(folder / "study.json", json.dumps(facts, indent=1) + "\n")


def _png(section: Section) -> bytes:
    """The figure with its stamp below it, so that it cannot be shown without."""
    fig = section.figure
    assert fig is not None
    fig.supxlabel(section.stamp, fontsize=6.5, color=STAMP_COLOUR, ha="right", x=0.995, wrap=True)
    return to_png(fig)


def _write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, content)


def _cell(value: object) -> tuple[str, bool]:
    """What is shown, and whether it is bold."""
    return f"{value:.3g}" if isinstance(value, float) else str(value), isinstance(value, Best)
