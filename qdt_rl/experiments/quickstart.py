"""The first thing to run: a dataset, three agents, their evaluation, a table and two figures, in minutes."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any

from minari import MinariDataset
from rich.console import Console

from qdt_rl.data.generation import generate_dataset, generation_seed
from qdt_rl.data.minari_reader import load_dataset, read_trajectories, reference_scores
from qdt_rl.errors import DatasetError
from qdt_rl.evaluation.environments import vector_env
from qdt_rl.experiments.agents import make_agent
from qdt_rl.experiments.comparison import Score, compare, spread_targets
from qdt_rl.experiments.figures import plot_requested_returns, plot_returns
from qdt_rl.experiments.output import output_folder
from qdt_rl.experiments.provenance import provenance
from qdt_rl.experiments.runs import reference_policies
from qdt_rl.experiments.tables import requested_table, rich_table, save_scores
from qdt_rl.files import write_whole
from qdt_rl.policy.base import OfflinePolicy

DATASET, N_DATA_EPISODES = "qdt/synthetic/medium-expert-v0", 200
ENV = "QDTSynthetic-v0"
N_TARGETS = 5

# Short contexts, since this task's observations say all that matters, and a high learning rate, since the run
# is short: what lets it end within minutes on two cores.
SETTINGS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "qdt": {"context_length": 8, "learning_rate": 1e-3},
        "dt": {"context_length": 8, "learning_rate": 1e-3},
        "bc": {"learning_rate": 1e-3},
    }
)


def run_quickstart(
    folder: Path, n_steps: int, n_episodes: int, seed: int, console: Console, device: str = "auto"
) -> list[Path]:
    """Train QDT, DT and behaviour cloning on the same data, and see which return each reaches.

    Args:
        folder: Where agents, tables, figures and the manifest go.
        n_steps: Updates of each agent.
        n_episodes: Of each policy at the best return in the data; a fifth of it at each of five targets.
        seed: Of the dataset and of every agent. Episodes are evaluated from seeds of their own.
        console: Where the steps are told.
        device: Where agents train and act.

    Returns:
        The files written.

    Raises:
        ConfigError: If nothing can be written to ``folder``, or this machine does not have the device.
    """
    untrained = {name: make_agent(name, seed=seed, device=device, **SETTINGS[name]) for name in SETTINGS}
    output_folder(folder)
    seconds: dict[str, float] = {}
    with _phase("dataset", f"Generating {DATASET}", seconds, console):
        dataset = _dataset(seed, console)
    agents = {
        name: _train(name, agent, dataset, n_steps, folder, seconds, console)
        for name, agent in untrained.items()
    }
    episode_returns = read_trajectories(dataset).episode_returns
    best, targets = float(episode_returns.max()), spread_targets(episode_returns, N_TARGETS)
    with _phase("evaluation", f"Asking for the best return in the data, {best:.0f}", seconds, console):
        scores = _compare_with_references(agents, best, n_episodes, reference_scores(dataset))
    asked = ", ".join(f"{target:.0f}" for target in targets)
    with _phase("requested returns", f"Asking for {asked}", seconds, console):
        few = -(-n_episodes // N_TARGETS)
        requested = list(compare(agents, ENV, targets, few, seed=n_episodes, progress_bar=True))
    console.print(rich_table(scores, f"{n_episodes} episodes, asked for the best return in the data"))
    console.print(requested_table(requested, f"{few} episodes for each return asked for"))

    title = f"{DATASET}, one training seed: {n_episodes} episodes, {best:.0f} asked for"
    plot_returns(scores, folder / "scores.png", title)
    title = f"{DATASET}, one training seed: requested and achieved returns"
    expert = next(score for score in scores if score.agent == "expert")
    plot_requested_returns(requested, folder / "requested_returns.png", title, expert, episode_returns)
    manifest = _manifest(agents, dataset, n_steps, seed, seconds)
    write_whole(folder / "manifest.json", json.dumps(manifest, indent=1, allow_nan=False).encode())
    return [
        *(folder / f"{name}.zip" for name in agents),
        *save_scores(scores, folder, "scores"),
        *save_scores(requested, folder, "requested_returns"),
        *(folder / name for name in ("scores.png", "requested_returns.png", "manifest.json")),
    ]


def _dataset(seed: int, console: Console) -> MinariDataset:
    try:
        return generate_dataset(DATASET, n_episodes=N_DATA_EPISODES, seed=seed, progress_bar=True)
    except DatasetError:  # there already
        dataset = load_dataset(DATASET)
    found = int(dataset.total_episodes), generation_seed(dataset)
    console.print(f"  It is there already: {found[0]} episodes, seed {found[1]}.", highlight=False)
    if found != (N_DATA_EPISODES, seed):
        console.print(
            f"  Note: a new one would have {N_DATA_EPISODES} episodes, seed {seed}. To have it:\n"
            f"  qdt-rl data generate {DATASET} --seed {seed} --overwrite",
            highlight=False,
            soft_wrap=True,
        )
    return dataset


def _train(
    name: str,
    agent: OfflinePolicy,
    dataset: MinariDataset,
    n_steps: int,
    folder: Path,
    seconds: dict[str, float],
    console: Console,
) -> OfflinePolicy:
    with _phase(f"training {name}", f"Training {name}, {n_steps:,} updates", seconds, console):
        agent.fit(dataset, n_steps, progress_bar=True)
        agent.save(folder / f"{name}.zip")
    return agent


def _compare_with_references(
    agents: Mapping[str, OfflinePolicy],
    target_return: float,
    n_episodes: int,
    scale: tuple[float, float] | None,
) -> list[Score]:
    with vector_env(ENV, n_episodes) as env:
        policies = {**agents, **reference_policies(env, seed=0)}
        return list(
            compare(policies, env, [target_return], n_episodes, reference_scores=scale, progress_bar=True)
        )


def _manifest(
    agents: Mapping[str, OfflinePolicy],
    dataset: MinariDataset,
    n_steps: int,
    seed: int,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """Return what it takes to run this again, and how long it took."""
    made_from = {"n_episodes": int(dataset.total_episodes), "seed": generation_seed(dataset)}
    return {
        **provenance(),
        "dataset": {"id": DATASET, **made_from},
        "agents": {
            name: {**SETTINGS[name], "seed": seed, "device": str(agent.device)}
            for name, agent in agents.items()
        },
        "n_steps": n_steps,
        "seconds": seconds,
    }


@contextmanager
def _phase(name: str, told: str, seconds: dict[str, float], console: Console) -> Iterator[None]:
    """Say what is done now, and afterwards how long it took."""
    console.print(f"{told} …", highlight=False, soft_wrap=True)
    start = perf_counter()
    yield
    seconds[name] = round(perf_counter() - start, 1)
    console.print(f"  {seconds[name]:.0f} s", highlight=False)
