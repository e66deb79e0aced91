"""A small picture of a figure: its value and interval, and where real ECGs against real ones lie."""

from __future__ import annotations

import numpy as np

from ecgveil.evaluation import Metric

_WIDTH, _HEIGHT, _EDGE = 180, 22, 6  # pixels
_SHARES = ("_share", "_auc", "_auroc", "_ks", "precision", "recall", "coverage", "_tpr_at_fpr_")


def picture(metric: Metric) -> str:
    """Inline SVG: dot and line for the value with its interval, a tall tick for the floor; '' without a value."""
    values = np.array([metric.value, metric.ci_low, metric.ci_high, metric.floor, metric.target])
    known = values[np.isfinite(values)]
    if not np.isfinite(metric.value):
        return ""
    if any(part in metric.name for part in _SHARES):
        low, high = 0.0, 1.0
    else:
        low, high = min(0.0, known.min()), max(known.max(), 0.0)
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return _EDGE + (value - low) / span * (_WIDTH - 2 * _EDGE)

    middle = _HEIGHT / 2
    parts = [_line(_EDGE, _WIDTH - _EDGE, middle, "faint", 1)]
    if np.isfinite(metric.floor):
        at = x(metric.floor)
        parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="2" y2="{_HEIGHT - 2}" stroke="var(--real)" stroke-width="2"/>'
        )
    if np.isfinite(metric.ci_low) and np.isfinite(metric.ci_high):
        parts.append(_line(x(metric.ci_low), x(metric.ci_high), middle, "synthetic", 2))
    parts.append(f'<circle cx="{x(metric.value):.1f}" cy="{middle}" r="4" fill="var(--synthetic)"/>')
    told = f"value on a line from {low:.3g} to {high:.3g}"
    return f'<svg class="figure" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{told}">{"".join(parts)}</svg>'


def _line(start: float, end: float, y: float, colour: str, width: float) -> str:
    return f'<line x1="{start:.1f}" x2="{end:.1f}" y1="{y}" y2="{y}" stroke="var(--{colour})" stroke-width="{width}"/>'
