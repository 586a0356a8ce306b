"""The benchmark: ``python -m tests.benchmarks --peers PATH``, from the repository's root.

``tests/benchmarks/peers/make_peers_env.py PATH`` builds the peers' environment. Without it our side alone is
measured. The machine should be idle.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks import report, scaling
from tests.benchmarks.comparisons import COMPARISONS, Comparison, Measured, measure
from tests.benchmarks.fresh import import_times, reading_memory
from tests.benchmarks.protocol import Worker, environment
from tests.benchmarks.report import Row

N_EPISODES = 1000
PEERS = {name: f"peers.{name}_worker" for name in ("d3rlpy", "hugging_face", "torchrl")}


def main() -> None:
    """Measure, print the table, and store what was measured."""
    arguments = _parse()
    arguments.out.mkdir(parents=True, exist_ok=True)
    variables = environment(arguments.threads, (arguments.out / "datasets").resolve())
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(python, module, variables))
            for name, python, module in _installed(arguments.peers)
        }
        about = _about(arguments, workers)
        if arguments.scaling:
            _store(arguments.out, "scaling", about | {"points": scaling.measure_all(workers, variables)})
            scaling.draw(arguments.out / "scaling.json", arguments.out / "scaling.png")
            return
        measured = [_announced(comparison, workers, arguments) for comparison in COMPARISONS]
        rows = [result.row() for result in measured]
        rows += [_scalar_step(workers["ours"], arguments.rounds)]
        profiles = _profiles(workers["ours"])
    fresh = {
        "imports": import_times(arguments.rounds, variables),
        "memory": reading_memory(N_EPISODES, 3, variables),
    }
    rows += [*_import_rows(fresh["imports"]), _memory_row(fresh["memory"])]
    results = {"rows": [asdict(row) | {"verdict": row.verdict} for row in rows]}
    results["comparisons"] = [_plain(result) for result in measured]
    _store(arguments.out, "benchmark", about | results | fresh | {"profiles": profiles})
    percentages = {
        case: {kind: f"{share:.1%}" for kind, share in shares.items()} for case, shares in profiles.items()
    }
    columns = _facts(measured, "training"), _facts(measured, "floor"), percentages
    text = "\n\n".join((report.table(rows), *map(report.facts_table, columns))) + "\n"
    (arguments.out / "benchmark.md").write_text(text)
    print(text)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--peers", type=Path, help="the virtual environment that holds the peers")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="where results are stored")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each comparison")
    parser.add_argument("--seconds", type=float, default=1.5, help="how long each side measures in a round")
    parser.add_argument("--threads", type=int, default=2, help="of every library")
    parser.add_argument("--processor-time", action="store_true", help="for a busy machine: with --threads 1")
    parser.add_argument("--scaling", action="store_true", help="draw how cost grows, instead of the table")
    return parser.parse_args()


def _installed(peers: Path | None) -> Iterator[tuple[str, Path | str, str]]:
    yield "ours", sys.executable, "ours"
    if peers is None:
        print("No --peers: our side alone is measured, and nothing is compared with other libraries.")
        return
    for name, module in PEERS.items():
        yield name, peers / "bin" / "python", module


def _about(arguments: argparse.Namespace, workers: dict[str, Worker]) -> dict[str, Any]:
    versions = {name: worker.versions for name, worker in workers.items()}
    settings = {"rounds": arguments.rounds, "seconds": arguments.seconds, "threads": arguments.threads}
    settings["clock"] = "processor" if arguments.processor_time else "wall"
    return report.machine() | settings | {"load before": os.getloadavg()[0], "versions": versions}


def _announced(comparison: Comparison, workers: dict[str, Worker], arguments: argparse.Namespace) -> Measured:
    print(comparison.what, end=" … ", file=sys.stderr, flush=True)
    result = measure(comparison, workers, arguments.rounds, arguments.seconds, arguments.processor_time)
    worst = max(result.disturbances)
    print(f"{result.row().ratio_text} (others took up to {worst:.0%} of the processors)", file=sys.stderr)
    return result


def _scalar_step(worker: Worker, n_rounds: int) -> Row:
    n = 20_000
    times = [worker.measure("scalar stepping", n, {}).seconds / n * 1e6 for _ in range(n_rounds)]
    what = "a step of the scalar environment, without Gymnasium's wrappers"
    return Row(what, f"{median(times):.3g} µs", "", median(times), False, 25.0, None, "µs")


def _import_rows(times: dict[str, list[float]]) -> Iterator[Row]:
    torch, *ours = times
    for statement in ours:
        ratio = median(a / b for a, b in zip(times[statement], times[torch], strict=True))
        figures = (f"{median(times[name]):.3g} s" for name in (statement, torch))
        yield Row(f"`{statement}` against `{torch}`", *figures, ratio, False, 1.5, 1.2)


def _memory_row(ratios: dict[str, float]) -> Row:
    what = "peak memory of reading those 1M steps, over the size of the arrays"
    figures = (f"{ratio:.3g} × (with {reader})" for reader, ratio in ratios.items())
    return Row(what, *figures, ratios["ours"], False, 1.5, 1.2)


def _profiles(worker: Worker) -> dict[str, dict[str, float]]:
    """Return the shares of what training spends its time on, for each variant and precision."""
    cases = [(variant, precision) for variant in ("dt", "qdt") for precision in ("bf16-mixed", "32")]
    return {
        f"{variant}, {precision}": worker.measure(
            "profile", 1, {"variant": variant, "precision": precision}
        ).facts
        for variant, precision in cases
    }


def _facts(measured: list[Measured], job: str) -> dict[str, dict[str, Any]]:
    """Return the facts of each side that does this job."""
    return {side: facts for result in measured for side, facts in result.facts.items() if f": {job}" in side}


def _plain(result: Measured) -> dict[str, Any]:
    return {
        "what": result.comparison.what,
        "seconds per unit": result.seconds,
        "unit": result.comparison.unit,
        "ratios": result.ratios,
        "taken by other processes": result.disturbances,
        "facts": result.facts,
    }


def _store(folder: Path, name: str, content: dict[str, Any]) -> None:
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
