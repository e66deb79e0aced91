"""Files written whole or not at all, and tensors that tell when they were damaged."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ecgveil.errors import RunError


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """OSErrors of writing into `folder` -> RunError that names it and the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(f"{folder}: the disk is full; free some space and run the same command again") from error
        raise RunError(f"{error.filename or folder}: cannot write ({error.strerror}); choose another folder") from error


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replace `path` by `content`; a crash leaves the old file or the new one."""
    data = content.encode() if isinstance(content, str) else content
    with _replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.partial")
    with disk_errors(path.parent):
        try:
            yield temporary
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], **facts: Any) -> None:
    """safetensors with `facts` (JSON values) and a digest of the content in its header; atomic."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"facts": json.dumps(facts), "sha256": _digest(tensors)}
    with _replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=header)
        except SafetensorError as error:  # it wraps a full disk in its own type
            raise OSError(errno.ENOSPC, str(error), str(path)) from error
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What `save_tensors` wrote; RunError where it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing; the run is damaged: fit again") from error
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} is damaged ({str(error).splitlines()[0]}); fit again into another folder") from error
    if header.get("sha256") != _digest(tensors):
        raise RunError(f"{path} is damaged (its content does not match its digest); fit again into another folder")
    return tensors, json.loads(header["facts"])


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def require_free(folder: Path) -> None:
    """RunError where `folder` holds something already."""
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise RunError(f"{folder} already holds something; choose another folder, or remove it first")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder filled under another name and renamed at the end: it is there whole or not at all."""
    require_free(folder)
    temporary = folder.with_name(f".{folder.name}.partial")
    with disk_errors(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            if folder.exists():
                folder.rmdir()  # it is empty
            os.rename(temporary, folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
