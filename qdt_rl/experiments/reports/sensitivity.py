"""What one factor at a time does to returns and to the loss of training."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from qdt_rl.config import ModelConfig, TrainConfig
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.grids import ABLATION
from qdt_rl.experiments.markdown import markdown_table
from qdt_rl.experiments.reports.outcomes import (
    Array,
    Group,
    Moment,
    Outcomes,
    by_seed,
    in_ablation,
    settings_of,
)
from qdt_rl.experiments.reports.page import Page, mean_and_interval
from qdt_rl.experiments.reports.panels import Curves
from qdt_rl.model.variants import VARIANTS

_WIDE = "wide-entanglement"
FACTORS = {
    "entanglement_strength": ("α_e", ModelConfig.entanglement_strength),
    "n_channels": ("channels n", VARIANTS["qdt"]["n_channels"]),
    _WIDE: ("initial standard deviation of W_E", 0.02),
    "learning_rate": ("learning rate", TrainConfig.learning_rate),
}
"""By setting: what it is called, and its default."""
_MOMENTS = (Moment(500), None)
_MEASURES = ("return, 500 updates", "return at the end", "loss")
_HEADER = ["factor", "value", "agent", "seeds", *_MEASURES, *(f"− default: {name}" for name in _MEASURES)]
_INTRODUCTION = """\
On medium-replay, asked for the best return in the data: `qdt` with one factor changed at a time, and `dt` and
`wide-dt` at the same learning rates. The defaults are the ablation's runs, and so is a single channel, its
`q-attention`. A factor's line for an agent takes the seeds that all its levels share which have been run,
and a difference is from the default's run of the same seed. Losses are means over the last 500 updates, in
thousandths, of runs that did not diverge, and differences of these those of one precision.
"""


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
    """Return a row a level: returns, loss, and how far they are from those of the default, seed by seed."""
    everything = list(levels(cells))
    shortfall = outcomes.shortfall(cell for level in everything for cell in level.group.values())
    rows = [row for line in _by_line(everything) for row in _rows(line, outcomes)]
    table = markdown_table(_HEADER, rows)
    parts = [_INTRODUCTION, _chance(everything, outcomes), shortfall, table, _rivals(everything, outcomes)]
    by_factor = [[level for level in everything if level.factor == setting] for setting in FACTORS]
    figures = {
        "factors": [_panel(varied, outcomes, "return at the end", outcomes.returns) for varied in by_factor],
        "losses": [
            _panel(
                varied, outcomes, "loss, thousandths", lambda group, seeds: _losses(group, seeds, outcomes)
            )
            for varied in by_factor
        ],
    }
    drawn = {name: [panel for panel in panels if panel.lines] for name, panels in figures.items()}
    return Page("\n".join(parts), {name: panels for name, panels in drawn.items() if panels})


def _chance(everything: Sequence[Level], outcomes: Outcomes) -> str:
    """Say how far apart runs are which differ in nothing that is varied here."""
    default = next(level.group for level in everything if level.value == FACTORS[level.factor][1])
    (first, *_) = default.values()
    all_seeds = {cell.seed: cell for cell in ABLATION if cell == replace(first, seed=cell.seed)}
    told = []
    if len(seeds := outcomes.finished(all_seeds)) > 1:
        returns = outcomes.returns(all_seeds, seeds)
        told.append(
            f"the default's {len(seeds)} seeds in the ablation have a standard deviation of "
            f"{returns.std(ddof=1):.0f} around {returns.mean():.0f}"
        )
    without = next((level.group for level in everything if level[:2] == ("entanglement_strength", 0)), {})
    pair = without, in_ablation(without, "q-feedforward")
    if seeds := outcomes.finished(*pair):
        early, end, loss = _differences(*pair, seeds, outcomes)
        told.append(
            "α_e = 0 is the ablation's `q-feedforward` with other initial weights, and is apart from it by "
            f"{early} after 500 updates, {end} at the end, and {loss} in its loss ({len(seeds)} of "
            f"{len(without)} seeds)"
        )
    return f"What chance does: {'; '.join(told)}.\n" if told else ""


def _by_line(everything: Sequence[Level]) -> list[list[Level]]:
    """Return the levels of each factor and agent."""
    lines = dict.fromkeys((level.factor, level.agent) for level in everything)
    return [[level for level in everything if (level.factor, level.agent) == line] for line in lines]


def _rows(line: Sequence[Level], outcomes: Outcomes) -> Iterator[list[str]]:
    """Yield a row a level, of the seeds that all levels of a factor and agent share which have been run."""
    shared = outcomes.shared_seeds({level.value: level.group for level in line})
    name, default_value = FACTORS[line[0].factor]
    default = next(level.group for level in line if level.value == default_value)
    for level in line:
        is_default = level.value == default_value
        seeds = shared[level.value]
        paired = seeds if not is_default and shared[default_value] else []
        yield [
            name,
            f"{level.value:g}" + " (default)" * is_default,
            f"`{level.agent}`",
            f"{len(seeds)} of {len(level.group)}",
            *(mean_and_interval(outcomes.returns(level.group, seeds, moment)) for moment in _MOMENTS),
            mean_and_interval(_losses(level.group, seeds, outcomes), digits=2),
            *_differences(level.group, default, paired, outcomes),
        ]


def _rivals(everything: Sequence[Level], outcomes: Outcomes) -> str:
    """Return QDT less its rivals at each learning rate: does it lose, or its rival, at one alone?"""
    of: dict[str, dict[float, Group]] = {agent: {} for agent in ("qdt", "dt", "wide-dt")}
    for level in everything:
        if level.factor == "learning_rate":
            of[level.agent][level.value] = level.group
    rows = []
    for rival in ("dt", "wide-dt"):
        shared = outcomes.shared(*of["qdt"].values(), *of[rival].values())
        for value in sorted(of["qdt"].keys() & of[rival].keys()):
            pair = of["qdt"][value], of[rival][value]
            seeds = _among(shared, outcomes.finished(*pair))
            count = f"{len(seeds)} of {len(pair[0])}"
            rows.append([f"{value:g}", f"`qdt` − `{rival}`", count, *_differences(*pair, seeds, outcomes)])
    return markdown_table(["learning rate", "agents", "seeds", *_MEASURES], rows)


def _losses(group: Group, seeds: Sequence[int], outcomes: Outcomes) -> Array:
    """Return the losses at the end, in thousandths, of those seeds whose runs did not diverge."""
    return 1000 * outcomes.late(group, _among(seeds, outcomes.whole(group)), "loss")


def _differences(first: Group, second: Group, seeds: Sequence[int], outcomes: Outcomes) -> list[str]:
    """Return the first's measures less the second's, by the seed."""
    whole = _among(seeds, outcomes.whole(first, second))
    losses = _losses(first, whole, outcomes) - _losses(second, whole, outcomes)
    return [
        *(mean_and_interval(outcomes.gaps(first, second, seeds, at), signed=True) for at in _MOMENTS),
        mean_and_interval(losses, signed=True, digits=2),
    ]


def _among(seeds: Sequence[int], some: Sequence[int]) -> list[int]:
    return [seed for seed in seeds if seed in some]


def _panel(
    varied: Sequence[Level], outcomes: Outcomes, label: str, measure: Callable[[Group, Sequence[int]], Array]
) -> Curves:
    """Draw the levels of one factor side by side, of the seeds that the table counts."""
    name, default = FACTORS[varied[0].factor]
    values = sorted({level.value for level in varied})
    lines: dict[str, dict[float, Array]] = {}
    for line in _by_line(varied):
        shared = outcomes.shared_seeds({level.value: level.group for level in line})
        measured = {values.index(level.value): measure(level.group, shared[level.value]) for level in line}
        lines[line[0].agent] = {x: found for x, found in measured.items() if len(found)}
    lines = {agent: line for agent, line in lines.items() if line}
    ticks = [f"{value:g}" + "\ndefault" * (value == default) for value in values]
    return Curves(name, "value", label, lines, ticks=ticks)
