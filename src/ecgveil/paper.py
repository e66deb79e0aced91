"""ECGs on ECG paper, at true scale: 25 mm/s and 10 mm/mV, on a grid of 1 mm and 5 mm.

Everything is drawn in millimetres: one axes covers the page, and its unit is the millimetre. So a figure of 10 s is
250 mm of trace wide whatever its resolution, and a browser that is told the width in millimetres shows true scale.
"""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from ecgveil.ecg import ECGSet
from ecgveil.errors import RecordError
from ecgveil.leads import LEADS_12

MM_PER_S = 25.0
MM_PER_MV = 10.0
MM_PER_INCH = 25.4

REAL_COLOUR = "#1d4f91"
SYNTHETIC_COLOUR = "#b8430a"
PAPER, FINE_GRID, COARSE_GRID, INK = "#fffdfa", "#f7e3dd", "#ecc0b5", "#3a3a3a"

GRID_3X4 = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
RHYTHM_LEAD = "II"
STRIP_LEADS = ("II", "V2", "V5")

_LEFT, _RIGHT, _TOP, _BOTTOM = 15.0, 5.0, 15.0, 10.0  # margins, mm
_LEAST, _MOST = 10.0, 40.0  # room above and below a baseline, mm


def draw_12lead(ecgs: ECGSet, row: int, *, title: str = "", synthetic: bool) -> Figure:
    """One ECG on ECG paper.

    Twelve leads of 10 s or more are drawn as on a ward: three rows of four columns of 2.5 s, one after the other in
    time, and lead II below them as the rhythm strip (the first 10 s). Fewer leads or less time are drawn as stacked
    strips, up to 10 s. The median of each trace is taken off, as the high-pass of a recorder would, and what lies more
    than 40 mm from the baseline is drawn at 40 mm; nothing else is changed.

    Parameters
    ----------
    ecgs : the set that holds it, in mV (another unit is drawn at 10 mm per unit, and the calibration mark names it)
    row : its position in the set
    title : heading, without any identity
    synthetic : True writes SYNTHETIC across the picture

    Returns
    -------
    Figure
        Of exact size; `fig.get_figwidth() * 25.4` is its width in mm.

    Raises
    ------
    RecordError
        There is no such row.
    """
    _check_rows(ecgs, [row])
    signal = _centred(ecgs, row)
    if ecgs.seconds < 10 or not set(LEADS_12) <= set(ecgs.leads):
        return _draw_stack(ecgs, signal, title, synthetic)
    column = int(2.5 * ecgs.fs)
    lines: list[list[tuple[str, np.ndarray]]] = []
    for names in GRID_3X4:
        pieces = [signal[ecgs.leads.index(name), i * column : (i + 1) * column] for i, name in enumerate(names)]
        lines.append(list(zip(names, pieces, strict=True)))
    lines.append([(RHYTHM_LEAD, signal[ecgs.leads.index(RHYTHM_LEAD), : 4 * column])])
    return _draw_lines(ecgs, lines, title, synthetic)


def draw_strips(
    ecgs: ECGSet,
    rows: Sequence[int],
    *,
    title: str = "",
    synthetic: bool,
    leads: Sequence[str] | None = None,
    seconds: float = 2.5,
    columns: int = 4,
) -> Figure:
    """Several ECGs side by side on one sheet, a few leads of each: for pictures along training.

    Parameters
    ----------
    ecgs, rows : the set, and the positions to draw
    title, synthetic : as for `draw_12lead`
    leads : leads to draw. Default: II, V2 and V5 where the set has them, otherwise up to three of its leads
    seconds : length drawn from the start of each
    columns : ECGs beside each other

    Raises
    ------
    RecordError
        No row is asked for, or one that is not there, or a lead that is neither there nor computable.
    """
    _check_rows(ecgs, rows)
    if leads is None:
        leads = [name for name in STRIP_LEADS if name in ecgs.leads] or list(ecgs.leads[:3])
    few = ecgs.take(rows).pick(leads)
    length = min(few.n_samples, max(1, round(seconds * few.fs)))
    signals = [_centred(few, i)[:, :length] for i in range(len(few))]
    lines = []
    for start in range(0, len(signals), columns):
        group = signals[start : start + columns]
        lines += [[(name, each[i]) for each in group] for i, name in enumerate(few.leads)]
    return _draw_lines(ecgs, lines, title, synthetic, gap_mm=5.0)


def to_png(fig: Figure, dpi: int = 110) -> bytes:
    """The figure as PNG, in memory."""
    buffer = io.BytesIO()
    FigureCanvasAgg(fig)
    fig.savefig(buffer, format="png", dpi=dpi, metadata={"Software": "ecgveil"})
    return buffer.getvalue()


def width_mm(fig: Figure) -> float:
    """Width of a figure in millimetres, for CSS."""
    return fig.get_figwidth() * MM_PER_INCH


def _check_rows(ecgs: ECGSet, rows: Sequence[int]) -> None:
    if not len(rows):
        raise RecordError("no row to draw; name at least one")
    for row in rows:
        if not 0 <= row < len(ecgs):
            raise RecordError(f"row {row} is not among the {len(ecgs)} ECGs; use 0 to {len(ecgs) - 1}")


def _centred(ecgs: ECGSet, row: int) -> np.ndarray:
    signal = ecgs.signal[row]
    return signal - np.median(signal, axis=-1, keepdims=True)


def _draw_stack(ecgs: ECGSet, signal: np.ndarray, title: str, synthetic: bool) -> Figure:
    """All leads below each other, up to 10 s."""
    length = min(ecgs.n_samples, int(10 * ecgs.fs))
    lines = [[(name, signal[i, :length])] for i, name in enumerate(ecgs.leads)]
    return _draw_lines(ecgs, lines, title, synthetic)


def _draw_lines(
    ecgs: ECGSet,
    lines: Sequence[Sequence[tuple[str, np.ndarray]]],
    title: str,
    synthetic: bool,
    gap_mm: float = 0.0,
) -> Figure:
    """Lines of traces, each line a calibration mark and its named pieces, as a page just large enough for them."""
    step_mm = MM_PER_S / ecgs.fs
    longest = max(sum(len(piece) for _, piece in line) * step_mm + gap_mm * (len(line) - 1) for line in lines)
    room = [_room(line) for line in lines]
    width = _LEFT + max(5.0, _up5(longest)) + _RIGHT
    height = _TOP + sum(above + below for above, below in room) + _BOTTOM
    fig, ax = _page(width, height)
    y = height - _TOP
    for line, (above, below) in zip(lines, room, strict=True):
        y -= above
        _calibration(ax, y)
        _draw_line(ax, line, y, step_mm, gap_mm, SYNTHETIC_COLOUR if synthetic else REAL_COLOUR)
        y -= below
    _write_page(ax, ecgs, title, synthetic, width, height)
    return fig


def _draw_line(
    ax: Axes, line: Sequence[tuple[str, np.ndarray]], y: float, step_mm: float, gap_mm: float, colour: str
) -> None:
    x = _LEFT
    for i, (name, piece) in enumerate(line):
        if i and not gap_mm:
            ax.plot([x, x], [y - 3, y + 3], color=INK, lw=0.8)
        drawn = np.clip(MM_PER_MV * piece, -_MOST, _MOST)
        ax.plot(x + step_mm * np.arange(len(piece)), y + drawn, color=colour, lw=0.9, solid_joinstyle="round")
        ax.text(x + 1, y + 6.5, name, fontsize=8, weight="bold", color=INK, va="center")
        x += step_mm * len(piece) + gap_mm


def _room(line: Sequence[tuple[str, np.ndarray]]) -> tuple[float, float]:
    """Millimetres above and below the baseline that the traces of a line need, in whole 5 mm squares."""
    values = np.concatenate([piece for _, piece in line]) * MM_PER_MV
    above, below = max(float(values.max()), 0.0), max(float(-values.min()), 0.0)
    return _up5(min(max(above + 1, _LEAST), _MOST)), _up5(min(max(below + 1, _LEAST), _MOST))


def _up5(mm: float) -> float:
    return 5.0 * float(np.ceil(mm / 5.0 - 1e-9))


def _page(width: float, height: float) -> tuple[Figure, Axes]:
    fig = Figure(figsize=(width / MM_PER_INCH, height / MM_PER_INCH), facecolor=PAPER)
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.axis("off")
    for pitch, colour, line_width in ((1.0, FINE_GRID, 0.35), (5.0, COARSE_GRID, 0.6)):
        xs, ys = np.arange(0, width + 0.1, pitch), np.arange(0, height + 0.1, pitch)
        across = [((x, 0), (x, height)) for x in xs] + [((0, y), (width, y)) for y in ys]
        ax.add_collection(LineCollection(across, colors=colour, linewidths=line_width, zorder=0))
    return fig, ax


def _calibration(ax: Axes, y: float) -> None:
    """A pulse of 1 mV (10 mm) and 0.2 s (5 mm) before a line."""
    xs = np.array([-8.75, -7.5, -7.5, -2.5, -2.5, -1.25]) + _LEFT
    ax.plot(xs, y + np.array([0, 0, MM_PER_MV, MM_PER_MV, 0, 0]), color=INK, lw=0.8)


def _write_page(ax: Axes, ecgs: ECGSet, title: str, synthetic: bool, width: float, height: float) -> None:
    ax.text(5, height - 5, title, fontsize=9, weight="bold", color=INK, va="center")
    caption = f"25 mm/s   10 mm/{ecgs.units}   mark: 1 {ecgs.units}   {ecgs.fs:g} Hz"
    ax.text(5, 4, caption, fontsize=7, color=INK, va="center")
    if not synthetic:
        return
    size = min(70.0, 0.32 * width)
    ax.text(
        width / 2, height / 2, "SYNTHETIC", fontsize=size, color=SYNTHETIC_COLOUR, alpha=0.09, weight="bold",
        ha="center", va="center", rotation=15, zorder=1,
    )  # fmt: skip
    note = "SYNTHETIC - not for clinical use" if width > 110 else "SYNTHETIC"
    ax.text(width - 5, height - 5, note, fontsize=9, weight="bold", color=SYNTHETIC_COLOUR, ha="right", va="center")
