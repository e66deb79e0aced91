"""The base model that ships: a run folder whose optimizers are left out, named `base` wherever a run is asked for.

CARD.md beside this file says what it learned from, under which licences, and what the evidence is;
`scripts/train_base.py` makes it.
"""

from __future__ import annotations

from pathlib import Path

from ecgveil.errors import ConfigError, RunError

NAME = "base"
FOLDER = Path(__file__).parent / "run"


def find_run(run: str | Path) -> Path:
    """The folder of a run: what was given, or for `base` the one that ships.

    Raises
    ------
    RunError
        `base` could be something here as well.
    """
    if Path(run) != Path(NAME):
        return Path(run)
    if Path(run).exists():
        raise RunError(
            f"{NAME} is the model that ships, and something here has that name too; give the latter's whole path, "
            f"{Path(run).absolute()}, or rename it"
        )
    return FOLDER


def require_other_name(option: str, folder: str | Path) -> None:
    """ConfigError where a run is to be made in a folder whose name stands for the model that ships."""
    if Path(folder) == Path(NAME):
        raise ConfigError(f"{option} is {NAME}, which stands for the model that ships; choose another folder")
