"""What becomes of the paper's claims here, each by a rule; the text says when the rules were written."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64

from qdt_rl.evaluation.statistics import crossed_interval, student_interval
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.grids import DELAYED, QUALITIES, REPLAY
from qdt_rl.experiments.reports.outcomes import Outcomes, task_name
from qdt_rl.experiments.reports.page import table, times, with_interval
from qdt_rl.experiments.reports.tasks import Task, contrasts, tasks

Verdict = Literal["confirmed", "contradicted", "undecided"]
Interval = tuple[float, float]
Values = Float64[np.ndarray, "seeds episodes"]

MIN_SEEDS = 5
LARGE, MARGINAL = 25.0, 10.0
SLOWER = (1.5, 2.1)
EARLY = 500
_RULE = f"""\
**The rules.** All differences are paired by seed and given in points of the normalised score, 0 for random
actions and 100 for the expert; on medium-replay at the end of training, asked for the best return in the
data, unless the line says otherwise. An interval reaches at either end as far as the wider one of Student's
over seeds and the bootstrap over seeds and episodes, both at 95 %. A claim is confirmed or contradicted if
the interval lies wholly on one side of the line's bound; it is undecided otherwise, or with fewer than
{MIN_SEEDS} seeds. Each line counts the seeds of which the agents that it names have been run. The time is a
median, with the range, of pairs of runs of one task and seed on one processor from one commit. What is *far*
or a *catastrophe* is ours to fix, since the paper's scale is unknown: {LARGE:.0f} points; what is *marginal*:
{MARGINAL:.0f}, up or down.

**What the rules are worth.** They were written when 20 runs had ended, two whole seeds among them, and are
not blind to those. Verdicts before all seeds have been run are interim; neither repeated looks nor the number
of claims is corrected for. Where the luck of seeds and that of episodes weigh alike, the wider of the two
intervals covers the truth in 92 to 95 % of cases.
"""
_HEADER = ["the paper's claim", "in the paper", "confirmed if", "seeds", "here", "verdict"]


class Claim(NamedTuple):
    """A line of the table."""

    claim: str
    in_paper: str
    confirmed_if: str
    seeds: str
    here: str
    verdict: Verdict


def claims_text(cells: Sequence[Cell], outcomes: Outcomes) -> str:
    """Return the rules, and a line a claim, of the seeds for which the agents that it names have been run.

    Args:
        cells: The ablation's; of a grid that lacks a task that a claim is about, nothing is said.
        outcomes: Of its cells; those of others are left out.
    """
    by_name: dict[str, list[Cell]] = {}
    for cell in cells:
        by_name.setdefault(task_name(cell), []).append(cell)
    if not by_name.keys() >= {DELAYED[50], *QUALITIES}:
        return ""

    def task_of(agents: Collection[str], name: str) -> Task:
        (task,) = tasks([cell for cell in by_name[name] if cell.variant in agents], outcomes)
        return task

    compared = {name: task_of(("dt", "qdt"), name) for name in by_name}
    lines = [
        *_on_replay(lambda *agents: task_of(agents, REPLAY)),
        _slower(compared.values()),
        _across_qualities(compared),
        _credit(compared),
    ]
    return f"### The paper's claims\n\n{_RULE}\n{table(_HEADER, lines)}"


def widest_interval(differences: Values) -> Interval:
    """Return the farther ends of Student's interval over seeds and a bootstrap over seeds and episodes."""
    if len(differences) < 2:
        return float("nan"), float("nan")
    low, high = zip(student_interval(differences.mean(axis=1)), crossed_interval(differences), strict=True)
    return min(low), max(high)


def above(interval: Interval, bound: float = 0.0) -> Verdict:
    """Return whether a difference that is claimed to be above a bound is."""
    low, high = interval
    return "confirmed" if low > bound else "contradicted" if high < bound else "undecided"


def within(interval: Interval, bound: float) -> Verdict:
    """Return whether a difference that is claimed to be within ± a bound is."""
    low, high = interval
    if -bound < low and high < bound:
        return "confirmed"
    return "contradicted" if low > bound or high < -bound else "undecided"


def _on_replay(task_of: Callable[..., Task]) -> Iterator[Claim]:
    compared = task_of("dt", "qdt")
    better, seeds = _points(compared)["`qdt` − `dt`"], _n_seeds(compared)
    yield _judged("QDT is better than DT", "2578, −134", "`qdt` − `dt` > 0", seeds, better)
    far = f"`qdt` − `dt` > {LARGE:.0f}"
    yield _judged("and by far, 2,000 %", "2578, −134", far, seeds, better, LARGE)
    alone = task_of("dt", "q-attention")
    fails, failing = f"`dt` − `q-attention` > {LARGE:.0f}", -_points(alone)["`q-attention` − `dt`"]
    yield _judged("Q-attention alone is a catastrophe", "−2447, −134", fails, _n_seeds(alone), failing, LARGE)
    alone = task_of("dt", "q-feedforward")
    marginal, change = (
        f"`q-feedforward` − `dt` within ±{MARGINAL:.0f}",
        _points(alone)["`q-feedforward` − `dt`"],
    )
    yield _judged(
        "Q-feedforward alone is marginal, up or down",
        "34, −134",
        marginal,
        _n_seeds(alone),
        change,
        MARGINAL,
        within,
    )
    square = task_of("dt", "q-attention", "q-feedforward", "qdt")
    both = _points(square)["synergy"]
    yield _judged("The two need each other: synergy", "+4857", "interaction > 0", _n_seeds(square), both)
    twins = task_of("qdt", "wide-dt")
    ahead = _points(twins)["`qdt` − `wide-dt`"]
    yield _judged("(ours) not for its size alone", "–", "`qdt` − `wide-dt` > 0", _n_seeds(twins), ahead)
    early = _points(compared, EARLY)["`qdt` − `dt`"]
    sooner = f"`qdt` − `dt` > 0 after {EARLY} updates"
    yield _judged("QDT needs fewer epochs", "no figure", sooner, seeds, early)


def _judged(
    claim: str,
    in_paper: str,
    confirmed_if: str,
    seeds: str,
    differences: Values,
    bound: float = 0.0,
    judge: Callable[[Interval, float], Verdict] = above,
) -> Claim:
    """Return the line of a claim about differences: too few seeds decide nothing."""
    interval = widest_interval(differences)
    verdict = judge(interval, bound) if len(differences) >= MIN_SEEDS else "undecided"
    return Claim(claim, in_paper, confirmed_if, seeds, _shown(differences, interval), verdict)


def _slower(compared: Collection[Task]) -> Claim:
    """Compare times of training, on which the task has no influence."""
    ratios, (least, most) = np.concatenate([task.time_ratios["qdt"] for task in compared]), SLOWER
    verdict: Verdict = "undecided"
    if len(ratios) >= MIN_SEEDS:
        verdict = "confirmed" if least < np.median(ratios) < most else "contradicted"
    pairs = f"{len(ratios)} of {sum(task.n_planned for task in compared)} pairs of runs"
    found = times(ratios) + (f" ({ratios.min():.2f} to {ratios.max():.2f})" if len(ratios) else "")
    bounds = f"{least} to {most} × `dt`'s time, all tasks"
    return Claim("QDT is 1.8 × slower", "1.8 ×", bounds, pairs, found, verdict)


def _across_qualities(by_name: Mapping[str, Task]) -> Claim:
    """Compare QDT and DT by the mean over the qualities of the data, of seeds that have been run with all."""
    found = [by_name[name] for name in QUALITIES]
    n_run = sum(len(task.seeds) >= MIN_SEEDS for task in found)
    seeds = sorted(set.intersection(*(set(task.seeds) for task in found)))
    mean = np.mean([_of_seeds(task, seeds) for task in found], axis=0) if seeds else np.empty((0, 0))
    claim, n = "QDT generalises better across data quality", len(QUALITIES)
    confirmed_if = f"mean of `qdt` − `dt` over {n} qualities > 0"
    return _judged(claim, "no figure", confirmed_if, f"{n_run} of {n} qualities", mean)


def _credit(by_name: Mapping[str, Task]) -> Claim:
    """Compare what a delay of 50 steps costs QDT and DT."""
    now, delayed = by_name[REPLAY], by_name[DELAYED[50]]
    seeds = sorted({*now.seeds} & {*delayed.seeds})
    cost = _of_seeds(delayed, seeds) - _of_seeds(now, seeds) if seeds else np.empty((0, 0))
    confirmed_if = "a delay of 50 steps costs `qdt` less than `dt`"
    n_run = f"{len(seeds)} of {delayed.n_planned}"
    return _judged("QDT assigns credit better", "no figure", confirmed_if, n_run, cost)


def _n_seeds(task: Task) -> str:
    return f"{len(task.seeds)} of {task.n_planned}"


def _points(task: Task, n_updates: int | None = None) -> dict[str, Values]:
    """Return the contrasts in points of the normalised score, of each seed and episode."""
    low, high = task.references
    moment = task.last if n_updates is None else task.last._replace(n_updates=n_updates)
    episodes = {agent: by_moment[moment] for agent, by_moment in task.episodes.items()}
    return {name: 100 * values / (high - low) for name, values in contrasts(episodes).items()}


def _of_seeds(task: Task, seeds: Sequence[int]) -> Values:
    """Return QDT − DT at the end, in points, of these seeds."""
    return _points(task)["`qdt` − `dt`"][[task.seeds.index(seed) for seed in seeds]]


def _shown(differences: Values, interval: Interval) -> str:
    return with_interval(differences.mean(), interval, "+.1f") if len(differences) else "–"
