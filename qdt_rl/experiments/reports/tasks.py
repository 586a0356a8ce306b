"""The ablation's results, task by task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.reports.outcomes import (
    Group,
    Moment,
    Outcomes,
    Target,
    by_seed,
    moments_of,
    task_name,
)

Contrast = Mapping[str, int]
"""Agents and the signs with which their returns are summed up: ``{"qdt": 1, "dt": -1}`` is QDT − DT."""
Values = Float64[np.ndarray, "seeds episodes"]


def difference(first: str, second: str) -> dict[str, Contrast]:
    """Return the difference of two agents by its name."""
    return {f"`{first}` − `{second}`": {first: 1, second: -1}}


SYNERGY: Contrast = {"qdt": 1, "q-attention": -1, "q-feedforward": -1, "dt": 1}
"""The two-by-two interaction, (QDT − Q-attention) − (Q-feedforward − DT)."""
CONTRASTS: Mapping[str, Contrast] = {
    **difference("qdt", "dt"),
    **difference("q-attention", "dt"),
    **difference("q-feedforward", "dt"),
    **difference("qdt", "wide-dt"),
    "synergy": SYNERGY,
    **difference("dt", "bc-10%"),
    **difference("qdt", "bc-10%"),
}
"""What is compared, by name."""


@dataclass(frozen=True)
class Task:
    """The runs of all agents on one dataset. A comparison takes the seeds that all of its agents have.

    Attributes:
        name: The dataset's id, and how many of its episodes were used if not all.
        groups: The grid's cells by agent, run or not.
        outcomes: Of these.
    """

    name: str
    groups: Mapping[str, Group]
    outcomes: Outcomes

    @cached_property
    def agents(self) -> dict[str, Group]:
        """The agents that have been run."""
        return {agent: group for agent, group in self.groups.items() if self.outcomes.finished(group)}

    @property
    def cells(self) -> list[Cell]:
        """All cells, run or not."""
        return [cell for group in self.groups.values() for cell in group.values()]

    @property
    def moments(self) -> list[Moment]:
        """When the agents are judged, in order."""
        cell = self.cells[0]
        return sorted(moments_of(cell) + [Moment(cell.n_steps, "expert")] * cell.expert_target)

    @property
    def last(self) -> Moment:
        """The end of training, by the data's own target."""
        return Moment(self.cells[0].n_steps)

    @cached_property
    def references(self) -> tuple[float, float]:
        """The returns of random actions and of the expert; NaN if nothing has been run."""
        return self.outcomes.references(self.groups.values())

    @cached_property
    def contrasts(self) -> dict[str, Contrast]:
        """Those of ``CONTRASTS`` whose agents have been run with a seed in common."""
        return {name: contrast for name, contrast in CONTRASTS.items() if self.seeds(*contrast)}

    @cached_property
    def targets(self) -> dict[Target, float]:
        """The returns that are asked for: ``"data"`` and, if it is, ``"expert"``; none if nothing was run."""
        asked = dict.fromkeys(
            evaluation["target_return"]
            for group in self.agents.values()
            for seed in self.outcomes.finished(group)
            for evaluation in self.outcomes.record(group[seed])["evaluations"]
        )
        names: tuple[Target, ...] = ("data", "expert")
        return dict(zip(names, asked, strict=False))

    def seeds(self, *agents: str) -> list[int]:
        """Return the seeds with which all of these agents have been run."""
        return self.outcomes.finished(*(self.groups.get(agent, {}) for agent in agents))

    def n_planned(self, *agents: str) -> int:
        """Return with how many seeds all of these agents are to be run."""
        return len(set.intersection(*(set(self.groups.get(agent, {})) for agent in agents)))

    def contrast(
        self, contrast: Contrast, moment: Moment | None = None, seeds: Sequence[int] | None = None
    ) -> Values:
        """Return the signed sum of agents' returns, of each seed and episode.

        Args:
            contrast: The agents, and their signs.
            moment: When; None: at the end, asked for the best return in the data.
            seeds: Which; None: all that these agents share.

        Returns:
            (seeds, episodes); (0, 0) if there are none.
        """
        seeds = self.seeds(*contrast) if seeds is None else seeds
        if not seeds:
            return np.empty((0, 0))
        signed = (
            sign * self.outcomes.episodes(self.groups[agent], seeds, moment)
            for agent, sign in contrast.items()
        )
        total: Values = np.sum(list(signed), axis=0)
        return total

    def points(
        self, contrast: Contrast, moment: Moment | None = None, seeds: Sequence[int] | None = None
    ) -> Values:
        """Return ``contrast`` in points of the score: 0 for random actions, 100 for the expert."""
        low, high = self.references
        return 100 * self.contrast(contrast, moment, seeds) / (high - low)


def tasks(cells: Sequence[Cell], outcomes: Outcomes) -> list[Task]:
    """Sort an experiment's cells by task.

    Args:
        cells: The grid.
        outcomes: Of its cells; those of others are left out.
    """
    by_task: dict[str, list[Cell]] = {}
    for cell in cells:
        by_task.setdefault(task_name(cell), []).append(cell)
    return [
        Task(name, by_seed(members, lambda cell: cell.variant), outcomes) for name, members in by_task.items()
    ]
