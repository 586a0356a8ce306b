"""Runs by what they share: data, context and agent, the ablation's among them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from qdt_rl.config import ModelConfig
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.grids import ABLATION, DELAYED, HIDDEN
from qdt_rl.experiments.reports.outcomes import Group, by_seed, settings_of

WITH_CONTEXT = ("dt", "qdt", "wide-dt")
WITHOUT_CONTEXT = ("bc", "bc-10%")


class Condition(NamedTuple):
    """What the runs of a group share."""

    dataset: str
    context_length: int
    agent: str

    @property
    def context(self) -> str:
        """The context's length, for people to read."""
        return str(self.context_length) if self.agent in WITH_CONTEXT else "none"


def conditions(cells: Sequence[Cell]) -> Mapping[Condition, Group]:
    """Return the runs of each condition; with the usual context and short delays they are the ablation's."""
    datasets = {*DELAYED.values(), HIDDEN}
    agents = (*WITH_CONTEXT, *WITHOUT_CONTEXT)
    usual = (
        cell
        for cell in ABLATION
        if cell.dataset in datasets and not cell.n_data_episodes and cell.variant in agents
    )
    return by_seed([*cells, *usual], _condition)


def _condition(cell: Cell) -> Condition:
    context_length = settings_of(cell).get("context_length", ModelConfig.context_length)
    return Condition(cell.dataset, context_length if cell.variant in WITH_CONTEXT else 1, cell.variant)
