"""What the arrays of an episode must be, said precisely where they are not."""

import numpy as np
from jaxtyping import Float32, Int

from qdt_rl.errors import DatasetError

_BEST_COMPRESSION = 1100  # deflate's limit is 1032
_SMALL = 2**20


def require_rewards(episode: int, shape: tuple[int, ...]) -> None:
    """Refuse an episode whose rewards are not one number for each of its steps.

    Args:
        episode: The episode's index in its dataset.
        shape: The shape of its rewards.

    Raises:
        DatasetError: If it is not one-dimensional, or empty.
    """
    if len(shape) != 1 or shape[0] == 0:
        raise DatasetError(
            f"Episode {episode}: rewards has shape {shape}, but one number for each of at least one step was "
            "expected."
        )


def require_shape(episode: int, field: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Refuse an episode one of whose arrays has other rows or columns than the episode asks for.

    Args:
        episode: The episode's index in its dataset.
        field: The array's name in Minari.
        shape: The shape that it has.
        expected: The shape that the episode's rewards and the dataset's spaces give it.

    Raises:
        DatasetError: If the two differ.
    """
    if shape != expected:
        raise DatasetError(
            f"Episode {episode}: {field} has shape {shape}, but {expected} was expected from the episode's "
            "rewards and the dataset's spaces. An episode of T rewards has T actions and T + 1 observations."
        )


def require_size(episode: int, field: str, n_bytes: int, n_stored: int) -> None:
    """Refuse an array that is said to be far larger than what is stored of it can be.

    Args:
        episode: The episode's index in its dataset.
        field: The array's name in Minari.
        n_bytes: Of the array.
        n_stored: In the file, perhaps compressed.

    Raises:
        DatasetError: If no compression of HDF5's could have made it so small.
    """
    if n_bytes > _BEST_COMPRESSION * n_stored + _SMALL:
        raise DatasetError(
            f"Episode {episode}: {field} is said to hold {n_bytes:,} bytes, but the file stores "
            f"{n_stored:,}: it was not written to its end, or is made to exhaust memory."
        )


def require_finite(
    field: str,
    values: Float32[np.ndarray, "steps ..."],
    offsets: Int[np.ndarray, " boundaries"],
    episodes: Int[np.ndarray, " episodes"] | None = None,
) -> None:
    """Refuse NaN and infinity, and name the first place that holds one.

    Args:
        field: The array's name.
        values: One row per step, episodes end to end.
        offsets: Where the episodes start, and the number of steps at the end.
        episodes: What the episodes are called in messages; ``None`` counts them from 0.

    Raises:
        DatasetError: If a value is not finite.
    """
    # The extremes carry NaN and infinity, and need no temporary array as isfinite(values) would.
    if np.isfinite(values.min()) and np.isfinite(values.max()):
        return
    rows = values.reshape(len(values), -1)
    row, column = np.argwhere(~np.isfinite(rows))[0]
    position = int(np.searchsorted(offsets, row, side="right")) - 1
    episode = position if episodes is None else episodes[position]
    name = field if values.ndim == 1 else f"{field}[{column}]"
    raise DatasetError(
        f"Episode {episode}, step {row - offsets[position]}: {name} is {rows[row, column]}, but must be "
        "a finite float32 number (those beyond ±3.4e38 turn into inf)."
    )
