"""What a result was made with."""

import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from qdt_rl.data.trajectories import Trajectories

_PACKAGES = ("qdt-rl", "torch", "numpy", "gymnasium", "minari", "stable-baselines3")
_CHECKOUT = Path(__file__).resolve().parents[2]


@cache
def provenance() -> Mapping[str, Any]:
    """Return versions, the processor and which of its instructions torch uses, and the commit, for JSON.

    Those of the first call in this process: its code was loaded then, whatever is checked out later.
    """
    versions = {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
    name = torch.cpu.get_capabilities().get("cpu_name", platform.machine())
    processor = f"{name}, {torch.backends.cpu.get_cpu_capability()}"
    return {"versions": versions, "processor": processor, "commit": checked_out_commit()}


def fingerprint(trajectories: Trajectories) -> str:
    """Return twelve digits that tell these data from others: of a SHA-256 over the episodes' arrays."""
    digest = sha256()
    for array in (
        trajectories.offsets,
        trajectories.observations,
        trajectories.actions,
        trajectories.rewards,
    ):
        digest.update(repr((array.shape, array.dtype.str)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:12]


def checked_out_commit(folder: Path = _CHECKOUT) -> str | None:
    """Return the commit that runs, with ``+`` if files differ from it.

    Args:
        folder: Where the packages lie: the root of a checkout, or ``site-packages``.

    Returns:
        The commit; None if ``folder`` is no root of a checkout, be it inside that of some other project.
    """
    try:
        root, commit = _git(folder, "rev-parse", "--show-toplevel", "HEAD").splitlines()
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changes else "") if Path(root) == folder.resolve() else None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
