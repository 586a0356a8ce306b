"""What one factor at a time does to the return at the end."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from qdt_rl.config import ModelConfig, TrainConfig
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.markdown import markdown_table
from qdt_rl.experiments.reports.outcomes import Array, Group, Outcomes, by_seed, in_ablation, settings_of
from qdt_rl.experiments.reports.page import Page, mean_and_interval
from qdt_rl.experiments.reports.panels import Curves
from qdt_rl.model.variants import VARIANTS

_NONE: Array = np.empty(0)
_WIDE = "wide-entanglement"
FACTORS = {
    "entanglement_strength": ("α_e", ModelConfig.entanglement_strength),
    "n_channels": ("channels n", VARIANTS["qdt"]["n_channels"]),
    _WIDE: ("initial standard deviation of W_E", 0.02),
    "learning_rate": ("learning rate", TrainConfig.learning_rate),
}
"""By setting: what it is called, and its default."""


class Level(NamedTuple):
    """A factor's value, and the runs with it."""

    factor: str
    value: float
    agent: str
    group: Group


def levels(cells: Sequence[Cell]) -> Iterator[Level]:
    """Yield the levels of a grid, its defaults among them, by factor, agent and value."""
    found = [Level(*key, group) for key, group in by_seed(cells, _level_of).items()]
    for setting, (_name, default) in FACTORS.items():
        varied = [level for level in found if level.factor == setting]
        for agent in dict.fromkeys(level.agent for level in varied):
            mine = [level for level in varied if level.agent == agent]
            mine.append(Level(setting, default, agent, in_ablation(mine[0].group)))
            if setting == "n_channels":  # one channel is what Q-attention alone has
                mine.append(Level(setting, 1, agent, in_ablation(mine[0].group, "q-attention")))
            yield from sorted(mine, key=lambda level: level.value)


def _level_of(cell: Cell) -> tuple[str, float, str]:
    agent, _, change = cell.variant.partition("+")
    if change == _WIDE:
        return _WIDE, 0.2, agent
    ((name, value),) = settings_of(cell).items()
    return name, value, agent


def sensitivity_page(cells: Sequence[Cell], outcomes: Outcomes) -> Page:
    """Return a row a level: its return, and the difference from the default's runs of the same seeds."""
    everything = list(levels(cells))
    header = ["factor", "value", "agent", "seeds", "return", "difference from the default, same seeds"]
    shortfall = outcomes.shortfall(cell for level in everything for cell in level.group.values())
    rows = [row for agents in _by_line(everything) for row in _rows(agents, outcomes)]
    text = f"{shortfall}\n{markdown_table(header, rows)}\n{_rivals(everything, outcomes)}"
    by_factor = [[level for level in everything if level.factor == setting] for setting in FACTORS]
    panels = [_panel(varied, outcomes) for varied in by_factor if varied]
    panels = [panel for panel in panels if panel.lines]
    return Page(text, {"factors": panels} if panels else {})


def _by_line(everything: Sequence[Level]) -> list[list[Level]]:
    """Return the levels of each factor and agent."""
    lines = dict.fromkeys((level.factor, level.agent) for level in everything)
    return [[level for level in everything if (level.factor, level.agent) == line] for line in lines]


def _rows(line: Sequence[Level], outcomes: Outcomes) -> Iterator[list[str]]:
    """Yield a row a level, of the seeds that all levels of a factor and agent share which have been run."""
    shared = outcomes.shared_returns({level.value: level.group for level in line})
    name, default = FACTORS[line[0].factor]
    for level in line:
        returns = shared.get(level.value, _NONE)
        has_default = level.value != default and len(returns) and default in shared
        yield [
            name,
            f"{level.value:g}" + " (default)" * (level.value == default),
            f"`{level.agent}`",
            f"{len(returns)} of {len(level.group)}",
            mean_and_interval(returns),
            mean_and_interval(returns - shared[default], signed=True) if has_default else "–",
        ]


def _rivals(everything: Sequence[Level], outcomes: Outcomes) -> str:
    """Return QDT less its rivals at each learning rate: does it lose, or its rival, at one alone?"""
    of = {(level.agent, level.value): level.group for level in everything if level.factor == "learning_rate"}
    rows = []
    for rival in ("dt", "wide-dt"):
        for value in sorted(value for agent, value in of if agent == "qdt"):
            pair = of["qdt", value], of.get((rival, value), {})
            seeds = outcomes.finished(*pair)
            mine, its = (outcomes.returns(group, seeds) for group in pair)
            count, difference = f"{len(seeds)} of {len(pair[0])}", mean_and_interval(mine - its, signed=True)
            rows.append([f"{value:g}", f"`qdt` − `{rival}`", count, difference])
    return markdown_table(["learning rate", "agents", "seeds", "difference at the end"], rows)


def _panel(varied: Sequence[Level], outcomes: Outcomes) -> Curves:
    """Draw the levels of one factor side by side, of the seeds that the table counts."""
    name, default = FACTORS[varied[0].factor]
    values = sorted({level.value for level in varied})
    lines: dict[str, dict[float, Array]] = {
        line[0].agent: outcomes.shared_returns({values.index(level.value): level.group for level in line})
        for line in _by_line(varied)
    }
    lines = {agent: line for agent, line in lines.items() if line}
    ticks = [f"{value:g}" + "\ndefault" * (value == default) for value in values]
    return Curves(name, name, "return at the end", lines, ticks=ticks)
