"""Whether the parameterisation matters: QDT against the same function in plain parameters."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from qdt_rl.evaluation.statistics import student_interval
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.markdown import markdown_table
from qdt_rl.experiments.reports.outcomes import (
    Array,
    Group,
    Moment,
    Outcomes,
    by_seed,
    in_ablation,
    learning_curve,
    moments_of,
)
from qdt_rl.experiments.reports.page import Page, mean_and_interval
from qdt_rl.experiments.reports.panels import LOSS, Curves

FOLDED = "wide-dt+folded-start"
_PAIRS = (("qdt", FOLDED), ("qdt", "wide-dt"), (FOLDED, "wide-dt"))
_INTRODUCTION = """\
`wide-dt+folded-start` starts as the same function as the `qdt` of its seed, and sees the same windows and
dropout masks; `wide-dt` starts from weights of its own. So `qdt` less the first is the parameterisation's
doing, or that of rounding, which sets the two apart from the first update on, and the first less the second
the initial weights'. All lines take the seeds that the agents share. Losses are means over the last 500
updates, in thousandths, of seeds of which no run diverged and all had one precision. Intervals are
Student's, 95 %, over seeds.
"""


def folded_page(cells: Sequence[Cell], outcomes: Outcomes) -> Page:
    """Return returns and losses of the three, paired by seed, and how they went on."""
    (group,) = by_seed(cells, lambda cell: cell.variant).values()
    groups: dict[str, Group] = {"qdt": in_ablation(group, "qdt"), FOLDED: group}
    groups["wide-dt"] = in_ablation(group, "wide-dt")
    shortfall = outcomes.shortfall(cell for members in groups.values() for cell in members.values())
    run = {agent: members for agent, members in groups.items() if outcomes.finished(members)}
    text = f"{_INTRODUCTION}\n{shortfall}\n"
    if FOLDED not in run:
        return Page(text)
    text += f"{_table(run, outcomes)}\n{_same_start(run, outcomes)}"
    shared = outcomes.shared(*run.values())
    dataset = cells[0].dataset
    curves = {agent: learning_curve(members, outcomes, shared) for agent, members in run.items()}
    losses = {agent: outcomes.trace(members, shared, "loss") for agent, members in run.items()}
    panels = [
        Curves(dataset, "updates", "return", curves, log_x=True),
        Curves(dataset, "updates", LOSS, losses, log_y=True, as_band=True),
    ]
    return Page(text, {"curves": panels} if shared else {})


def _table(run: Mapping[str, Group], outcomes: Outcomes) -> str:
    (cell, *_) = run[FOLDED].values()
    moments = moments_of(cell)
    heads = [f"{moment.n_updates:,} updates" for moment in moments]
    rows = list(_rows(run, moments, outcomes))
    return markdown_table(["agent", "seeds", *heads, "loss at the end", "seeds, loss"], rows)


def _rows(run: Mapping[str, Group], moments: Sequence[Moment], outcomes: Outcomes) -> Iterator[list[str]]:
    seeds, whole = outcomes.finished(*run.values()), outcomes.whole(*run.values())
    returns = {
        agent: [outcomes.returns(group, seeds, moment) for moment in moments] for agent, group in run.items()
    }
    losses = {agent: 1000 * outcomes.late(group, whole, "loss") for agent, group in run.items()}
    for agent in run:
        yield [f"`{agent}`", *_shown(returns[agent], losses[agent], signed=False)]
    for first, second in _PAIRS:
        if {first, second} <= run.keys():
            gaps = [np.subtract(*pair) for pair in zip(returns[first], returns[second], strict=True)]
            yield [f"`{first}` − `{second}`", *_shown(gaps, losses[first] - losses[second], signed=True)]


def _shown(returns: Sequence[Array], losses: Array, signed: bool) -> list[str]:
    """Return the numbers of seeds, and means with their intervals."""
    shown = [mean_and_interval(values, signed, 0, student_interval) for values in returns]
    loss = mean_and_interval(losses, signed, 2, student_interval)
    return [str(len(returns[0])), *shown, loss, str(len(losses))]


def _same_start(run: Mapping[str, Group], outcomes: Outcomes) -> str:
    """Say how far from QDT's the losses before the first update are: of one function they are the same."""
    told = []
    for agent in (FOLDED, "wide-dt"):
        pair = run.get("qdt", {}), run.get(agent, {})
        seeds = outcomes.whole(*pair)
        if seeds:
            first, other = (
                np.array([outcomes.record(group[seed])["loss"][0] for seed in seeds]) for group in pair
            )
            apart = np.abs(other / first - 1).max()
            told.append(f"that of `{agent}` by at most {apart:.1e} of it ({len(seeds)} seeds)")
    if not told:
        return ""
    return f"At the first update the loss differs from `qdt`'s: {', and '.join(told)}.\n"
