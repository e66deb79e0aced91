"""The studies of the three papers: each trains its recipe on given data, and draws the paper's figures and tables.

`reproduce` runs one. What a study draws is stamped with the data, the scale and the steps it was made with, and stands
beside what the paper published.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ecgveil.errors import ConfigError
from ecgveil.files import new_folder, require_apart, require_free
from ecgveil.recipe import load_recipe
from ecgveil.studies import deepfake, images, piacentino, pon_bharathi, thyroid
from ecgveil.studies.job import Job, Tell
from ecgveil.studies.page import Section, what_was_read, write_page

__all__ = ["STUDIES", "Study", "reproduce"]


class Study(NamedTuple):
    """`run` takes the job and the folder being made, and returns the page's sections; `recipes[0]` names the source."""

    summary: str
    recipes: tuple[str, ...]
    run: Callable[[Job, Path], list[Section]]

    @property
    def source(self) -> str:
        return load_recipe(self.recipes[0]).source


STUDIES: dict[str, Study] = {
    **{name: Study(load_recipe(name).summary, (name,), piacentino.images) for name in piacentino.RECIPES},
    "piacentino-acgan": Study(
        "Three classes, with and without undersampling, and the accuracy of the class head along training",
        ("piacentino-acgan",),
        piacentino.classes,
    ),
    "deepfake": Study(
        "WaveGAN* and Pulse2Pulse on normal ECGs: share called normal at each checkpoint, measurements, a bulk set",
        deepfake.RECIPES,
        deepfake.run,
    ),
    **{
        name: Study(f"Measures along training of: {load_recipe(name).summary}", (name,), pon_bharathi.run)
        for name in pon_bharathi.RECIPES
    },
    "thyroid": Study(load_recipe("thyroid").summary, ("thyroid",), thyroid.run),
    **{name: Study(load_recipe(name).summary, (name,), images.run) for name in images.RECIPES},
}


def reproduce(
    name: str,
    out: str | Path,
    *,
    data: str | Path | Sequence[str | Path] = (),
    scale: float = 1.0,
    all_patients: bool = False,
    seed: int = 0,
    changes: dict[str, Any] | None = None,
    tell: Tell = lambda stage, done, total, details: None,
) -> Path:
    """Run a paper's study, and write its page.

    Interrupted, the same command goes on where it stopped: the runs lie beside `out`, in `<out>-runs`.

    Parameters
    ----------
    name : one of `STUDIES`
    out : folder to make: `index.html`, `figures/` and `tables/`
    data : folders of records (of images, or a table, where the study is of these); none: the embedded clinic
    scale : share of the published epochs, of the numbers drawn, and of the patients of `data`, above 0 and up to 1;
        every figure states it
    all_patients : train on all patients whatever the scale; for data much fewer than the paper's
    seed : of everything drawn
    changes : settings to change in every recipe, such as {"training.steps": 3000}; every figure states the steps
    tell : called with (stage, done, total, details)

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    ConfigError, RecordError, RunError
        With the value and the remedy.
    """
    if name not in STUDIES:
        raise ConfigError(f"unknown study '{name}'; there are {', '.join(STUDIES)}")
    if not 0 < scale <= 1:
        raise ConfigError(f"scale is {scale:g}; give a share above 0 and up to 1")
    out = Path(out)
    require_free(out)
    folders = (data,) if isinstance(data, str | Path) else tuple(data)
    runs = out.absolute().with_name(f"{out.absolute().name}-runs")
    for place in (out, runs):
        require_apart("--out", place, map(Path, folders))
    study = STUDIES[name]
    job = Job(name, tuple(Path(each) for each in folders), runs, scale, seed, dict(changes or {}), tell, all_patients)
    with new_folder(out) as building:
        sections = [*study.run(job, building), *what_was_read(job)]
        write_page(building, name, study.summary, study.source, sections, job)
    return out / "index.html"
