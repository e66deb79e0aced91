"""Settings of data that are no ECGs: tables and folders of images, which P1 sends through the same models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ecgveil.models import MODELS
from ecgveil.models.contract import Settings
from ecgveil.table_encoder import TABLE_ARRANGEMENTS
from ecgveil.training.objectives import OBJECTIVES

if TYPE_CHECKING:
    from ecgveil.recipe import Recipe


class _OtherSettings(Settings):
    """What an ECG recipe may ask of its data, and these never do."""

    fs: ClassVar[float] = 0.0
    cut: ClassVar[str] = "windows"
    labels: ClassVar[tuple[str, ...]] = ()
    classes: ClassVar[tuple[str, ...]] = ()
    conditions: ClassVar[tuple[str, ...]] = ()
    exclusive: ClassVar[bool] = False
    undersample: ClassVar[bool] = False
    other: ClassVar[str] = ""


class TableSettings(_OtherSettings):
    kind: Literal["table"]
    columns: tuple[str, ...] = Field((), description="names of the columns, for files without a header row")
    ignore: tuple[str, ...] = Field((), description="columns to leave out, such as a class or a record number")
    side: int = Field(7, ge=1, le=1000, description="of the square image that a row becomes, cells")


class ImageSettings(_OtherSettings):
    kind: Literal["images"]
    side: int = Field(64, ge=8, le=1024, description="that images are brought to, pixels")


OTHER_SETTINGS: dict[str, Any] = {"table": TableSettings, "images": ImageSettings}
# Of each kind, the standardizers and arrangements that there are.
OTHER_ENCODERS: dict[str, tuple[list[str], list[str]]] = {
    "table": (["min-max"], list(TABLE_ARRANGEMENTS)),
    "images": (["grey"], ["image"]),
}


def check_other(recipe: Recipe) -> None:
    """ValueError where encoder, model or training ask what such data cannot give."""
    kind, encoder, name = recipe.data.kind, recipe.encoder, recipe.model["architecture"]
    standardizers, arrangements = OTHER_ENCODERS[kind]
    for setting, known in (("standardize", standardizers), ("arrange", arrangements)):
        value = getattr(encoder, setting)
        if value not in known:
            raise ValueError(
                f"unknown encoder.{setting} '{value}'; for data.kind = '{kind}' there are {', '.join(known)}"
            )
    allowed = {"standardize", "arrange"} | ({"a"} if kind == "table" else set())
    foreign = encoder.model_dump(exclude_none=True).keys() - allowed
    if foreign:
        raise ValueError(f"encoder.{min(foreign)} is no setting for data.kind = '{kind}'; leave it out")
    if MODELS[name].dimensions != 3 or MODELS[name].needs_rhythm:
        able = " and ".join(name for name, each in MODELS.items() if each.dimensions == 3 and not each.needs_rhythm)
        raise ValueError(f"model {name} takes no images; {able} do")
    if OBJECTIVES[recipe.training.objective].classifies:
        raise ValueError(f"objective {recipe.training.objective} learns classes; data.kind = '{kind}' has none")
    if recipe.training.candidates or recipe.training.patience:
        raise ValueError(
            f"training.candidates are judged as ECGs; for data.kind = '{kind}' leave them and patience at 0"
        )
