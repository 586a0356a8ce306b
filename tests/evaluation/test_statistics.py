import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from qdt_rl.errors import ConfigError, InputError
from qdt_rl.evaluation.statistics import (
    bootstrap_interval,
    crossed_interval,
    improvement_interval,
    interquartile_mean,
    probability_of_improvement,
    student_interval,
    widest_interval,
)
from qdt_rl.experiments.reports.panels import performance_profile

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=23)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7.0], 7.0),
        ([1.0, 2.0, 6.0], 3.0),  # a quarter of three is no value
        ([1.0, 2.0, 3.0, 100.0], 2.5),
        ([100.0, 5.0, 1.0, 4.0, 6.0], 5.0),
        ([[8.0, 1.0, 2.0, 3.0], [4.0, 5.0, 60.0, -70.0]], 3.5),
    ],
)
def test_interquartile_mean_worked_by_hand(values, expected):
    assert interquartile_mean(values) == expected


@given(NUMBERS)
def test_interquartile_mean_drops_a_quarter_at_each_end(values):
    n_dropped = len(values) // 4
    kept = sorted(values)[n_dropped : len(values) - n_dropped]
    assert interquartile_mean(values) == pytest.approx(np.mean(kept), rel=1e-9, abs=1e-6)


def test_the_interval_is_that_of_every_resample():
    """Of (0, 1, 5) there are 27 resamples; so many draws of them must have nearly their exact percentiles."""
    values = np.array([0.0, 1.0, 5.0])
    means = np.sort([np.mean([a, b, c]) for a in values for b in values for c in values])
    # The means 0, 1/3, 2/3, 1, 5/3, 2, 7/3, 10/3, 11/3, 5 have 1, 3, 3, 1, 3, 6, 3, 3, 3, 1 resamples each.
    assert means[[0, 1, 4, 7, 8, 11, 17, 20, 23, 26]] == pytest.approx(
        [0, 1 / 3, 2 / 3, 1, 5 / 3, 2, 7 / 3, 10 / 3, 11 / 3, 5]
    )
    assert bootstrap_interval(values, confidence=0.8) == pytest.approx((1 / 3, 11 / 3))
    assert bootstrap_interval(values, confidence=0.95) == pytest.approx((0.0, 5.0))


def test_the_interval_of_a_mean_is_the_normal_one_for_many_values():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    margin = 1.96 * values.std() / 20
    assert bootstrap_interval(values) == pytest.approx(
        (values.mean() - margin, values.mean() + margin), abs=0.02
    )


def test_the_interquartile_mean_ignores_outliers_and_so_does_its_interval():
    values = np.append(np.random.default_rng(0).normal(size=97), [1e6, -1e6, 1e6])
    low, high = bootstrap_interval(values, "iqm")
    assert -1 < low < interquartile_mean(values) < high < 1


def test_students_interval_by_hand():
    # Mean 2, standard error 1 / √3 = 0.5774, t(2) = 4.3027: 2 ± 2.4841.
    assert student_interval(np.array([1.0, 2.0, 3.0])) == pytest.approx((-0.4841, 4.4841), abs=1e-4)
    assert np.isnan(student_interval(np.array([1.0]))).all()


def test_the_crossed_interval_is_that_of_drawing_runs_and_episodes_one_by_one():
    values = np.random.default_rng(2).gumbel(size=(4, 7))
    rng = np.random.default_rng(3)
    means = [values[np.ix_(rng.integers(0, 4, 4), rng.integers(0, 7, 7))].mean() for _ in range(20_000)]
    expected = np.quantile(means, [0.025, 0.975])
    assert crossed_interval(values) == pytest.approx(expected, abs=0.03)
    assert np.isnan(crossed_interval(values[:1])).all()


def test_the_crossed_interval_of_runs_or_episodes_that_are_alike_is_the_others_own():
    values = np.random.default_rng(4).normal(size=9)
    alike = np.tile(values, (3, 1))
    assert crossed_interval(alike) == pytest.approx(bootstrap_interval(values), abs=0.02)
    assert crossed_interval(alike.T) == pytest.approx(bootstrap_interval(values), abs=0.02)


def test_many_values_are_drawn_in_batches_and_give_the_same_interval(monkeypatch):
    values = np.random.default_rng(0).normal(size=300)
    in_batches = bootstrap_interval(values)
    monkeypatch.setattr("qdt_rl.evaluation.statistics._BATCH", 10**9)
    assert bootstrap_interval(values) == in_batches


def test_the_seed_counts():
    values = np.random.default_rng(1).normal(size=31)
    assert bootstrap_interval(values, seed=5) == bootstrap_interval(values, seed=5)
    assert bootstrap_interval(values, seed=5) != bootstrap_interval(values, seed=6)


@pytest.mark.parametrize("statistic", ["mean", "iqm"])
def test_equal_values_leave_no_doubt_and_one_value_says_nothing(statistic):
    assert bootstrap_interval([2.5] * 7, statistic) == (2.5, 2.5)
    assert np.isnan(bootstrap_interval([2.5], statistic)).all()


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf], ["a"], [[1.0], [2.0, 3.0]]])
def test_values_must_be_finite(values):
    for estimate in (interquartile_mean, bootstrap_interval):
        with pytest.raises(
            InputError, match=r"values must be one or more finite numbers, but \[.*\] was given"
        ):
            estimate(values)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"statistic": "median"}, r"statistic must be one of \['iqm', 'mean'\], but 'median' was given"),
        ({"confidence": 95}, r"confidence must be in \(0, 1\), but 95 was given"),
        ({"confidence": 0.0}, r"confidence must be in \(0, 1\), but 0\.0 was given"),
        ({"confidence": "0.9"}, r"confidence must be in \(0, 1\), but '0\.9' was given"),
        ({"seed": -1}, "seed must be a whole number of at least 0, but -1 was given"),
        ({"confidence": 1.0}, r"confidence must be in \(0, 1\), but 1\.0 was given"),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ConfigError, match=message):
        bootstrap_interval([1.0, 2.0], **arguments)


A = np.array([50.02, 32.19, 51.2, 37.59, 52.11, 63.91, 11.98, 45.3, 53.14, 39.23])
B = np.array([16.75, 34.78, 54.19, 52.21, 24.37, 16.32, 38.96, 25.02, 50.28, 71.68])


def test_what_rliable_says_of_the_same_scores():
    """Figures of rliable 1.2.0 for these scores; its intervals are of 50,000 resamples."""
    assert interquartile_mean(A) == pytest.approx(45.90833333)
    assert probability_of_improvement(A, B) == pytest.approx(0.58)
    assert probability_of_improvement(A.round(-1), B.round(-1)) == pytest.approx(0.615)  # with ties
    thresholds = np.array([20.0, 40.0, 60.0, 80.0])
    np.testing.assert_allclose(performance_profile(A, thresholds), [0.9, 0.6, 0.1, 0.0])
    assert bootstrap_interval(A) == pytest.approx((34.648, 51.509), abs=0.4)
    assert bootstrap_interval(A, "iqm") == pytest.approx((35.47166667, 52.33504167), abs=0.4)


def test_the_interval_of_an_improvement_draws_both_sides_runs_anew():
    first, second = np.array([1.0, 3.0, 5.0, 8.0]), np.array([2.0, 3.0, 6.0])
    rng = np.random.default_rng(1)
    drawn = [
        probability_of_improvement(rng.choice(first, len(first)), rng.choice(second, len(second)))
        for _ in range(20_000)
    ]
    assert improvement_interval(first, second) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.03)
    for a, b in ((second + 9, first), (first[:1], second), (first, second[:1])):
        assert np.isnan(improvement_interval(a, b)).all()


@pytest.mark.parametrize(("of_seed", "of_episode"), [(8.0, 0.0), (1.0, 8.0)])
@pytest.mark.parametrize("n_seeds", [3, 5, 10])
def test_the_widest_interval_covers_the_truth_as_often_as_the_reports_say(n_seeds, of_seed, of_episode):
    """In 94 to 98 % of 400 cases; here there are 200."""
    rng, n_cases = np.random.default_rng(0), 200
    n_hits = 0
    for _ in range(n_cases):
        luck = of_seed * rng.normal(size=(n_seeds, 1)) + of_episode * rng.normal(size=(1, 64))
        low, high = widest_interval(luck + 3 * rng.normal(size=(n_seeds, 64)))
        n_hits += low <= 0 <= high
    assert 0.91 <= n_hits / n_cases <= 0.995


def test_the_widest_interval_reaches_as_far_as_the_wider_at_either_end():
    values = np.random.default_rng(0).normal(size=(5, 8))
    t, crossed = student_interval(values.mean(axis=1)), crossed_interval(values)
    assert widest_interval(values) == (min(t[0], crossed[0]), max(t[1], crossed[1]))
    assert np.isnan(widest_interval(values[:1])).all()
    assert np.isnan(widest_interval(values[:0])).all()


def test_probability_of_improvement_is_the_u_statistic_of_mann_and_whitney():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 8, 12).astype(float), rng.integers(0, 8, 9).astype(float)
    expected = stats.mannwhitneyu(first, second).statistic / (12 * 9)
    assert probability_of_improvement(first, second) == pytest.approx(expected)


def test_a_profile_counts_the_runs_above_each_threshold():
    np.testing.assert_array_equal(
        performance_profile(np.array([1.0, 2.0, 2.0, 5.0]), np.array([0.0, 1.0, 2.0, 5.0])),
        [1, 0.75, 0.25, 0],
    )
