"""Recipes: every published system, and ours, as a file of settings.

A recipe is TOML, resolved into one frozen, typed `Recipe`; unknown keys are refused and all problems are told at once.
"""

from __future__ import annotations

import difflib
import inspect
import tomllib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tomli_w
from pydantic import Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from ecgveil.arrange import ARRANGEMENTS, arrangement, arrangement_settings
from ecgveil.complexes.parts import COMPLEXES, LEAST_SECONDS, LENGTH, numbers_of
from ecgveil.errors import ConfigError
from ecgveil.leads import LEADS_12
from ecgveil.models import MODELS, Model
from ecgveil.models.contract import Settings
from ecgveil.other_data import OTHER_SETTINGS, ImageSettings, TableSettings, check_other
from ecgveil.rhythm import STATISTICS
from ecgveil.standardize import STANDARDIZERS
from ecgveil.training.objectives import OBJECTIVES

Share = Annotated[float, Field(ge=0, lt=1)]
Label = Annotated[str, Field(min_length=1, max_length=200)]


class DataSettings(Settings):
    kind: Literal["ecg"] = Field("ecg", description="of data: ecg, table or images")
    leads: tuple[str, ...] = Field(min_length=1, description="leads the model learns, by standard name")
    fs: float = Field(ge=1, le=10_000, description="sampling rate the model works at, Hz")
    n_samples: int = Field(ge=16, le=1_000_000, description="length of a window, samples")
    reduce: bool = Field(False, description="lower a higher sampling rate without being asked to resample")
    units: Literal["mV", "sd"] = Field(
        "mV", description="of the signals; sd: each lead of each record over its own standard deviation"
    )
    cut: Literal["windows", "beats"] = Field("windows", description="what a sample is: a stretch of time, or one beat")
    labels: tuple[Label, ...] = Field((), description="labels to learn and to draw by; none: all ECGs alike")
    exclusive: bool = Field(False, description="labels are classes: an ECG counts for the first of them that it bears")
    other: str = Field("", max_length=200, description="class of ECGs that bear none of `labels`; none: left out")
    undersample: bool = Field(False, description="train on as many windows of each class as the smallest has")
    conditions: tuple[Literal["sex", "age", "heart_rate"], ...] = Field(
        (), description="what else to learn and to draw by, beside labels"
    )

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that a condition has a value for: `labels`, and `other` where there is such a class."""
        return (*self.labels, self.other) if self.other else self.labels


def _kind(data: Any) -> str:
    return str(data.get("kind", "ecg") if isinstance(data, dict) else getattr(data, "kind", "ecg"))


if TYPE_CHECKING:
    AnyData = Any  # which of the three it is, is known where it is used
else:
    AnyData = Annotated[
        Annotated[DataSettings, Tag("ecg")]
        | Annotated[TableSettings, Tag("table")]
        | Annotated[ImageSettings, Tag("images")],
        Discriminator(_kind),
    ]


class EncoderSettings(Settings):
    standardize: str = Field(description="step 1: per-lead, min-max (P1 eq. 2) or adapted-range (P1 eq. 3)")
    arrange: str = Field(
        description="step 2: waveform; z, transposed, reversed, stripes, blocks, shuffled or own; complexes (veil)"
    )
    order_seed: int | None = Field(None, ge=0, lt=2**32, description="shuffled: seed of the order of samples")
    order: tuple[int, ...] | None = Field(None, description="own: the order of samples, each of them once")
    unit_sd: float | None = Field(
        None, gt=0, le=1e4, description="per-lead: standard deviations that the value 1 stands for"
    )
    a: int | None = Field(None, ge=0, le=254, description="images: lowest grey level of a value; below it is NULL")
    span_mv: float | None = Field(None, gt=0, le=1e4, description="adapted-range: voltage span of the grey levels, mV")
    span_sd: float | None = Field(
        None, gt=0, le=1e4, description="adapted-range: the same in standard deviations, for data.units = 'sd'"
    )


class TrainingSettings(Settings):
    objective: Literal[tuple(OBJECTIVES)] = Field(description="what critic and generator minimise")  # type: ignore[valid-type]
    epochs: int | None = Field(None, ge=1, description="passes over the training windows; this or steps")
    steps: int | None = Field(None, ge=1, description="generator updates; this or epochs")
    most_passes: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="passes over the training windows after which steps end all the same: few would be learned by "
        "heart; 0 for no limit",
    )
    batch: int = Field(ge=2, le=4096, description="windows an update")
    critic_steps: int = Field(1, ge=1, le=100, description="critic updates a generator update")
    learning_rate: float = Field(gt=0, lt=1, description="of Adam, both players")
    betas: tuple[Share, Share] = Field(description="of Adam")
    decay: float = Field(0.0, ge=0, le=1, description="last share of the steps over which the rate falls to 0")
    penalty: float = Field(0.0, ge=0, le=1e6, description="weight of the gradient penalty")
    penalty_every: int = Field(1, ge=1, description="critic updates from one penalty to the next")
    class_weight: float = Field(1.0, ge=0, le=1e4, description="of the auxiliary classifier's loss")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="one-sided: real targets are 1 less this")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the averaged generator that is sampled; 0 for none")
    augment_gain: float = Field(
        0.0,
        ge=0,
        le=10,
        description="SD of the log gain given to real and synthetic alike; veil: 0 leaves out all its changes",
    )
    augment_noise: float = Field(0.0, ge=0, le=1e4, description="SD of the noise given to both, model units")
    marginals: float = Field(
        0.0, ge=0, le=100, description="veil: weight of how simple features are distributed, beside the critic's loss"
    )
    marginals_batch: int = Field(128, ge=8, le=4096, description="synthetic samples of which that is told")
    marginals_every: int = Field(2, ge=1, le=100, description="generator updates from one such comparison to the next")
    pictures: int = Field(8, ge=0, le=200, description="sample pictures along training")
    snapshots: int = Field(0, ge=0, le=200, description="averaged generators kept along training, evenly")
    candidates: int = Field(
        0,
        ge=0,
        le=100,
        description="averaged generators judged along the last half, the best kept; 0, or none to judge by: the last",
    )
    choose_by: Literal["mix", "frechet", "class-accuracy"] = Field(
        "mix",
        description="what candidates are judged by: likeness to the validation part in a mix of figures, or in Frechet "
        "distance; or the accuracy of the critic's class head",
    )
    patience: int = Field(
        0, ge=0, le=100, description="candidates in a row no better than the best, then stop; 0: never"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the networks; bfloat16, weights still in float32, is faster where processors have it"
    )
    processes: int = Field(
        1, ge=1, le=64, description="that train side by side, each on its share of a batch; each has its share of cores"
    )
    checkpoint_seconds: float = Field(30.0, gt=0, description="time between checkpoints; changes no number, s")

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSettings:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")
        return self

    @model_validator(mode="after")
    def _shares(self) -> TrainingSettings:
        for name in ("batch", "marginals_batch") if self.marginals else ("batch",):
            number = getattr(self, name)
            if number % self.processes or number // self.processes < 2:
                raise ValueError(
                    f"processes is {self.processes} and {name} {number}; each needs an equal share, of two or more"
                )
        return self


class Recipe(Settings):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,60}$", description="letters, digits, space, . _ -")
    summary: str = Field(description="one sentence")
    source: str = Field(description="the publication, with section")
    data: AnyData
    encoder: EncoderSettings
    model: dict[str, Any] = Field(description="architecture, and that architecture's own settings")
    training: TrainingSettings

    @field_validator("model")
    @classmethod
    def _resolved(cls, model: dict[str, Any]) -> dict[str, Any]:
        """Every setting of the architecture written out, so that equal recipes compare equal."""
        architecture = model.get("architecture", "")
        if not isinstance(architecture, str) or architecture not in MODELS:
            raise ValueError(_unknown("architecture", str(architecture), MODELS))
        own = {key: value for key, value in model.items() if key != "architecture"}
        try:
            settings = MODELS[architecture].settings(**own)
        except ValidationError as error:
            raise ValueError(_problems(error, {"model": model}, group="model.")) from error
        return {"architecture": architecture, **settings.model_dump(mode="json")}

    @model_validator(mode="after")
    def _penalty(self) -> Recipe:
        objective = self.training.objective
        if OBJECTIVES[objective].penalised and getattr(self.model_settings(), "critic_norm", "none") == "batch":
            raise ValueError(
                f"objective {objective} penalises the gradient of each window, and model.critic_norm = 'batch' "
                "makes it depend on the others; set it to 'none'"
            )
        return self

    @model_validator(mode="after")
    def _names(self) -> Recipe:
        if self.data.kind != "ecg":
            check_other(self)
            return self
        for lead in self.data.leads:
            if lead not in LEADS_12:
                raise ValueError(f"data.leads: {_unknown('lead', lead, LEADS_12)}")
        if len(set(self.data.labels)) < len(self.data.labels):
            raise ValueError(f"data.labels names a label twice: {', '.join(self.data.labels)}")
        if len(set(self.data.conditions)) < len(self.data.conditions):
            raise ValueError(f"data.conditions names something twice: {', '.join(self.data.conditions)}")
        for value, kind, known in (
            (self.encoder.standardize, "encoder.standardize", STANDARDIZERS),
            (self.encoder.arrange, "encoder.arrange", {**ARRANGEMENTS, COMPLEXES: None}),
        ):
            if value not in known:
                raise ValueError(_unknown(kind, value, known))
        self._check_fit()
        return self

    def _check_fit(self) -> None:
        """Standardizer, arrangement and model go together."""
        name, layout, own = self.encoder.standardize, self.encoder.arrange, self.encoder_settings()
        if (layout == COMPLEXES) != (self.model["architecture"] == "veil"):
            raise ValueError(f"encoder.arrange = '{COMPLEXES}' and model veil go together, and with nothing else")
        if layout == COMPLEXES:
            if own or name != "per-lead" or self.encoder.span_sd:
                raise ValueError(
                    f"encoder.arrange = '{COMPLEXES}' goes with standardize = 'per-lead', without settings"
                )
            self._check_complexes()
            return
        shape = self._arranged_shape({key: own.pop(key) for key in ("order_seed", "order") if key in own})
        known = set(inspect.signature(STANDARDIZERS[name]).parameters)
        known |= {"span_sd"} if "span_mv" in known else set()
        foreign = (own.keys() | ({"span_sd"} if self.encoder.span_sd else set())) - known
        if foreign:
            raise ValueError(f"encoder.{min(foreign)} is no setting of the {name} standardizer; leave it out")
        model = MODELS[self.model["architecture"]]
        if self.training.marginals:
            raise ValueError(f"training.marginals is for model veil; leave it out with {self.model['architecture']}")
        if len(shape) != model.dimensions:
            takes = "waveform" if model.dimensions == 2 else "z"
            raise ValueError(f"model {self.model['architecture']} takes encoder.arrange = '{takes}', not '{layout}'")
        self._check_classes(model)
        self._check_beats(model)
        if self.data.n_samples % model.multiple:
            raise ValueError(f"data.n_samples is {self.data.n_samples}; the model needs a multiple of {model.multiple}")

    def _check_complexes(self) -> None:
        """What taking ECGs apart needs."""
        data, model = self.data, MODELS["veil"]
        self._check_classes(model)
        self._check_beats(model)
        if data.n_samples / data.fs < LEAST_SECONDS:
            raise ValueError(
                f"data.n_samples is {data.n_samples}, {data.n_samples / data.fs:g} s; the model needs "
                f"{LEAST_SECONDS:g} s or more, for four beats"
            )
        if numbers_of(data.leads, data.fs) + len(STATISTICS) >= LENGTH:
            raise ValueError(
                f"data.leads are {len(data.leads)}, too many for model veil at {data.fs:g} Hz; give the 8 independent "
                "ones (I, II, V1 to V6), of which the other four are computed"
            )
        if self.training.augment_noise:
            raise ValueError("training.augment_noise is no setting of model veil, whose critic adds noise of its own")

    def _check_classes(self, model: Model) -> None:
        """Labels and classes go together with model and objective."""
        data, name, objective = self.data, self.model["architecture"], self.training.objective
        for setting in ("other", "undersample"):
            if getattr(data, setting) and not data.exclusive:
                raise ValueError(f"data.{setting} is about classes; set data.exclusive = true, or leave it out")
        if data.other in data.labels:
            raise ValueError(f"data.other is '{data.other}', which is one of data.labels too; name it otherwise")
        if data.exclusive and len(data.classes) < 2:
            told = ", ".join(data.classes) or "none"
            raise ValueError(f"data.exclusive needs two classes at least, data.labels and data.other are {told}")
        classifies = OBJECTIVES[objective].classifies
        if data.labels and not model.takes_conditions and not (classifies and model.classifies):
            able = ", ".join(name for name, each in MODELS.items() if each.takes_conditions)
            heads = " or ".join(name for name, each in OBJECTIVES.items() if each.classifies)
            with_head = f"; it learns classes if training.objective is {heads}" if model.classifies else ""
            raise ValueError(f"model {name} takes no data.labels; {able} do{with_head}")
        if classifies and not model.classifies:
            able = ", ".join(name for name, each in MODELS.items() if each.classifies)
            raise ValueError(f"objective {objective} asks for a class head, model {name} has none; take one of {able}")
        if classifies and not data.exclusive:
            raise ValueError(f"objective {objective} learns classes; set data.labels, and data.exclusive = true")
        if classifies and data.conditions:
            told = ", ".join(data.conditions)
            raise ValueError(f"objective {objective} learns classes alone; leave data.conditions ({told}) out")
        if data.conditions and not model.takes_conditions:
            able = ", ".join(name for name, each in MODELS.items() if each.takes_conditions)
            raise ValueError(f"model {name} takes no data.conditions; {able} do")

    def _check_beats(self, model: Model) -> None:
        """What takes several beats is not asked of one."""
        if self.data.cut != "beats":
            return
        if model.needs_rhythm:
            raise ValueError(f"model {self.model['architecture']} learns the rhythm; data.cut = 'beats' leaves none")
        if "heart_rate" in self.data.conditions:
            raise ValueError("data.conditions has heart_rate, which a single beat (data.cut = 'beats') does not show")

    def _arranged_shape(self, layout: dict[str, Any]) -> tuple[int, ...]:
        name = self.encoder.arrange
        if foreign := layout.keys() - arrangement_settings(name):
            raise ValueError(f"encoder.{min(foreign)} is no setting of the {name} arrangement; leave it out")
        try:
            return arrangement(name, len(self.data.leads), self.data.n_samples, **layout).shape
        except ConfigError as error:
            raise ValueError(str(error)) from error

    def model_settings(self) -> Settings:
        """The architecture's own settings, typed."""
        own = {key: value for key, value in self.model.items() if key != "architecture"}
        return MODELS[self.model["architecture"]].settings(**own)

    def encoder_settings(self) -> dict[str, Any]:
        """What goes to the standardizer and the arrangement."""
        own = self.encoder.model_dump(exclude={"standardize", "arrange", "span_sd"}, exclude_none=True)
        if self.data.units == "sd" and self.encoder.standardize == "adapted-range":
            if self.encoder.span_sd is None:
                raise ValueError("data.units is 'sd': give encoder.span_sd, the span of the grey levels, such as 11")
            own["span_mv"] = self.encoder.span_sd
        return own

    def n_steps(self, n_windows: int) -> int:
        """Generator updates for a training part of `n_windows`."""
        t = self.training
        if t.steps and not t.most_passes:
            return t.steps
        passes = t.most_passes if t.steps else t.epochs
        of_passes = max(1, -(-passes * n_windows // (t.batch * t.critic_steps)))  # type: ignore[operator]
        return min(t.steps or of_passes, of_passes)

    def to_toml(self) -> str:
        """The recipe as resolved: every setting written out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("ecgveil") / "recipes"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_recipe(recipe: str | Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """A recipe by name or from a .toml file, with `overrides` such as {"training.steps": 100}.

    Raises
    ------
    ConfigError
        Unknown recipe or setting, with the nearest name; or values out of range, all at once.
    """
    table, origin = _read(recipe)
    for path, value in (overrides or {}).items():
        group, _, key = path.rpartition(".")
        if group in ("data", "encoder", "model", "training"):
            table.setdefault(group, {})
        if group not in table or not isinstance(table[group], dict):
            raise ConfigError(_unknown("setting", path, _setting_names(table)))
        table[group][key] = value
        if group == "training" and key in ("steps", "epochs"):  # one replaces the other
            table[group].pop({"steps": "epochs", "epochs": "steps"}[key], None)
    try:
        return Recipe(**table)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_problems(error, table)}") from error
    except TypeError as error:
        raise ConfigError(f"{origin}: {error}") from error


def parse_overrides(assignments: list[str]) -> dict[str, Any]:
    """['training.steps=100', ...] -> {'training.steps': 100, ...}; values are TOML, or else plain text."""
    found: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or "." not in key:
            raise ConfigError(f"--set {assignment}: write it as group.name=value, such as training.steps=100")
        try:
            found[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            found[key.strip()] = text
    return found


def _read(recipe: str | Path) -> tuple[dict[str, Any], str]:
    path = Path(recipe)
    if path.suffix == ".toml":
        if not path.is_file():
            raise ConfigError(f"{path}: no such recipe file")
        text, origin = path.read_bytes(), str(path)
    elif str(recipe) in recipe_names():
        text, origin = (resources.files("ecgveil") / "recipes" / f"{recipe}.toml").read_bytes(), f"recipe {recipe}"
    else:
        raise ConfigError(_unknown("recipe", str(recipe), recipe_names()) + " (or give the path of a .toml file)")
    try:
        return tomllib.loads(text.decode()), origin
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{origin}: not a TOML file: {error}") from error


def _setting_names(table: dict[str, Any]) -> list[str]:
    data = OTHER_SETTINGS.get(_kind(table.get("data")), DataSettings)
    typed: dict[str, Any] = {"data": data, "encoder": EncoderSettings, "training": TrainingSettings}
    architecture = table.get("model", {}).get("architecture")
    if architecture in MODELS:
        typed["model"] = MODELS[architecture].settings
    return [f"{group}.{name}" for group, settings in typed.items() for name in settings.model_fields]


def _unknown(kind: str, value: str, known: Any) -> str:
    near = difflib.get_close_matches(value, list(known), n=1, cutoff=0.5)
    return f"unknown {kind} '{value}'; " + (f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}")


def _problems(error: ValidationError, table: dict[str, Any], group: str = "") -> str:
    """All problems in one line."""
    told = []
    for problem in error.errors():
        where = [str(each) for each in problem["loc"]]
        if where[:1] == ["data"]:  # the kind that was tried is no part of the setting's name
            where[1:2] = [each for each in where[1:2] if each not in ("ecg", *OTHER_SETTINGS)]
        path = group + ".".join(where)
        message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "it should be")
        if problem["type"] == "extra_forbidden":
            told.append(_unknown("setting", path, _setting_names(table)))
        elif problem["type"] == "union_tag_invalid":
            told.append(_unknown("data.kind", problem["ctx"]["tag"], ("ecg", *OTHER_SETTINGS)))
        elif problem["type"] == "missing":
            told.append(f"{path} is missing")
        elif problem["type"] == "value_error":
            told.append(message)
        else:
            told.append(f"{path} is {problem['input']!r}: {message}")
    return "; ".join(told)
