"""What the command line prints: consoles, progress, and what was read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

# No markup: record names and labels are printed as they are, brackets and colons included.
out_console = Console(highlight=False, markup=False, emoji=False)
error_console = Console(stderr=True, highlight=False, markup=False, emoji=False)
_NOTES = 20

Tell = Callable[[str, int, int, dict[str, Any]], None]


@contextmanager
def progress() -> Iterator[Tell]:
    """Bars on a terminal; elsewhere (a log) a line now and then."""
    if not error_console.is_terminal:
        yield _log_lines()
        return
    with Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[told]}"),
        console=error_console,
    ) as bars:
        tasks: dict[str, Any] = {}

        def tell(stage: str, done: int, total: int, details: dict[str, Any]) -> None:
            _warn(details)
            if stage not in tasks or bars.tasks[tasks[stage]].total != total:
                tasks[stage] = bars.add_task(stage, total=total, told="")
            bars.update(tasks[stage], completed=done, told=_details(details))

        yield tell


def _log_lines(every_s: float = 10.0) -> Tell:
    said: dict[str, float] = {}

    def tell(stage: str, done: int, total: int, details: dict[str, Any]) -> None:
        _warn(details)
        now = time.monotonic()
        ended = done == total and said.get(stage, now) < 0  # negative: its start was told
        if ended or now - abs(said.setdefault(stage, now)) >= every_s:
            left = ""
            if "seconds_per_step" in details:
                left = f", {details['seconds_per_step'] * (total - done):.0f} s left"
            error_console.print(f"{stage} {done}/{total} {_details(details)}{left}".rstrip(), soft_wrap=True)
            said[stage] = -now

    return tell


def _warn(row: dict[str, Any]) -> None:
    """What the monitors of training found, when they find it."""
    for warning in row.get("warning", ()):
        error_console.print(f"warning: {warning['text']}", soft_wrap=True)
    for kind in row.get("recovered", ()):
        error_console.print(f"step {row['step']}: {kind} has passed", soft_wrap=True)


def _details(row: dict[str, Any]) -> str:
    if "critic_loss" not in row:
        return ""
    speed = 1 / row["seconds_per_step"] if row["seconds_per_step"] else 0.0
    return f"critic {row['critic_loss']:.3f}  generator {row['generator_loss']:.3f}  {speed:.1f} steps/s"


def print_summary(counts: dict[str, Any]) -> None:
    table = Table(box=None, show_header=False)
    table.add_row("records", f"{counts['records']}, of which {counts['kept']} kept")
    table.add_row("patients", _patients(counts))
    for key, title, unit in (("fs", "sampling rate", " Hz"), ("seconds", "length", " s"), ("leads", "leads", "")):
        table.add_row(title, listed(counts[key], unit))
    table.add_row("labels", listed(counts["labels"], most=12))
    table.add_row("left out", listed(counts["reasons"]))
    table.add_row("put right", listed(counts["notes"]))
    out_console.print(table)


def _patients(counts: dict[str, Any]) -> str:
    unknown = counts["without_patient"]
    return f"{counts['patients']} known" + (f"; {unknown} records name no patient" if unknown else "")


def listed(counted: dict[Any, int], unit: str = "", most: int = 6) -> str:
    shown = [f"{_plain(value)}{unit} ({n})" for value, n in list(counted.items())[:most]]
    more = len(counted) - most
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "") or "none"


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def print_notes(notes: list[str]) -> None:
    for note in notes[:_NOTES]:
        error_console.print(note, soft_wrap=True)
    if len(notes) > _NOTES:
        error_console.print(f"and {len(notes) - _NOTES} more lines like these")


def print_answers(file: Path) -> None:
    """The three answers of the evidence, of their file, without their reasons."""
    table = Table(box=None, show_header=False)
    for each in json.loads(file.read_text(encoding="utf-8")):
        table.add_row(each["question"], each["answer"])
    out_console.print(table)


def print_intake(taken: Any) -> None:
    left_out = sum(taken.left_out.values())
    told = f"{taken.kept} records kept, {len(taken.findings) - taken.kept} left out"
    if left_out:
        told += f" ({listed(taken.left_out)}; `ecgveil inspect` tells more)"
    error_console.print(told, soft_wrap=True)
    for note in taken.notes:
        error_console.print(note, soft_wrap=True)
