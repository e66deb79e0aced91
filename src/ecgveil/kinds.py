"""The kinds of data that a generator learns from: what training and sampling ask of each.

A data set of any kind has `len`, `take(rows)`, `patient_id` and `labels`, by which it is split; an encoder has `shape`,
`encode`, `decode` and `to_json`. `evaluate` and `release` are for ECGs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ecgveil.complexes import COMPLEXES
from ecgveil.complexes.encoder import ComplexEncoder
from ecgveil.ecg import ECGSet, concat
from ecgveil.encoder import Encoder
from ecgveil.errors import ConfigError, RecordError
from ecgveil.image_encoder import ImageEncoder
from ecgveil.images import ImageSet, join_images, read_images, to_png, write_images
from ecgveil.rhythm import LEAST_RECORDS
from ecgveil.split import MIN_PATIENTS
from ecgveil.table_encoder import TableEncoder, grey_levels
from ecgveil.tables import TableSet, join_tables, read_table, write_table

if TYPE_CHECKING:
    from ecgveil.recipe import Recipe

_TILE = 96  # pixels of the side of one sample in a picture along training, at the least


DataSet = Any  # an ECGSet, a TableSet or an ImageSet


class Kind(NamedTuple):
    """One kind of data."""

    data: Any  # the type of a set
    read: str  # what makes it
    join: Callable[[Any], Any]  # a list of sets -> one
    encoder: Any
    fit_encoder: Callable[[Any, Recipe, Callable[[int, int], object]], Any]  # tells how far it is
    check_form: Callable[[Any, Recipe], None]
    learnable: Callable[[Any, Recipe], tuple[Any, dict[str, Any]]] = lambda data, recipe: (data, {})


def _ecg_form(ecgs: ECGSet, recipe: Recipe) -> None:
    data = recipe.data
    found = (ecgs.leads, ecgs.fs, ecgs.n_samples, ecgs.units)
    if found != (data.leads, data.fs, data.n_samples, data.units):
        raise RecordError(
            f"recipe {recipe.name} takes {data.n_samples} samples of {', '.join(data.leads)} at {data.fs:g} Hz in "
            f"{data.units}, these ECGs have {ecgs.n_samples} of {', '.join(ecgs.leads)} at {ecgs.fs:g} Hz in "
            f"{ecgs.units}; read them with read(folder, leads=..., fs=..., n_samples=...)"
        )


class EcgEncoder:
    """Either of the two: signals as they are, or taken apart."""

    @staticmethod
    def from_json(data: dict[str, Any]) -> Encoder | ComplexEncoder:
        return (ComplexEncoder if "complexes" in data else Encoder).from_json(data)


def _fit_ecg(train: ECGSet, recipe: Recipe, progress: Callable[[int, int], object]) -> Encoder | ComplexEncoder:
    if recipe.encoder.arrange == COMPLEXES:
        return ComplexEncoder.fit(train, progress)
    return Encoder.fit(train, recipe.encoder.standardize, recipe.encoder.arrange, **recipe.encoder_settings())


def readable(ecgs: ECGSet, recipe: Recipe) -> ECGSet:
    """The ECGs that can be taken apart, where the recipe takes them apart; else all."""
    if recipe.encoder.arrange != COMPLEXES:
        return ecgs
    rows = ComplexEncoder.readable(ecgs)
    return ecgs if len(rows) == len(ecgs) else ecgs.take(rows.tolist())


def _learnable_ecg(train: ECGSet, recipe: Recipe) -> tuple[ECGSet, dict[str, Any]]:
    """The ECGs that can be taken apart, where they are to be; and how many cannot, for provenance."""
    if recipe.encoder.arrange != COMPLEXES:
        return train, {}
    kept = readable(train, recipe)
    if len(kept) < LEAST_RECORDS:
        raise RecordError(
            f"{len(kept)} of {len(train)} training ECGs have the four beats that taking them apart needs; "
            f"{LEAST_RECORDS} are needed: use longer windows or records with visible beats"
        )
    return kept, {"without_beats": len(train) - len(kept)}


def _table_form(table: TableSet, recipe: Recipe) -> None:
    cells = recipe.data.side**2
    if len(table.names) > cells:
        raise RecordError(
            f"{len(table.names)} columns do not fit {recipe.data.side} x {recipe.data.side} cells; "
            "raise data.side, or leave columns out with data.ignore"
        )


def _fit_table(train: TableSet, recipe: Recipe, progress: Callable[[int, int], object]) -> TableEncoder:
    a = 1 if recipe.encoder.a is None else recipe.encoder.a
    return TableEncoder.fit(train, recipe.encoder.arrange, side=recipe.data.side, a=a)


def _image_form(images: ImageSet, recipe: Recipe) -> None:
    side = recipe.data.side
    if images.side != side:
        raise RecordError(
            f"recipe {recipe.name} takes images of {side} x {side} pixels, these have {images.side} x {images.side}; "
            f"read them with read_images(folder, {side})"
        )


KINDS = {
    "ecg": Kind(ECGSet, "read()", concat, EcgEncoder, _fit_ecg, _ecg_form, _learnable_ecg),
    "table": Kind(TableSet, "read_table()", join_tables, TableEncoder, _fit_table, _table_form),
    "images": Kind(
        ImageSet, "read_images()", join_images, ImageEncoder, lambda train, *_: ImageEncoder.fit(train), _image_form
    ),
}


def require_ecgs(recipe: Recipe, what: str) -> None:
    """ConfigError where a recipe for other data is given to what is made for ECGs."""
    if recipe.data.kind != "ecg":
        raise ConfigError(
            f"{what} is for ECGs, recipe {recipe.name} is for data.kind = '{recipe.data.kind}'; use fit and sample"
        )


def read_others(
    paths: Sequence[str | Path], recipe: Recipe, progress: Callable[[int, int], object] = lambda done, total: None
) -> tuple[TableSet | ImageSet, list[str]]:
    """Tables or folders of images in the form that `recipe` asks for, joined; and notes on what was read.

    Raises
    ------
    RecordError
        One cannot be used as it is.
    """
    data = recipe.data
    if data.kind == "table":
        tables, notes = zip(
            *(read_table(path, columns=data.columns, ignore=data.ignore) for path in paths), strict=True
        )
        table = join_tables(tables)
        told = [f"{len(table)} rows of {len(table.names)} columns kept", *dict.fromkeys(chain(*notes))]
        return table, told
    sets, skipped = zip(*(read_images(path, data.side, progress=progress) for path in paths), strict=True)
    images = join_images(sets)
    left_out = list(chain(*skipped))
    return images, [
        f"{len(images)} images of {len(set(images.patient_id))} people kept, {len(left_out)} left out",
        *(f"left out  {each.name}  {each.reason}" for each in left_out),
        *unparted(images),
    ]


def unparted(images: ImageSet) -> list[str]:
    """Said where pictures lie in folders, which were too few to stand for people."""
    folders = {name.rpartition("/")[0] for name in images.name}
    if len(folders) < 2 or images.patient_id != images.name:
        return []
    return [
        f"{len(folders)} folders are fewer than the {MIN_PATIENTS} people that a split needs, so each image counts as "
        "a person: those of one person may be learned from and held out at once, and copies then mean less"
    ]


def write_others(
    batches: Iterable[TableSet | ImageSet], folder: Path, progress: Callable[[int], object] = lambda done: None
) -> int:
    """Synthetic rows as `table.csv`, or images as PNG files; how many there were."""
    number = 0
    tables = []
    for made in batches:
        if isinstance(made, TableSet):
            tables.append(made)
        else:
            write_images(made, folder)
        number += len(made)
        progress(number)
    if tables:
        write_table(join_tables(tables), folder / "table.csv")
    return number


def draw_squares(tensor: np.ndarray) -> bytes:
    """Samples (n, 1, side, side) side by side, enlarged without smoothing, as PNG that says it is synthetic."""
    times = max(1, -(-_TILE // tensor.shape[-1]))
    tiles = [np.kron(grey_levels(each[0]), np.ones((times, times))) for each in tensor]
    framed = [np.pad(tile, times, constant_values=128) for tile in tiles]
    return to_png(np.concatenate(framed, axis=1).astype(np.uint8))
