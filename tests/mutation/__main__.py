"""Do the tests notice faults? ``python -m tests.mutation``, from the repository's root.

Draws places in the numerical core at random and one mutant at each, changes a copy of the repository
accordingly, one mutant at a time, and runs the tests that are meant to notice until one fails. Prints what
survived. Ten seconds or so for each. Needs ``pip install cosmic-ray`` beside what development needs, and a
system with fork.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from tests.mutation.mutants import Mutant, Place, mutants_by_place

_ACTING = ("tests/policy/test_golden_files.py", "tests/policy/test_acting.py")
_MODEL = ("tests/model", *_ACTING, "tests/benchmarks/test_counts.py", "tests/test_training.py")
_STEPPER = (*_ACTING, "tests/model", "tests/benchmarks/test_counts.py", "tests/test_training.py")
_DATA = tuple(
    f"tests/data/test_{name}.py" for name in ("windows", "sampler", "trajectories", "minari_reader")
)
TESTS = {
    "qdt_rl/model/stepper.py": _STEPPER,
    "qdt_rl/model": _MODEL,
    "qdt_rl/data/windows.py": (*_DATA, *_MODEL),
    "qdt_rl/data/sampler.py": (*_DATA, "tests/test_training.py"),
    "qdt_rl/data/trajectories.py": _DATA,
    "qdt_rl/evaluation": ("tests/evaluation", "tests/experiments/test_runs.py"),
}
"""What is mutated, and the tests for it; the first entry that fits a module counts."""

_PRELOADED = (
    "torch gymnasium minari stable_baselines3 scipy.stats lightning_fabric matplotlib.pyplot beartype"
)


def main() -> None:
    """Draw mutants, test them, and print the survivors and the score."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--sample", type=int, default=250, help="how many places; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    results_help = "of an earlier run of the same code: mutants that were killed are not tested again"
    parser.add_argument("--results", type=Path, default=Path("runs/mutants.json"), help=results_help)
    arguments = parser.parse_args()
    root = Path.cwd()
    places = mutants_by_place(root, sorted({path for name in TESTS for path in _modules(root, name)}))
    print(f"{sum(map(len, places.values()))} mutants at {len(places)} places")
    sample = draw(places, arguments.sample or len(places), arguments.seed)
    outcomes = outcomes_of(sample, root, arguments.results)
    for mutant in sample:
        if outcomes[str(mutant)] == "survived":
            print(f"{mutant}\n{mutant.change((root / mutant.place[0]).read_text(encoding='utf-8'))}")
    print(f"{len(sample)} mutants: {dict(Counter(outcomes[str(mutant)] for mutant in sample))}")


def draw(places: dict[Place, list[Mutant]], n_places: int, seed: int) -> list[Mutant]:
    """Return one mutant at each of ``n_places`` places, in the order of the code."""
    generator = random.Random(seed)
    return [generator.choice(places[place]) for place in sorted(generator.sample(sorted(places), n_places))]


def outcomes_of(sample: list[Mutant], root: Path, results: Path) -> dict[str, str]:
    """Test the mutants in a copy of the repository, but for those that ``results`` says were killed."""
    outcomes = json.loads(results.read_text()) if results.exists() else {}
    sample = [mutant for mutant in sample if outcomes.get(str(mutant), "survived") == "survived"]
    for name in _PRELOADED.split():  # once, and not for every mutant
        import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("qdt_rl", "envs", "tests"):
            shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(root / "pyproject.toml", copy)
        limits = {
            tests: 60 + 5 * _time_unharmed(copy, tests) for tests in sorted(set(map(_tests_of, sample)))
        }
        for mutant in sample:
            outcomes[str(mutant)] = outcome_of(mutant, copy, limits[_tests_of(mutant)])
            print(f"{mutant}: {outcomes[str(mutant)]}", flush=True)
            results.parent.mkdir(parents=True, exist_ok=True)
            results.write_text(json.dumps(outcomes, indent=1))
    return outcomes


def outcome_of(mutant: Mutant, copy: Path, seconds: float) -> str:
    """Return what became of a mutant: ``"survived"`` or how it was killed."""
    path = copy / mutant.place[0]
    source = path.read_text(encoding="utf-8")
    path.write_text(mutant.apply(source), encoding="utf-8")
    try:
        return _run(copy, _tests_of(mutant), seconds)
    finally:
        path.write_text(source, encoding="utf-8")


def _modules(root: Path, name: str) -> list[str]:
    path = root / name
    return [str(module.relative_to(root)) for module in (path.glob("*.py") if path.is_dir() else [path])]


def _tests_of(mutant: Mutant) -> tuple[str, ...]:
    return next(tests for name, tests in TESTS.items() if mutant.place[0].startswith(name))


def _time_unharmed(copy: Path, tests: tuple[str, ...]) -> float:
    start = time.monotonic()
    if (outcome := _run(copy, tests, seconds=1200)) != "survived":
        raise SystemExit(f"Without any mutant, {' '.join(tests)}: {outcome}.")
    return time.monotonic() - start


def _run(copy: Path, tests: tuple[str, ...], seconds: float) -> str:
    """Run tests in a fork of this process, which has not imported the code under test."""
    child = os.fork()
    if child == 0:
        os.setsid()
        os.chdir(copy)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        sys.dont_write_bytecode = True  # a mutant may be as long and as old, in seconds, as the one before
        options = ("-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "--hypothesis-seed=0")
        os._exit(pytest.main([*options, *tests]))
    deadline = time.monotonic() + seconds
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "killed by time-out"
        time.sleep(0.05)
    code = os.waitstatus_to_exitcode(ended[1])
    return {0: "survived", 1: "killed", 2: "killed at import", 4: "killed at import"}.get(
        code, f"killed: {code}"
    )


if __name__ == "__main__":
    main()
