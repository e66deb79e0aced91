"""The run folder: all that `fit` leaves behind, and all that resuming and sampling need.

recipe.toml          settings as resolved
encoder.json         the fitted encoder
population.json      the fitted rhythm, where the model has one, and the conditions, where any are learned
weights.safetensors  the generator that is sampled: the last averaged one, or the candidate chosen
state.safetensors    both players, averages and optimizers: the full state to resume from
metrics.jsonl        one line for each logged step
pictures/            synthetic samples along training
snapshots/           generators along training, where the recipe keeps any
provenance.json      versions, seed, counts, fingerprint of the data; nothing of any patient
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ecgveil.errors import ConfigError, RunError
from ecgveil.files import disk_errors, new_folder, write_atomic
from ecgveil.kinds import KINDS
from ecgveil.models.conditions import Conditions
from ecgveil.models.contract import Context
from ecgveil.recipe import Recipe, load_recipe
from ecgveil.rhythm import LabelledRhythm, Rhythm
from ecgveil.training.choosing import lost_patience
from ecgveil.training.tensors import load_tensors, read_facts, save_tensors

_SEALED = ("recipe.toml", "encoder.json", "population.json", "provenance.json")


class RunFolder:
    """An existing run folder, its small files read and checked.

    Raises
    ------
    RunError
        The folder is missing, is no run, or is damaged.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_dir():
            raise RunError(f"{self.path}: no such run folder; make one with `ecgveil fit`")
        if not (self.path / "recipe.toml").is_file():
            raise RunError(f"{self.path} is not a run folder: it has no recipe.toml; give the --out of a fit")
        self._check_seal()
        try:
            self.recipe: Recipe = load_recipe(self.path / "recipe.toml")
        except ConfigError as error:
            raise RunError(f"{error}; the run is damaged: fit again into another folder") from error
        self.encoder: Any = KINDS[self.recipe.data.kind].encoder.from_json(self._json("encoder.json"))
        self.provenance: dict[str, Any] = self._json("provenance.json")
        population = self._json("population.json")
        conditions, rhythm = population.get("conditions"), population["rhythm"]
        self.conditions: Conditions | None = Conditions.from_json(conditions) if conditions else None
        self.rhythm: Rhythm | LabelledRhythm | None = None
        if rhythm:
            self.rhythm = LabelledRhythm.from_json(rhythm) if conditions else Rhythm(**rhythm)

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        recipe: Recipe,
        encoder: Any,
        rhythm: Rhythm | LabelledRhythm | None,
        conditions: Conditions | None = None,
        provenance: dict[str, Any],
        state: dict[str, torch.Tensor],
        weights: dict[str, torch.Tensor],
    ) -> RunFolder:
        """Write a run at step 0; it is there whole or not at all."""
        with new_folder(path) as folder:
            (folder / "pictures").mkdir()
            write_atomic(folder / "recipe.toml", recipe.to_toml())
            write_atomic(folder / "encoder.json", json.dumps(encoder.to_json(), indent=1))
            population = {"rhythm": rhythm.to_json() if rhythm else None}
            if conditions:
                population["conditions"] = conditions.to_json()
            write_atomic(folder / "population.json", json.dumps(population, indent=1))
            write_atomic(folder / "provenance.json", json.dumps(provenance, indent=1))
            write_atomic(folder / "metrics.jsonl", "")
            seal = _seal(folder)
            save_tensors(folder / "state.safetensors", state, step=0, seal=seal)
            save_tensors(folder / "weights.safetensors", weights, step=0, seal=seal)
        return cls(path)

    @property
    def context(self) -> Context:
        """What the run's model must know of its data."""
        data = self.recipe.data
        return Context(self.encoder.shape, data.fs, self.rhythm, self.conditions.size if self.conditions else 0)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else writes meanwhile; the lock dies with its process."""
        with open(self.path / "recipe.toml", "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunError(f"{self.path}: another process is training this run; wait for it") from error
            yield

    def save(
        self,
        step: int,
        state: dict[str, torch.Tensor],
        weights: dict[str, torch.Tensor],
        choice: dict[str, Any] | None = None,
    ) -> None:
        """Write a checkpoint: the state at `step`, and the weights to sample, of the candidate `choice` if any.

        The weights go first and know by themselves how they were chosen: should the state not follow, training that
        goes on from the older one comes by the same candidate again.
        """
        facts = {"choice": choice} if choice else {}
        save_tensors(self.path / "weights.safetensors", weights, step=step, seal=_seal(self.path), **facts)
        save_tensors(self.path / "state.safetensors", state, step=step, seal=_seal(self.path))

    def load_state(self) -> tuple[dict[str, torch.Tensor], int]:
        """The training state, and the step it was saved at; the log is cut back to that step."""
        state, facts = load_tensors(self.path / "state.safetensors")
        self.load_weights()  # damaged, they are an error too, though the state could mend them
        rows = [row for row in self.metrics() if row["step"] <= facts["step"]]
        write_atomic(self.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        return state, facts["step"]

    def load_weights(self, snapshot: int | None = None) -> tuple[dict[str, torch.Tensor], int]:
        """The weights to sample, and the step that training had reached; `choice` tells which step they are of.

        With `snapshot`, those that were kept at that step instead.
        """
        if snapshot is None:
            path = self.path / "weights.safetensors"
        else:
            path = self._snapshot(snapshot)
            if not path.is_file():
                kept = ", ".join(map(str, self.snapshots())) or "none; fit with training.snapshots"
                raise RunError(f"{self.path} keeps no generator of step {snapshot}; it keeps {kept}")
        weights, facts = load_tensors(path)
        if facts.get("seal") != _seal(self.path):
            raise RunError(f"{path} belongs to another run; fit again into another folder")
        return weights, facts["step"]

    def require_step(self, step: int) -> None:
        """Raise a RunError where another process has trained on since this step was read."""
        if (now := read_facts(self.path / "state.safetensors")["step"]) != step:
            raise RunError(
                f"{self.path} was trained on to step {now} by another process meanwhile; give the same command again"
            )

    def save_snapshot(self, step: int, weights: dict[str, torch.Tensor]) -> None:
        """Keep the averaged generator of this step."""
        path = self._snapshot(step)
        with disk_errors(self.path):
            path.parent.mkdir(exist_ok=True)
        save_tensors(path, weights, step=step, seal=_seal(self.path))

    def snapshots(self) -> list[int]:
        """Steps of which a generator is kept."""
        return sorted(
            int(file.stem.removeprefix("step-")) for file in (self.path / "snapshots").glob("step-*.safetensors")
        )

    def _snapshot(self, step: int) -> Path:
        return self.path / "snapshots" / f"step-{step:07d}.safetensors"

    def load_chosen(self) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None]:
        """The weights to sample, and the step and score of the candidate that they are; None where none was judged."""
        weights, facts = load_tensors(self.path / "weights.safetensors")
        return weights, facts.get("choice")

    def choice(self) -> dict[str, Any] | None:
        """How the weights to sample were chosen; None where the recipe has no candidates, or training is not there yet.

        Returns
        -------
        dict
            step : the weights are of; None where none was judged, and the weights are the last ones
            score : of that candidate, the lower the better; None where none was judged
            floor : what real ECGs of the training part score; None where they have no score
            ended : whether training ended because no better candidate came
            candidates : list of {'step', 'score', and the score's parts}, in order of step
            note : '' or why none was judged
        """
        if not self.recipe.training.candidates:
            return None
        rows = [
            {"step": row["step"]}
            | {key.removeprefix("choice_"): value for key, value in row.items() if key.startswith("choice_")}
            for row in self.metrics()
        ]
        note = self.provenance.get("choice_note", "")
        judged = [row for row in rows if "score" in row]
        if not judged and not note:
            return None
        floor = next((row.pop("floor") for row in judged if "floor" in row), None)
        chosen = read_facts(self.path / "weights.safetensors").get("choice") or {"step": None, "score": None}
        ended = self.total_steps < self.planned_steps
        return {**chosen, "floor": floor, "ended": ended, "candidates": judged, "note": note}

    def left_out(self) -> list[str]:
        """Sentences on training records that were not trained on."""
        number = self.provenance.get("without_beats", 0)
        if not number:
            return []
        return [f"{number} training records were left out: no rhythm of four beats could be read in them"]

    def shortened(self) -> list[str]:
        """A sentence where there were too few training records for all steps of the recipe."""
        t, steps = self.recipe.training, self.planned_steps
        if not t.steps or steps == t.steps:
            return []
        return [
            f"training took {steps} of {t.steps} steps, {t.most_passes} passes over the training records: in more, so "
            "few would be learned by heart (training.most_passes)"
        ]

    def remarks(self) -> list[str]:
        """What whoever trained it is told, a sentence each."""
        return [*self.left_out(), *self.shortened()]

    @property
    def planned_steps(self) -> int:
        """Steps that the recipe asks for."""
        return self.recipe.n_steps(self.provenance["counts"]["train"]["windows"])

    @property
    def total_steps(self) -> int:
        """Steps of the whole training: those planned, unless `training.patience` ended it before."""
        if not lost_patience(self.scores(), self.recipe.training.patience):
            return self.planned_steps
        return max(row["step"] for row in self.metrics() if "choice_score" in row)

    def scores(self) -> list[float]:
        """Of the candidates judged so far, in order of step."""
        return [row["choice_score"] for row in self.metrics() if "choice_score" in row]

    def warnings(self) -> list[dict[str, Any]]:
        """What the monitors found, in order of step.

        Returns
        -------
        list of dict
            step : at which it was said; kind; since : the step from which it held; figure; text : what was printed;
            until : the step at which it had passed, None where it did not
        """
        found: list[dict[str, Any]] = []
        for row in self.metrics():
            found += [{**warning, "until": None} for warning in row.get("warning", ())]
            for warning in found:
                if warning["until"] is None and warning["kind"] in row.get("recovered", ()):
                    warning["until"] = row["step"]
        return found

    def log(self, row: dict[str, Any]) -> None:
        with disk_errors(self.path), open(self.path / "metrics.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The logged rows; a last line cut short by a crash is dropped."""
        path = self.path / "metrics.jsonl"
        if not path.is_file():
            raise RunError(f"{path} is missing; the run is damaged: fit again")
        rows = []
        lines = path.read_text(errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                row = None
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                rows.append(row)
            elif number < len(lines):
                raise RunError(f"{path}: line {number} is damaged; fit again into another folder")
        return rows

    def pictures(self) -> list[tuple[int, bytes]]:
        """(step, PNG) of the sample pictures, in order of step."""
        files = (self.path / "pictures").glob("step-*.png")
        return sorted((int(file.stem.removeprefix("step-")), file.read_bytes()) for file in files)

    def save_picture(self, step: int, png: bytes) -> None:
        write_atomic(self.path / "pictures" / f"step-{step:07d}.png", png)

    def _check_seal(self) -> None:
        """The small files are those that the weights were made with."""
        try:
            seal = _seal(self.path)
        except FileNotFoundError as error:
            raise RunError(f"{error.filename} is missing; the run is damaged: fit again") from error
        for name in ("weights.safetensors", "state.safetensors"):
            if read_facts(self.path / name).get("seal") != seal:
                small = ", ".join(_SEALED)
                raise RunError(f"{self.path} is damaged: one of {small} does not belong to {name}; fit again")

    def _json(self, name: str) -> dict[str, Any]:
        return json.loads((self.path / name).read_text())  # sealed: what is there is what was written


def _seal(folder: Path) -> str:
    """One digest of the small files, kept beside the tensors: a file of another run, or an edited one, shows."""
    digest = hashlib.sha256()
    for name in _SEALED:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()
