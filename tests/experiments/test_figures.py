import itertools

import matplotlib.colors
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from qdt_rl.experiments import figures
from qdt_rl.experiments.figures import (
    draw_requested_returns,
    draw_returns,
    plot_requested_returns,
    plot_returns,
)


@pytest.fixture
def axes():
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot()


@pytest.fixture
def requested(make_score):
    """Two agents at three targets, out of order, each with a mean of its own."""
    return [
        make_score(agent, target, [mean - 5, mean + 5], mean - 2, mean + 3)
        for agent, shift in (("qdt", 10.0), ("bc", -400.0))
        for target in (300.0, -200.0, 100.0)
        for mean in [target + shift]
    ]


def bars(container):
    """The ends of an errorbar's bars, (n, 2 ends, 2 coordinates)."""
    return np.array(container.lines[2][0].get_segments())


def test_a_row_shows_every_episode_the_mean_and_its_interval(axes, make_score):
    scores = [make_score("qdt"), make_score("negative", returns=[-50.0, -10.0], low=-45.0, high=-12.0)]
    draw_returns(axes, scores)
    for row, (points, score) in enumerate(zip(axes.collections[::2], scores, strict=True)):
        np.testing.assert_array_equal(points.get_offsets()[:, 0], score.result.returns)
        assert np.abs(points.get_offsets()[:, 1] - row).max() < 0.25
    for row, (bar, score) in enumerate(zip(axes.containers, scores, strict=True)):
        assert bar.lines[0].get_xydata().tolist() == [[score.result.mean, row]]
        np.testing.assert_allclose(bars(bar)[0], [[score.low, row], [score.high, row]])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["qdt", "negative"]
    assert [text.get_text() for text in axes.texts] == [
        "110 [95, 125]",
        "-30 [-45, -12]",
        "mean [95 % interval]",
    ]
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first agent stands on top"


def test_a_single_episode_has_a_mean_and_no_interval(axes, make_score):
    draw_returns(axes, [make_score(returns=[42.0], low=None, high=None)])
    assert axes.texts[0].get_text() == "42"
    np.testing.assert_array_equal(bars(axes.containers[0])[0], [[42, 0], [42, 0]])


def test_equal_returns_whose_mean_is_rounded_past_the_interval(axes, make_score):
    draw_returns(axes, [make_score(returns=[0.1] * 3, low=np.nextafter(np.mean([0.1] * 3), 1), high=0.11)])
    draw_requested_returns(axes, [make_score(returns=[0.1] * 3, low=0.09, high=np.nextafter(0.1, 0))])
    assert len(axes.containers) == 2


def test_drawing_is_the_same_each_time(make_score, tmp_path):
    for name in ("first.png", "second.png"):
        plot_returns([make_score()], tmp_path / name, "Title")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_a_line_shows_what_was_achieved_for_each_target_in_order(axes, requested):
    draw_requested_returns(axes, requested)
    qdt, bc = axes.containers
    assert qdt.lines[0].get_xydata().tolist() == [[-200, -190], [100, 110], [300, 310]]
    assert bc.lines[0].get_xydata().tolist() == [[-200, -600], [100, -300], [300, -100]]
    np.testing.assert_allclose(bars(qdt)[0], [[-200, -192], [-200, -187]])
    diagonal = axes.lines[0]
    assert diagonal.get_xydata().tolist() == [[-200, -200], [300, 300]]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["achieved = requested", "qdt", "bc"]


def test_the_ceiling_and_the_data_are_drawn_if_they_are_known(axes, requested, make_score):
    draw_requested_returns(axes, requested, make_score("expert"), np.array([-250.0, 17.0, 320.0]))
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["expert"].get_ydata() == [110, 110]
    assert lines["episodes in the data"].get_xdata().tolist() == [-250, 17, 320]


def test_many_agents_can_be_told_apart(axes, make_score):
    scores = [make_score(f"agent {i}", target) for i in range(40) for target in (0.0, 1.0)]
    draw_requested_returns(axes, scores)
    lines = [container.lines[0] for container in axes.containers]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 40


def luminance(colour):
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in matplotlib.colors.to_rgb(colour)
    ]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_colours_are_tols_and_dark_enough_for_white_paper():
    assert len(set(figures.COLOURS)) == len(figures.COLOURS)
    assert all(luminance(colour) < 0.6 for colour in figures.COLOURS)


@pytest.mark.parametrize("n_agents", [1, 5, 17])
def test_no_label_covers_another(axes, make_score, n_agents):
    names = [f"{'a long name of ' * (i % 2)}agent {i}" for i in range(n_agents)]
    figure = axes.figure
    figure.set_size_inches(8.0, 1.3 + 0.5 * n_agents)
    draw_returns(axes, [make_score(name, returns=[-1e4, 1e4]) for name in names])
    figure.draw_without_rendering()
    low, high = axes.get_xlim()
    ticks = [tick.label1 for tick in axes.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    labels = [*axes.get_yticklabels(), *ticks, *axes.texts, axes.xaxis.label]
    boxes = [label.get_window_extent() for label in labels if label.get_text()]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    page = figure.bbox
    assert all(page.x0 <= box.x0 and box.x1 <= page.x1 for box in boxes)


def test_files_are_pictures(make_score, requested, tmp_path):
    plot_returns([make_score()], tmp_path / "deep" / "scores.png", "Title")
    plot_requested_returns(requested, tmp_path / "requested.png", "Title")
    for path in (tmp_path / "deep" / "scores.png", tmp_path / "requested.png"):
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    plot_returns([make_score()], tmp_path / "scores.svg", "Title")
    assert b"<svg" in (tmp_path / "scores.svg").read_bytes()


def test_a_figure_that_cannot_be_drawn_leaves_the_old_file(make_score, tmp_path):
    path = tmp_path / "scores.png"
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        plot_returns([make_score(returns=[1.0], low="low")], path, "Title")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
