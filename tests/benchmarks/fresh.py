"""What only fresh processes show: the time of an import, and the peak memory of reading a dataset."""

import json
import subprocess
import sys
from collections.abc import Mapping
from statistics import median

from tests.benchmarks.protocol import REPOSITORY

IMPORTS = ("import torch", "import qdt_rl", "from qdt_rl import QDTPolicy")


def import_times(n_rounds: int, variables: Mapping[str, str]) -> dict[str, list[float]]:
    """Return the seconds that each statement takes in a new process, round by round."""
    times: dict[str, list[float]] = {statement: [] for statement in IMPORTS}
    for _ in range(n_rounds + 1):
        for statement in IMPORTS:
            code = f"import time; a = time.perf_counter(); {statement}; print(time.perf_counter() - a)"
            times[statement].append(float(_run(["-c", code], variables)))
    return {statement: values[1:] for statement, values in times.items()}  # the first fills the page cache


def reading_memory(n_episodes: int, n_rounds: int, variables: Mapping[str, str]) -> dict[str, float]:
    """Return the peak memory of reading over the size of the arrays, for each reader; medians."""
    ratios = {}
    for reader in ("ours", "h5py"):
        command = ["-m", "tests.benchmarks.loading", reader, str(n_episodes)]
        reports = [json.loads(_run(command, variables)) for _ in range(n_rounds)]
        ratios[reader] = median(report["peak"] / report["arrays"] for report in reports)
    return ratios


def _run(arguments: list[str], variables: Mapping[str, str]) -> str:
    command = [sys.executable, "-W", "ignore", *arguments]
    done = subprocess.run(
        command, env=dict(variables), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.splitlines()[-1]
