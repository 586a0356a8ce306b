"""Whether the parameterisation matters: QDT against the same function in plain parameters."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.reports.outcomes import (
    Group,
    Moment,
    Outcomes,
    by_seed,
    in_ablation,
    learning_curve,
    moments_of,
)
from qdt_rl.experiments.reports.page import Page, mean_and_interval, table
from qdt_rl.experiments.reports.panels import Curves

FOLDED = "wide-dt+folded-start"
_PAIRS = (("qdt", FOLDED), ("qdt", "wide-dt"), (FOLDED, "wide-dt"))
_INTRODUCTION = """\
`wide-dt+folded-start` starts as the same function as the `qdt` of its seed, and sees the same windows and
dropout masks; `wide-dt` starts from weights of its own. So `qdt` less the first is the parameterisation's
doing, and the first less the second the initial weights'. Losses are means over the last 500 updates, in
thousandths.
"""


def folded_page(cells: Sequence[Cell], outcomes: Outcomes) -> Page:
    """Return returns and losses of the three, paired by seed, and how they went on."""
    (group,) = by_seed(cells, lambda cell: cell.variant).values()
    groups: dict[str, Group] = {"qdt": in_ablation(group, "qdt"), FOLDED: group}
    groups["wide-dt"] = in_ablation(group, "wide-dt")
    seeds = outcomes.finished(*groups.values())
    shortfall = outcomes.shortfall(cell for members in groups.values() for cell in members.values())
    text = f"{_INTRODUCTION}\n{shortfall}\n**{len(seeds)} of {len(group)} seeds have been run.**\n"
    if not seeds:
        return Page(text)
    text += f"\n{_table(groups, seeds, outcomes)}\n{_same_start(groups, seeds, outcomes)}"
    dataset = cells[0].dataset
    curves = {agent: learning_curve(members, outcomes, seeds) for agent, members in groups.items()}
    losses = {agent: outcomes.trace(members, seeds, "loss") for agent, members in groups.items()}
    panels = [
        Curves(dataset, "updates", "return", curves, log_x=True),
        Curves(dataset, "updates", "loss, mean of 100 updates", losses, log_y=True, as_band=True),
    ]
    return Page(text, {"curves": panels})


def _table(groups: Mapping[str, Group], seeds: Sequence[int], outcomes: Outcomes) -> str:
    (cell, *_) = groups[FOLDED].values()
    moments = moments_of(cell)
    heads = [f"{moment.n_updates:,} updates" for moment in moments]
    rows = list(_rows(groups, seeds, moments, outcomes))
    return table(["agent", *heads, "loss at the end"], rows)


def _rows(
    groups: Mapping[str, Group], seeds: Sequence[int], moments: Sequence[Moment], outcomes: Outcomes
) -> Iterator[list[str]]:
    returns = {
        agent: [outcomes.returns(group, seeds, moment) for moment in moments]
        for agent, group in groups.items()
    }
    whole = outcomes.whole(*groups.values())
    losses = {agent: 1000 * outcomes.late(group, whole, "loss") for agent, group in groups.items()}
    for agent in groups:
        means = [mean_and_interval(values) for values in returns[agent]]
        yield [f"`{agent}`", *means, mean_and_interval(losses[agent], digits=2)]
    for first, second in _PAIRS:
        pairs = zip(returns[first], returns[second], strict=True)
        differences = [mean_and_interval(a - b, signed=True) for a, b in pairs]
        loss = mean_and_interval(losses[first] - losses[second], signed=True, digits=2)
        yield [f"`{first}` − `{second}`", *differences, loss]


def _same_start(groups: Mapping[str, Group], seeds: Sequence[int], outcomes: Outcomes) -> str:
    """Say how far the losses of the first update, before it, are apart: that both are one function there."""
    first = {
        agent: np.array([outcomes.record(groups[agent][seed])["loss"][0] for seed in seeds])
        for agent in ("qdt", FOLDED)
    }
    apart = np.abs(first["qdt"] - first[FOLDED]).max() / np.abs(first["qdt"]).min()
    return (
        f"At the first update the losses of `qdt` and `{FOLDED}` differ by at most {apart:.1e} of the loss.\n"
    )
