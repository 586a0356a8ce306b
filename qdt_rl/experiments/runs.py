"""What the command line does with agents: train one and keep its log, evaluate some and keep the scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
from stable_baselines3.common.logger import configure

from qdt_envs.controllers import EXPERT
from qdt_envs.reference_scores import REFERENCE_SCORES
from qdt_rl.baselines.reference import ControllerPolicy, RandomPolicy
from qdt_rl.baselines.sb3 import SB3Policy
from qdt_rl.errors import ConfigError
from qdt_rl.experiments.agents import load_agent, make_agent
from qdt_rl.experiments.comparison import Score, compare
from qdt_rl.experiments.figures import plot_requested_returns, plot_returns
from qdt_rl.experiments.tables import save_scores
from qdt_rl.policy.base import OfflinePolicy
from qdt_rl.policy.protocol import Policy

_HIDDEN_POLARITY = "QDTSyntheticHidden-v0"


def train_agent(
    dataset_id: str, name: str, n_steps: int, path: Path, resume: Path | None, settings: dict[str, Any]
) -> list[Path]:
    """Train an agent, and write it and its log.

    Args:
        dataset_id: A Minari dataset's id.
        name: One of ``AGENTS``.
        n_steps: Updates.
        path: Of the agent's file; the log goes to a folder of that name without its suffix.
        resume: An agent to train on, instead of a new one.
        settings: Of a new agent's constructor.

    Returns:
        The files written.

    Raises:
        ConfigError: If a name or value is not known.
    """
    agent = load_agent(resume) if resume else make_agent(name, **settings)
    log = path.with_suffix("")
    agent.set_logger(configure(str(log), ["stdout", "csv"]))
    agent.fit(dataset_id, n_steps, log_interval=max(1, min(100, n_steps // 10)), progress_bar=True)
    agent.save(path)
    agent.logger.close()
    return [path, log / "progress.csv"]


def compare_agents(
    paths: Sequence[Path],
    env_id: str | None,
    target_returns: Sequence[float] | None,
    n_episodes: int,
    seed: int,
    folder: Path,
    *,
    references: bool,
    online: Sequence[str] = (),
    online_steps: int = 0,
) -> tuple[list[Score], list[Path]]:
    """Evaluate agents on the same episodes, and write the scores and their figures.

    Args:
        paths: Agents' files; each agent is named by its file.
        env_id: A Gymnasium id; None: where the first agent's data was recorded.
        target_returns: Returns to ask for; None: the best in the first agent's data.
        n_episodes: For each agent and target.
        seed: Of the first episode, and of what is trained online.
        folder: Where tables and figures go.
        references: Whether to add random actions and, where the environment is ours, the expert.
        online: SB3 algorithms to train in the environment first: ``"PPO"``, ``"SAC"``.
        online_steps: Environment steps of each.

    Returns:
        The scores, and the files written.

    Raises:
        ConfigError: If no environment is named, or two agents have one name.
    """
    agents = {path.stem: load_agent(path) for path in paths}
    if len(agents) < len(paths):
        raise ConfigError(
            f"Agents are named by their files, and {[path.stem for path in paths]} has a name twice."
        )
    first = next(iter(agents.values()))
    env_id = env_id or first.env_id
    if env_id is None:
        raise ConfigError("The agent's dataset names no environment; name one with --env.")
    policies: dict[str, Policy] = dict(agents)
    policies |= {
        name: SB3Policy.learn(name, env_id, online_steps, seed=seed, progress_bar=True) for name in online
    }
    if references:
        policies |= _references(env_id, seed)
    targets = target_returns or [_best_return(first)]
    scores = list(
        compare(
            policies,
            env_id,
            targets,
            n_episodes,
            seed=seed,
            reference_scores=first.reference_scores,
            progress_bar=True,
        )
    )
    return scores, [*save_scores(scores, folder, "scores"), *_figures(scores, folder, env_id)]


def _best_return(agent: OfflinePolicy) -> float:
    return agent.best_return if agent.best_return is not None else 0.0


def _references(env_id: str, seed: int) -> dict[str, Policy]:
    env = gym.make(env_id)
    found: dict[str, Policy] = {"random": RandomPolicy(env.action_space, seed)}
    env.close()
    if env_id in REFERENCE_SCORES and env_id != _HIDDEN_POLARITY:  # whose expert must be shown the polarity
        found["expert"] = ControllerPolicy(EXPERT)
    return found


def _figures(scores: Sequence[Score], folder: Path, env_id: str) -> list[Path]:
    """Draw one figure of the returns for each target, and one across targets if there are several."""
    targets = list(dict.fromkeys(score.target_return for score in scores))
    drawn = []
    for target in targets:
        drawn.append(folder / ("scores.png" if len(targets) == 1 else f"scores_{target:.0f}.png"))
        at_target = [score for score in scores if score.target_return == target]
        plot_returns(at_target, drawn[-1], f"{env_id}, {target:.0f} asked for")
    if len(targets) > 1:
        drawn.append(folder / "requested_returns.png")
        plot_requested_returns(scores, drawn[-1], env_id)
    return drawn
