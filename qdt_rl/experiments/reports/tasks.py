"""The ablation's results, task by task."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float64

from qdt_rl.evaluation.statistics import improvement_interval, probability_of_improvement
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.reports.outcomes import Array, Moment, Outcomes, by_seed, moments_of, task_name

Values = TypeVar("Values", bound=np.ndarray)
PAIRS = (("qdt", "dt"), ("q-attention", "dt"), ("q-feedforward", "dt"), ("qdt", "wide-dt"))
"""The agents whose returns are compared."""
_TWO_BY_TWO = {"qdt", "q-attention", "q-feedforward", "dt"}


@dataclass(frozen=True)
class Task:
    """The results on one dataset: of the agents that have been run on it, by the seeds that all have.

    Attributes:
        name: The dataset's id, and how many of its episodes were used if not all.
        cells: Of the grid, all of this task's.
        seeds: Those seeds, in order.
        n_planned: How many the grid has.
        returns: By agent and moment, the mean return of each seed.
        episodes: The same before it is averaged: of each seed and episode.
        normalized: By agent, each seed's score at the end, 0 for random and 100 for the expert.
        time_ratios: By agent, its time of training over ``dt``'s, see ``Outcomes.time_ratios``.
        targets: The returns that were asked for: ``"data"`` and, if it was, ``"expert"``.
        references: The returns of random actions and of the expert.
    """

    name: str
    cells: Sequence[Cell]
    seeds: list[int]
    n_planned: int
    returns: dict[str, dict[Moment, Array]]
    episodes: dict[str, dict[Moment, Float64[np.ndarray, "seeds episodes"]]]
    normalized: dict[str, Array]
    time_ratios: dict[str, Array]
    targets: dict[str, float]
    references: tuple[float, float]

    @property
    def moments(self) -> list[Moment]:
        """When the agents were judged, in order."""
        return sorted(next(iter(self.returns.values())))

    @property
    def last(self) -> Moment:
        """The end of training, by the data's own target."""
        return max(moment for moment in self.moments if moment.target == "data")

    def at(self, moment: Moment) -> dict[str, Array]:
        """Return each agent's mean return of each seed at a moment."""
        return {agent: returns[moment] for agent, returns in self.returns.items()}


def tasks(cells: Sequence[Cell], outcomes: Outcomes) -> list[Task]:
    """Sort an experiment's results by task; agents without a run are left out, and seeds that lack another.

    Args:
        cells: The grid.
        outcomes: Of its cells; those of others are left out.
    """
    by_task: dict[str, list[Cell]] = {}
    for cell in cells:
        by_task.setdefault(task_name(cell), []).append(cell)
    return [_task(name, members, outcomes) for name, members in by_task.items()]


def _task(name: str, cells: Sequence[Cell], outcomes: Outcomes) -> Task:
    planned = {cell.seed for cell in cells}
    every = by_seed(cells, lambda cell: cell.variant)
    groups = {agent: group for agent, group in every.items() if outcomes.finished(group)} or every
    seeds = outcomes.finished(*groups.values())
    runs = [outcomes.record(group[seed]) for group in groups.values() for seed in seeds]
    asked = dict.fromkeys(evaluation["target_return"] for run in runs for evaluation in run["evaluations"])
    moments = _moments(cells[0])
    return Task(
        name,
        cells,
        seeds,
        len(planned),
        {agent: {m: outcomes.returns(group, seeds, m) for m in moments} for agent, group in groups.items()},
        {agent: {m: outcomes.episodes(group, seeds, m) for m in moments} for agent, group in groups.items()},
        {agent: outcomes.scores(group, seeds) for agent, group in groups.items()},
        {agent: outcomes.time_ratios(group, groups.get("dt", {})) for agent, group in groups.items()},
        dict(zip(("data", "expert"), asked, strict=False)),
        tuple(runs[0]["reference_scores"]) if runs else (float("nan"), float("nan")),
    )


def _moments(cell: Cell) -> list[Moment]:
    return moments_of(cell) + [Moment(cell.n_steps, "expert")] * cell.expert_target


def contrasts(returns: Mapping[str, Values], pairs: Iterable[tuple[str, str]] = PAIRS) -> dict[str, Values]:
    """Return the differences of pairs of agents that are there, and the synergy.

    Args:
        returns: By agent, those of each seed, or of each seed and episode.
        pairs: Of agents.

    Returns:
        By name, in the same shape.
    """
    found = {f"`{a}` − `{b}`": returns[a] - returns[b] for a, b in pairs if {a, b} <= set(returns)}
    return found | ({"synergy": synergy(returns)} if set(returns) >= _TWO_BY_TWO else {})


def improvements(returns: Mapping[str, Array]) -> dict[str, tuple[float, tuple[float, float]]]:
    """Return the probability of improvement of each pair of ``contrasts``, and its interval."""
    return {
        f"`{a}` − `{b}`": (
            probability_of_improvement(returns[a], returns[b]),
            improvement_interval(returns[a], returns[b]),
        )
        for a, b in PAIRS
        if {a, b} <= set(returns)
    }


def synergy(returns: Mapping[str, Values]) -> Values:
    """Return the two-by-two interaction, (QDT − Q-attention) − (Q-feedforward − DT), in the same shape."""
    interaction: Values = (returns["qdt"] - returns["q-attention"]) - (
        returns["q-feedforward"] - returns["dt"]
    )
    return interaction
