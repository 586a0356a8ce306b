"""What a sceptic asks of a conclusion: does it stand when it is looked at in another way?"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from qdt_rl.evaluation.statistics import Statistic, bootstrap_interval, widest_interval
from qdt_rl.experiments.markdown import markdown_table
from qdt_rl.experiments.reports.outcomes import Array
from qdt_rl.experiments.reports.tasks import Contrast, Task, Values
from qdt_rl.model.variants import VARIANTS

Conclusion = Literal["+", "−", "open"]
FALSE_POSITIVES = {2: 0.5, 3: 0.25, 4: 0.21, 5: 0.16, 10: 0.1}
"""How often a 95 % percentile bootstrap of the mean of n normal values excludes the truth, by n."""


def conclude(differences: Values) -> Conclusion:
    """Return the sign of a difference whose interval excludes zero, that of the claims, or "open"."""
    return _sign(*widest_interval(differences))


def conclude_by_bootstrap(differences: Array, statistic: Statistic = "mean") -> Conclusion:
    """Return the same by a 95 % bootstrap over seeds alone, which is narrower where they are few."""
    return _sign(*bootstrap_interval(differences, statistic))


def without_each(differences: Values) -> list[Values]:
    """Return the differences without the first seed, without the second, and so on; none of a single one."""
    n_seeds = len(differences)
    return [np.delete(differences, i, axis=0) for i in range(n_seeds)] if n_seeds > 1 else []


def sceptic_table(task: Task) -> str:
    """Return a table of a task's conclusions, and of what becomes of each when it is looked at otherwise."""
    other = [moment for moment in task.moments if moment != task.last]
    heads = [
        "expert's target" if moment.target == "expert" else f"{moment.n_updates:,} updates"
        for moment in other
    ]
    rows = []
    for name, contrast in task.contrasts.items():
        differences = task.contrast(contrast)
        conclusion = conclude(differences)
        fewer = [conclude(left) for left in without_each(differences)]
        means = differences.mean(axis=1)
        views = [conclude_by_bootstrap(means), conclude_by_bootstrap(means, "iqm")]
        views += [conclude(task.contrast(contrast, moment)) for moment in other]
        marked = [_marked(view, conclusion) for view in views]
        alike = _of_alike(task, contrast, conclusion)
        rows.append([name, conclusion, _left_out(fewer, conclusion), alike, *marked])
    header = ["the sceptic", "conclusion", "without one seed", "seeds that ran alike"]
    header += ["seeds drawn alone", "the same, IQM", *heads]
    return markdown_table(header, rows)


def expected_by_chance(all_tasks: Sequence[Task]) -> str:
    """Return a sentence that says how many conclusions there are, and how to read the sceptic's tables."""
    counted = " and ".join(
        f"of {len(found)} {of} {sum(conclusion != 'open' for conclusion in found)}"
        for of, found in _conclusions(all_tasks).items()
    )
    return (
        "In the sceptic's tables `+` and `−` are the sign of a difference whose interval, that of the "
        'claims, excludes zero, "open" one whose interval does not, or of which there is a single seed; what '
        "differs from the conclusion is **bold**. Runs are alike on one kind of processor, at one precision "
        "and from one commit. At the end of training, "
        f"{counted} exclude zero, which are not independent; the other columns are further looks, and not "
        "counted. A bootstrap over seeds alone excludes zero too easily if they are few: of true zeros "
        f"{_rates()}, instead of 5 %.\n"
    )


def _conclusions(all_tasks: Sequence[Task]) -> dict[str, list[Conclusion]]:
    """Return the conclusions of more than one seed, apart by what is compared."""
    transformers, cloning = "differences between transformers", "from cloning"
    found: dict[str, list[Conclusion]] = {transformers: [], cloning: []}
    for task in all_tasks:
        for contrast in task.contrasts.values():
            differences = task.contrast(contrast)
            if len(differences) > 1:
                of = transformers if contrast.keys() <= VARIANTS.keys() else cloning
                found[of].append(conclude(differences))
    return found


def _of_alike(task: Task, contrast: Contrast, conclusion: Conclusion) -> str:
    """Return the conclusion from the seeds whose runs were made in the same way, and how many these are."""
    groups = (task.groups[agent] for agent in contrast)
    seeds = task.outcomes.alike(*groups)
    view = conclude(task.contrast(contrast, seeds=seeds))
    return f"{_marked(view, conclusion)} ({len(seeds)})" if seeds else "–"


def false_positives(n_seeds: int) -> str:
    """Return how often a bootstrap of so many seeds excludes the truth, in per cent."""
    return f"{100 * FALSE_POSITIVES[n_seeds]:.0f} %"


def _rates() -> str:
    return ", ".join(f"{false_positives(n)} with {n} seeds" for n in FALSE_POSITIVES)


def _left_out(conclusions: Sequence[Conclusion], conclusion: Conclusion) -> str:
    same = conclusions.count(conclusion)
    parts = [f"{same} of {len(conclusions)} the same", *_others(conclusions, conclusion)]
    return ", ".join(parts) if conclusions else "–"


def _others(conclusions: Sequence[Conclusion], conclusion: Conclusion) -> Iterator[str]:
    for other in ("+", "−", "open"):
        if other != conclusion and other in conclusions:
            yield f"**{list(conclusions).count(other)} {other}**"


def _marked(view: Conclusion, conclusion: Conclusion) -> str:
    return view if view == conclusion else f"**{view}**"


def _sign(low: float, high: float) -> Conclusion:
    return "+" if low > 0 else "−" if high < 0 else "open"
