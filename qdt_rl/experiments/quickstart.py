"""The first thing to run: a dataset, three agents, their evaluation, a table and two figures, in minutes."""

from pathlib import Path
from time import perf_counter

import gymnasium as gym
from minari import MinariDataset
from rich.console import Console

from qdt_envs.controllers import EXPERT
from qdt_rl.baselines.reference import ControllerPolicy, RandomPolicy
from qdt_rl.data.generation import generate_dataset
from qdt_rl.data.minari_reader import load_dataset, read_trajectories, reference_scores
from qdt_rl.errors import DatasetError
from qdt_rl.experiments.agents import make_agent
from qdt_rl.experiments.comparison import Score, compare, spread_targets
from qdt_rl.experiments.figures import plot_requested_returns, plot_returns
from qdt_rl.experiments.tables import rich_table, save_scores
from qdt_rl.policy.base import OfflinePolicy
from qdt_rl.policy.protocol import Policy

DATASET = "qdt/synthetic/medium-expert-v0"
ENV = "QDTSynthetic-v0"
AGENTS = ("qdt", "dt", "bc")
N_EPISODES = 64
N_TARGETS, N_EPISODES_EACH = 5, 16


def run_quickstart(folder: Path, n_steps: int, seed: int, console: Console) -> list[Score]:
    """Train QDT, DT and behaviour cloning on the same data, and see which return each reaches.

    Args:
        folder: Where agents, tables and figures go.
        n_steps: Updates of each agent.
        seed: Of the dataset and of every agent. Episodes are evaluated from seeds of their own.
        console: Where the steps are told.

    Returns:
        The scores of the comparison at the best return in the data.
    """
    dataset = _dataset(seed, console)
    agents = {name: _train(name, n_steps, seed, folder, console) for name in AGENTS}
    references: dict[str, Policy] = {
        "random": RandomPolicy(gym.make(ENV).action_space, seed),
        "expert": ControllerPolicy(EXPERT),
    }
    trajectories = read_trajectories(dataset)
    best = float(trajectories.episode_returns.max())
    console.print(
        f"Evaluating {N_EPISODES} episodes each; the return asked for is the best in the data, {best:.0f} …"
    )
    scales = reference_scores(dataset)
    scores = list(
        compare(agents | references, ENV, [best], N_EPISODES, reference_scores=scales, progress_bar=True)
    )
    console.print(rich_table(scores, f"{DATASET}, {n_steps} updates, seed {seed}"))

    targets = spread_targets(trajectories.episode_returns, N_TARGETS)
    console.print(
        f"Asking for {', '.join(f'{target:.0f}' for target in targets)}, {N_EPISODES_EACH} episodes each …"
    )
    requested = list(compare(agents, ENV, targets, N_EPISODES_EACH, seed=N_EPISODES, progress_bar=True))
    console.print(rich_table(requested, "Requested and achieved"))

    written = [*save_scores(scores, folder, "scores"), *save_scores(requested, folder, "requested_returns")]
    plot_returns(scores, folder / "scores.png", f"{N_EPISODES} episodes, trained on {DATASET}")
    plot_requested_returns(
        requested,
        folder / "requested_returns.png",
        "The return that is asked for",
        trajectories.episode_returns,
    )
    written += [folder / "scores.png", folder / "requested_returns.png"]
    console.print("Wrote " + ", ".join(str(path) for path in written))
    return scores


def _dataset(seed: int, console: Console) -> MinariDataset:
    try:
        dataset = load_dataset(DATASET)
    except DatasetError:
        console.print(f"Generating {DATASET} …")
        return generate_dataset(DATASET, seed=seed, progress_bar=True)
    console.print(f"{DATASET} is there already: {dataset.total_episodes} episodes.")
    return dataset


def _train(name: str, n_steps: int, seed: int, folder: Path, console: Console) -> OfflinePolicy:
    console.print(f"Training {name}, {n_steps} updates …")
    start = perf_counter()
    agent = make_agent(name, seed=seed).fit(DATASET, n_steps, progress_bar=True)
    path = folder / f"{name}.zip"
    agent.save(path)
    console.print(f"  {perf_counter() - start:.0f} s, saved as {path}")
    return agent
