"""A dataset at a glance."""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from minari import MinariDataset

from qdt_rl.data.minari_reader import load_dataset, read_rewards, reference_scores


@dataclass(frozen=True)
class DatasetSummary:
    """What one wants to know of a dataset before training on it.

    Attributes:
        id: The dataset's id.
        env_id: The environment's id, or ``None`` where the dataset does not name one.
        n_episodes: E.
        n_steps: N.
        observation_space: As recorded.
        action_space: As recorded.
        return_mean: Of the episodes' returns, as the three that follow.
        return_std: Population standard deviation.
        return_min: The worst episode's return.
        return_max: The best episode's return.
        shortest_episode: In steps.
        longest_episode: In steps.
        reference_scores: The returns that count as 0 and 100, or ``None`` where the dataset knows none.
        behaviour_policy: Who acted, in the words of the dataset's author, or ``None``.
    """

    id: str
    env_id: str | None
    n_episodes: int
    n_steps: int
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    return_mean: float
    return_std: float
    return_min: float
    return_max: float
    shortest_episode: int
    longest_episode: int
    reference_scores: tuple[float, float] | None
    behaviour_policy: str | None


def summarise_dataset(dataset: MinariDataset | str) -> DatasetSummary:
    """Summarise a dataset of any spaces; only its rewards are read.

    Args:
        dataset: A dataset or its id; of a filtered or split one, only its own episodes count.

    Returns:
        The summary.

    Raises:
        DatasetError: If the dataset is missing, empty or damaged.
    """
    dataset = load_dataset(dataset)
    rewards = read_rewards(dataset)
    lengths = [len(episode) for episode in rewards]
    returns = np.array([episode.sum(dtype=np.float64) for episode in rewards])
    return DatasetSummary(
        id=dataset.id,
        env_id=dataset.env_spec.id if dataset.env_spec else None,
        n_episodes=len(rewards),
        n_steps=sum(lengths),
        observation_space=dataset.observation_space,
        action_space=dataset.action_space,
        return_mean=float(returns.mean()),
        return_std=float(returns.std()),
        return_min=float(returns.min()),
        return_max=float(returns.max()),
        shortest_episode=min(lengths),
        longest_episode=max(lengths),
        reference_scores=reference_scores(dataset),
        behaviour_policy=dataset.storage.metadata.get("algorithm_name"),
    )
