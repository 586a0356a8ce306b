"""Which reading of the paper's description makes Q-attention alone fail."""

from collections.abc import Sequence

from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.markdown import markdown_table
from qdt_rl.experiments.reports.outcomes import Array, Group, Outcomes, by_seed, in_ablation, settings_of
from qdt_rl.experiments.reports.page import Page, mean_and_interval
from qdt_rl.experiments.reports.panels import Rows

_RULE = """\
**The rule.** A reading *fails* if in every seed Q-attention's score is below half of that of its own run of
the seed, as it is. It fails *alone*, as the paper says, if `dt` under the same reading keeps at least half
of its own score in every seed; readings of the entanglement leave `dt` as it is. It is *mixed* if Q-attention
falls so in some seeds alone, or in all while `dt` does in some. The score is 0 for random actions and 100 for
the expert, at the end, asked for the best return in the data. Nothing is concluded before all seeds have been
run. Differences are paired by seed; a failed run counts as none, and one that diverged by the weights before.
For comparison: in the paper Q-attention alone is at −2447 and DT at −134, a difference of
−2313. (Until 26 November 2026, when eight runs had ended, *alone* was to be below half of `dt`'s score under
the reading, which means nothing where `dt`'s is below zero; until the sixteen runs of the first seed had
ended, *mixed* was called *stands* or *fails*.)

Runs without a causal mask, and with entanglement across tokens, act by the sliding window, since no cache can
serve them; all others act from the cached context.
"""
_WORDS = {("warmup_steps", 0): "no warm-up", ("max_grad_norm", 1e9): "no clipping"}
_AGENTS = ("q-attention", "dt")
_HEADER = ["reading", "seeds", "return", "− as it is", "`dt` [seeds]", "− `dt`", "score kept, %", "verdict"]


def catastrophe_page(cells: Sequence[Cell], outcomes: Outcomes) -> Page:
    """Return a row a reading: Q-attention beside its runs as it is, and beside DT under the same reading."""
    groups = by_seed(cells, lambda cell: (cell.variant.partition("+")[0], reading(cell)))
    readings = {name: group for (agent, name), group in groups.items() if agent == "q-attention"}
    first = next(iter(readings.values()))
    own, plain = in_ablation(first), in_ablation(first, "dt")
    beside = {name: groups.get(("dt", name), plain) for name in readings}
    shortfall = outcomes.shortfall(c for group in (*groups.values(), own, plain) for c in group.values())
    rows = [_row(name, group, own, beside[name], outcomes) for name, group in readings.items()]
    shown = {"q-attention, as it is": own, "dt, as it is": plain}
    shown |= {
        f"{agent}, {name}": group
        for name in readings
        for agent in _AGENTS
        if (group := groups.get((agent, name)))
    }
    returns = {
        name: outcomes.returns(group, seeds)
        for name, group in shown.items()
        if (seeds := outcomes.finished(group))
    }
    panel = Rows("other readings", "return at the end", returns)
    text = f"{_RULE}\n{shortfall}\n{markdown_table(_HEADER, rows)}"
    return Page(text, {"readings": [panel]} if returns else {})


def reading(cell: Cell) -> str:
    """Return the name of a cell's reading: its change, or its settings."""
    change = cell.variant.partition("+")[2].replace("-", " ")
    settings = (
        _WORDS.get((name, value), f"{name.replace('_', ' ')} {value:g}")
        for name, value in settings_of(cell).items()
    )
    return ", ".join([change] * bool(change) + list(settings))


def _row(name: str, group: Group, own: Group, dt: Group, outcomes: Outcomes) -> list[str]:
    plain = in_ablation(group, "dt")
    dt_seeds = outcomes.finished(dt)
    seeds, beside_dt = outcomes.finished(group, own), outcomes.finished(group, own, dt, plain)
    returns = outcomes.returns(group, seeds)
    n_diverged = sum(outcomes.state(group[seed]) == "diverged" for seed in seeds)
    is_whole = len(beside_dt) == len(group)
    judged = (outcomes.scores(runs, seeds) for runs in (group, own, dt, plain))
    verdict = _verdict(*judged) if is_whole else "open"
    difference = outcomes.gaps(group, dt, beside_dt)
    return [
        name,
        f"{len(seeds)} of {len(group)}",
        mean_and_interval(returns),
        mean_and_interval(returns - outcomes.returns(own, seeds), signed=True),
        mean_and_interval(outcomes.returns(dt, dt_seeds)) + f" [{len(dt_seeds)}]",
        mean_and_interval(difference, signed=True),
        mean_and_interval(outcomes.kept(group, own, seeds)),
        verdict + (f", {n_diverged} diverged" if n_diverged else ""),
    ]


def _verdict(scores: Array, own: Array, dt: Array, dt_own: Array) -> str:
    """Return what the rule says of all seeds' scores, Q-attention's and DT's, changed and as they are."""
    fallen, dt_fallen = scores < own / 2, dt < dt_own / 2
    if not fallen.any():
        return "stands"
    if fallen.all() and not dt_fallen.any():
        return "**fails alone**"
    if fallen.all() and dt_fallen.all():
        return "fails, and so does `dt`"
    return f"mixed: {fallen.sum()} of {len(fallen)} fail, of `dt` {dt_fallen.sum()}"
