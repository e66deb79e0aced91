"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ecgveil.errors import ConfigError, RunError


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """OSErrors of writing into `folder` -> RunError that names it and the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(f"{folder}: the disk is full; free some space and run the same command again") from error
        raise RunError(f"{error.filename or folder}: cannot write ({error.strerror}); choose another folder") from error


def write_atomic(path: Path, content: bytes | str, *, durable: bool = True) -> None:
    """Replace `path` by `content`; a crash leaves the old file or the new one.

    `durable` waits for the disk, so that a power cut is no exception; needless for files that can be made again.
    """
    write_together(path.parent, {path.name: content.encode() if isinstance(content, str) else content}, durable)


def write_together(folder: Path, contents: dict[str, bytes], durable: bool = False) -> None:
    """Write files that belong together: first all under temporary names, then each in its place, in the
    order given: give last what tells of the others, such as a header."""
    with disk_errors(folder), ExitStack() as stack:
        # Entered last first, as the stack ends first what came last: each takes its place in the order given.
        temporary = {name: stack.enter_context(replacing(folder / name)) for name in reversed(contents)}
        for path, content in ((temporary[name], content) for name, content in contents.items()):
            with open(path, "wb") as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())


def write_plainly(folder: Path, contents: dict[str, bytes]) -> None:
    """Write files into a folder that is not yet in its place itself."""
    with disk_errors(folder):
        for name, content in contents.items():
            with open(folder / name, "wb") as file:
                file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which takes the place of `path` at the end."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make `folder`, and those above it, where they are not there."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def require_free(folder: Path) -> None:
    """RunError where `folder` holds something already."""
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise RunError(f"{folder} already holds something; choose another folder, or remove it first")


def within(place: Path, folder: Path) -> bool:
    """Whether `place` is `folder` or lies in it, by whatever links they are named."""
    return place.resolve().is_relative_to(folder.resolve())


def require_apart(name: str, place: Path, folders: Iterable[Path]) -> None:
    """ConfigError where `place`, which option `name` gives, lies in one of the folders of data."""
    for folder in folders:
        if within(place, folder):
            raise ConfigError(f"{name} {place} lies in {folder}, whose records it would join; choose another place")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder filled under another name and renamed at the end: it is there whole or not at all."""
    require_free(folder)
    target = folder.absolute()  # so that '.' has a name to build beside
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    with disk_errors(folder), ExitStack() as stack:
        for left in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):  # by a process that was killed
            with suppress(OSError), _held(left):
                shutil.rmtree(left, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
        except OSError as error:
            error.filename = None  # name the folder that was asked for
            raise
        with suppress(OSError):  # a file system without locks: then nobody else can take it either
            stack.enter_context(_held(temporary))
        try:
            yield temporary
            if target.exists():
                target.rmdir()  # it is empty
            os.rename(temporary, target)
        except RunError as error:  # from within: name the folder that was asked for
            error.args = (str(error).replace(str(temporary), str(folder)),)
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """A lock on a folder, which dies with its process, on whatever machine that is: OSError where another holds it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
