import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from ecgveil.errors import EvaluationError
from ecgveil.evaluation.along import MEASURES, REAL
from ecgveil.report.along_figure import PANELS, draw_along, save_along, svg


def followed(n: int = 4, **columns: object) -> pd.DataFrame:
    """A table as `along` makes it, every measure improving."""
    steps = [*range(500, 500 * n, 500), REAL]
    better = np.linspace(0.2, 0.9, len(steps))
    values = {name: better if side == "higher" else 1 - better for name, side in MEASURES.items()}
    values |= {
        f"{name}_{end}": of + by for name, of in dict(values).items() for end, by in (("low", -0.05), ("high", 0.05))
    }
    table = pd.DataFrame(values, index=steps).assign(n=123, **columns)
    form = {"form": "beats", "seconds": 0.7, "n_leads": 1, "lead": "II", "n_rules": 17, "units": "mV"}
    table.attrs |= form
    return table


def words(fig) -> str:
    return " ".join("".join(ElementTree.fromstring(svg(fig)).itertext()).split())


def test_every_panel_is_there_with_its_floor_and_its_best():
    fig = draw_along(followed(), title="wgan-gp on beats")
    panels = [ax for ax in fig.axes if ax.lines]
    assert [ax.get_title(loc="left").strip() for ax in panels] == [panel.title for panel in PANELS.values()]
    for ax, name in zip(panels, PANELS, strict=True):
        lines = {line.get_label().split(":")[0]: line for line in ax.lines}
        factor = 100 if PANELS[name].share else 1
        drawn = followed()[name] * factor
        assert lines["real ECGs in their place"].get_ydata()[0] == pytest.approx(drawn[REAL])
        assert lines["best checkpoint of the panel"].get_xdata()[0] == 1500
        np.testing.assert_allclose(lines["synthetic, 95 % interval"].get_ydata(), drawn.iloc[:-1])


def test_it_says_how_many_and_at_what_scale():
    told = words(draw_along(followed(), title="wgan-gp on beats", axis="step"))
    assert "wgan-gp on beats" in told
    assert "n = 123 ECGs on each side, for each step" in told
    assert "single beats of 0.7 s, 1 lead" in told
    assert "full length" in told
    assert "goes with rules: -1.00" in told
    assert "3 checkpoints of one training" in told
    assert "SCALE 0.05" in words(draw_along(followed(), scale=0.05))


def test_what_is_not_measured_is_said():
    fig = draw_along(followed(accuracy=np.nan, macro_f1=np.nan, fid=np.nan))
    told = words(fig)
    assert len(re.findall("not measured", told)) == 3
    assert "Grey bar" not in told
    assert words(draw_along(followed(n=2)))  # a single checkpoint


def test_png_and_svg_are_written_and_the_same_twice(tmp_path):
    png, drawn = save_along(draw_along(followed()), tmp_path / "figure 3")
    assert (png.name, drawn.name) == ("figure 3.png", "figure 3.svg")
    assert png.read_bytes()[:4] == b"\x89PNG"
    assert drawn.read_text() == svg(draw_along(followed()))
    assert "var(--" not in drawn.read_text()  # it stands alone, without the page's colours


@pytest.mark.parametrize(("table", "scale"), [(followed(n=1), 1.0), (followed(), 0.0), (followed(), 1.5)])
def test_nothing_to_draw(table, scale):
    with pytest.raises(EvaluationError, match="checkpoints at scale"):
        draw_along(table, scale=scale)
