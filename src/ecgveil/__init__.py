"""ecgveil: a private ECG database in, a synthetic one out, with the evidence."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError, EcgveilError, EvaluationError, RecordError, RunError
from ecgveil.formats import inspect
from ecgveil.formats.wfdb_write import write
from ecgveil.measure import measure
from ecgveil.simulate import simulate
from ecgveil.split import split
from ecgveil.windows import read

if TYPE_CHECKING:
    from ecgveil.evaluation import evaluate
    from ecgveil.pipeline import release
    from ecgveil.sampling import load
    from ecgveil.training.fit import fit

__all__ = [
    "ConfigError",
    "ECGSet",
    "EcgveilError",
    "EvaluationError",
    "RecordError",
    "RunError",
    "evaluate",
    "fit",
    "inspect",
    "load",
    "measure",
    "read",
    "release",
    "simulate",
    "split",
    "write",
]

# Imported when first used, so that reading records does not wait for torch.
_LATER = {
    "evaluate": "ecgveil.evaluation",
    "fit": "ecgveil.training.fit",
    "load": "ecgveil.sampling",
    "release": "ecgveil.pipeline",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'ecgveil' has no attribute '{name}'")
