"""How the coordinator talks to its workers, one process per library: a JSON object a line, over pipes.

The coordinator asks ``{"job": "train", "options": {"variant": "dt"}, "repetitions": 5}``; the worker prepares
the job when it first hears of it, runs five repetitions, and answers how many seconds they took.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Job:
    """What a worker can measure: ``run(n)`` does n repetitions; ``facts`` show what work they are."""

    run: Callable[[int], object]
    facts: dict[str, Any] = field(default_factory=dict)


class Answer(NamedTuple):
    """Seconds of the repetitions asked for, the same in processor time of all the worker's threads, facts of
    the job, and the process's peak memory so far in MB.
    """

    seconds: float
    processor_seconds: float
    facts: dict[str, Any]
    peak_memory: float


def serve(library: Mapping[str, str], prepare: Mapping[str, Callable[..., Job]]) -> None:
    """Answer the coordinator until it closes the pipe.

    Args:
        library: Names and versions, the first line that is sent.
        prepare: Makes each job, by name, from its options.
    """
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what libraries print must not come between the answers
        jobs: dict[str, Job] = {}
        print(json.dumps(library), file=answers, flush=True)
        for line in sys.stdin:
            request = json.loads(line)
            key = json.dumps([request["job"], request["options"]], sort_keys=True)
            if key not in jobs:
                jobs[key] = prepare[request["job"]](**request["options"])
            start, start_processor = time.perf_counter(), time.process_time()
            jobs[key].run(request["repetitions"])
            seconds = time.perf_counter() - start, time.process_time() - start_processor
            answer = Answer(*seconds, jobs[key].facts, peak_memory())
            print(json.dumps(answer._asdict()), file=answers, flush=True)


def busy_seconds() -> float:
    """Return how long the machine's processors have been busy since it started, all together."""
    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, Path("/proc/stat").read_text().split()[1:11])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def peak_memory() -> float:
    """Return the largest resident size of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Worker:
    """A process that measures one library.

    Args:
        python: The interpreter of the environment that the library is in.
        module: The module of this package that serves it.
        variables: The process's environment, as ``environment`` returns it.
    """

    def __init__(self, python: str | Path, module: str, variables: Mapping[str, str]) -> None:
        self._origin = python, module
        self._process = subprocess.Popen(
            [str(python), "-W", "ignore", "-m", f"tests.benchmarks.{module}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=dict(variables),
        )
        self.versions: dict[str, str] = self._read()

    def measure(self, job: str, repetitions: int, options: Mapping[str, Any]) -> Answer:
        """Let the worker run a job, and return what it answers."""
        request = {"job": job, "options": dict(options), "repetitions": repetitions}
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return Answer(**self._read())

    def again(self, variables: Mapping[str, str]) -> "Worker":
        """Start a second process of the same library."""
        return Worker(*self._origin, variables)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"The worker {' '.join(self._process.args)} ended with exit code {self._process.wait()}; "
                "its last words are above."
            )
        return json.loads(line)


def environment(n_threads: int, datasets: Path) -> dict[str, str]:
    """Return the variables under which every measured process runs.

    Args:
        n_threads: Of OpenMP and MKL; each worker sets torch to them too.
        datasets: Where Minari's datasets are.
    """
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(n_threads))
    paths = [str(REPOSITORY), str(REPOSITORY / "envs"), os.environ.get("PYTHONPATH", "")]
    places = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "MINARI_DATASETS_PATH": str(datasets)}
    return {**os.environ, **threads, **places}
