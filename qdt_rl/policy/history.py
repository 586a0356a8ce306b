"""What an acting policy remembers of the episodes under way: a value, never changed in place."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int64

from qdt_rl.data.windows import Windows, take_windows
from qdt_rl.errors import InputError


@dataclass(frozen=True, eq=False)
class History:
    """The last K timesteps of B episodes, the newest at the end of each row.

    Attributes:
        owner: The identity of the policy that it belongs to.
        returns_to_go: (B, K), as asked at each timestep.
        observations: (B, K, S).
        actions: (B, K, A); the newest is zero until the policy has chosen it.
        timesteps: (B, K), steps of the episode from 0.
        lengths: (B,), how many of the K timesteps are filled.
        context_lengths: (B,), how many of them the newest action was computed from.
    """

    owner: str
    returns_to_go: Float32[np.ndarray, "batch context"]
    observations: Float32[np.ndarray, "batch context observation"]
    actions: Float32[np.ndarray, "batch context action"]
    timesteps: Int64[np.ndarray, "batch context"]
    lengths: Int64[np.ndarray, " batch"]
    context_lengths: Int64[np.ndarray, " batch"]

    @classmethod
    def empty(
        cls, owner: str, n_rows: int, context_length: int, observation_size: int, action_size: int
    ) -> "History":
        """Return the history of ``n_rows`` episodes that have not begun."""
        shape = (n_rows, context_length)
        return cls(
            owner,
            np.zeros(shape, np.float32),
            np.zeros((*shape, observation_size), np.float32),
            np.zeros((*shape, action_size), np.float32),
            np.full(shape, -1, np.int64),
            np.zeros(n_rows, np.int64),
            np.zeros(n_rows, np.int64),
        )

    def check(self, owner: str, n_rows: int) -> None:
        """Raise InputError unless this is a history of ``owner`` with ``n_rows`` rows."""
        if self.owner != owner:
            raise InputError("This state was made by another policy; pass None to start the episodes afresh.")
        if len(self.lengths) != n_rows:
            raise InputError(
                f"This state holds {len(self.lengths)} episodes, but {n_rows} observations came; "
                f"keep the rows of a batch together, or pass None to start the episodes afresh."
            )

    def observe(
        self,
        observations: Float32[np.ndarray, "batch observation"],
        returns_to_go: Float32[np.ndarray, " batch"],
        episode_start: Bool[np.ndarray, " batch"],
    ) -> "History":
        """Return the history with one timestep more; rows of ``episode_start`` begin with it."""
        lengths = np.where(episode_start, 0, self.lengths)
        timesteps = np.where(episode_start, 0, self.timesteps[:, -1] + 1)
        return History(
            self.owner,
            _shift_in(self.returns_to_go, returns_to_go),
            _shift_in(self.observations, observations),
            _shift_in(self.actions, np.zeros_like(self.actions[:, -1])),
            _shift_in(self.timesteps, timesteps),
            np.minimum(lengths + 1, self.timesteps.shape[1]),
            self._next_context(lengths),
        )

    def _next_context(self, past: Int64[np.ndarray, " batch"]) -> Int64[np.ndarray, " batch"]:
        """Count the newest timestep in; a context that is full keeps the newer half of the past only."""
        longest = self.timesteps.shape[1]
        kept = np.where(self.context_lengths == longest, longest // 2, self.context_lengths)
        context_lengths: Int64[np.ndarray, " batch"] = np.minimum(kept, past) + 1
        return context_lengths

    def act(self, actions: Float32[np.ndarray, "batch action"]) -> "History":
        """Return the history in which the newest timestep has its action."""
        chosen = np.concatenate([self.actions[:, :-1], actions[:, None]], axis=1)
        return replace(self, actions=chosen)

    def windows(self) -> Windows:
        """Return the (B, K) windows that end at each row's newest timestep, as training builds them."""
        n_rows, context_length = self.timesteps.shape
        return self._windows(np.arange(n_rows), self.lengths, 0, context_length)

    def past_windows(self, rows: Bool[np.ndarray, " batch"], n_steps: Int64[np.ndarray, " rows"]) -> Windows:
        """Return windows of the ``n_steps`` timesteps before the newest, for some rows."""
        return self._windows(np.flatnonzero(rows), n_steps, 1, int(n_steps.max()))

    def _windows(self, rows: np.ndarray, lengths: np.ndarray, n_skipped: int, context_length: int) -> Windows:
        n_rows, n_held = self.timesteps.shape
        ends = (rows + 1) * n_held - n_skipped
        return take_windows(
            self.observations.reshape(n_rows * n_held, -1),
            self.actions.reshape(n_rows * n_held, -1),
            self.returns_to_go.reshape(-1),
            self.timesteps.reshape(-1),
            ends - lengths,
            lengths,
            context_length,
        )


def _shift_in(held: np.ndarray, newest: np.ndarray) -> np.ndarray:
    return np.concatenate([held[:, 1:], newest[:, None]], axis=1)
