"""Panels show what they are given."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from qdt_rl.experiments.figures import plot_panels
from qdt_rl.experiments.reports.panels import Curves, Profiles, Rows

LINES = {
    "dt": {1.0: np.array([1.0, 3.0]), 10.0: np.array([5.0])},
    "qdt": {1.0: np.array([4.0, 6.0]), 10.0: np.array([7.0, 9.0])},
}


@pytest.fixture
def axes():
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def test_curves_go_through_the_means_and_show_every_seed(axes):
    Curves("Title", "updates", "return", LINES, log_x=True, levels={"bc": 2.0}).draw(axes)
    dt, qdt, level = axes.lines
    assert dt.get_xydata().tolist() == [[1, 2], [10, 5]]
    assert qdt.get_xydata().tolist() == [[1, 5], [10, 8]]
    assert level.get_ydata() == [2.0, 2.0]
    points = [point for scatter in axes.collections for point in scatter.get_offsets().tolist()]
    assert points == [[1, 1], [1, 3], [10, 5], [1, 4], [1, 6], [10, 7], [10, 9]]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "10"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["dt", "qdt", "bc"]
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("Title", "updates", "return")


def test_an_agent_looks_the_same_in_every_panel(axes):
    Curves("", "", "", LINES).draw(axes)
    Curves("", "", "", {"qdt": LINES["qdt"], "other": LINES["dt"]}).draw(axes)
    Profiles("", {"qdt": np.array([1.0, 2.0])}).draw(axes)
    dt, qdt, alone, _, profile = axes.lines
    assert qdt.get_color() == alone.get_color() == profile.get_color() != dt.get_color()
    assert qdt.get_marker() == alone.get_marker()


def test_a_band_is_the_range_of_the_seeds(axes):
    Curves("", "", "", {"qdt": LINES["qdt"]}, as_band=True, log_y=True).draw(axes)
    (band,) = axes.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    assert corners == {(1, 4), (1, 6), (10, 7), (10, 9)}
    assert axes.get_yscale() == "log"


def test_names_stand_for_numbers_and_the_identity_is_drawn(axes):
    Curves("", "", "", {"qdt": LINES["qdt"]}, ticks=["a", "b"], identity=True).draw(axes)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    assert axes.lines[1].get_xydata().tolist() == [[1, 1], [10, 10]]


def test_rows_show_every_seed_the_mean_and_its_interval(axes):
    Rows("", "return", {"one": np.array([1.0, 3.0]), "two": np.array([7.0])}, {"expert": 9.0}).draw(axes)
    mean, interval, single, none, level = axes.lines
    assert mean.get_xydata().tolist() == [[2, 0]]
    assert interval.get_xydata().tolist() == [[1, 0], [3, 0]]
    assert single.get_xydata().tolist() == [[7, 1]]
    assert np.isnan(none.get_xdata()).all(), "one seed has no interval"
    assert level.get_xdata() == [9.0, 9.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first row stands on top"


def test_a_figure_of_panels_is_a_picture_and_the_same_each_time(tmp_path):
    panels = [Curves(str(i), "", "", LINES) for i in range(3)]
    for name in ("first.png", "second.png"):
        plot_panels(lambda axes, panel: panel.draw(axes), panels, tmp_path / name)
    first = (tmp_path / "first.png").read_bytes()
    assert first.startswith(b"\x89PNG\r\n\x1a\n")
    assert first == (tmp_path / "second.png").read_bytes()
