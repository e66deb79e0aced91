"""Tensors on disk that tell when they were damaged: safetensors with a digest of the content in the header."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ecgveil.errors import RunError
from ecgveil.files import disk_errors, replacing


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], **facts: Any) -> None:
    """safetensors with `facts` (JSON values) and a digest of the content in its header; atomic."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    told = json.dumps(facts)
    header = {"facts": told, "sha256": _digest(tensors, told)}
    with disk_errors(path.parent), replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=header)
        except SafetensorError as error:  # it wraps a full disk in its own type
            raise OSError(errno.ENOSPC, str(error), str(path)) from error
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What `save_tensors` wrote; RunError where it is missing or damaged."""
    with _opened(path) as file:
        header = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    if header.get("sha256") != _digest(tensors, header.get("facts", "")):
        raise RunError(f"{path} is damaged (its content does not match its digest); fit again into another folder")
    return tensors, json.loads(header["facts"])


def read_facts(path: Path) -> dict[str, Any]:
    """The facts alone, unchecked but for their form; RunError where the file is missing or unreadable."""
    with _opened(path) as file:
        try:
            return dict(json.loads((file.metadata() or {})["facts"]))
        except (KeyError, ValueError) as error:
            raise RunError(f"{path} is damaged (its header is not ours); fit again into another folder") from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing; the run is damaged: fit again") from error
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} is damaged ({str(error).splitlines()[0]}); fit again into another folder") from error


def _digest(tensors: dict[str, torch.Tensor], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
