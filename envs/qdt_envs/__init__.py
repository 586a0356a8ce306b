"""A chain of masses in double wells, steered by three of its five. Importing this registers the ids."""

from gymnasium.envs.registration import register

from qdt_envs.errors import EnvArgumentError

__all__ = ["EnvArgumentError"]

_VARIANTS: dict[str, dict[str, object]] = {
    "QDTSynthetic-v0": {},
    "QDTSyntheticDelayed-v0": {"reward_delay": 50},
    "QDTSyntheticDelayed200-v0": {"reward_delay": 200},
    "QDTSyntheticHidden-v0": {"hidden_polarity": True},
}

for _env_id, _arguments in _VARIANTS.items():
    register(
        id=_env_id,
        entry_point="qdt_envs.env:SyntheticEnv",
        vector_entry_point="qdt_envs.vector_env:SyntheticVectorEnv",
        max_episode_steps=1000,
        kwargs=_arguments,
    )
