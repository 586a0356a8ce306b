"""The command line: it parses, calls, and prints. ``qdt-rl --help`` lists the commands."""

import os
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table
from rich.text import Text

from qdt_rl.config import Backend
from qdt_rl.console import console, errors, print_error, print_line, print_warning, print_written
from qdt_rl.errors import ConfigError, QDTError

app = typer.Typer(
    help="Return-conditioned offline RL: the Quantum Decision Transformer on Minari datasets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data = typer.Typer(help="Minari datasets: list, generate, show.", no_args_is_help=True)
app.add_typer(data, name="data")
experiment = typer.Typer(help="The paper's experiments: list, run, report.", no_args_is_help=True)
app.add_typer(experiment, name="experiment")
_INTERRUPTED = 130  # the exit code of a command that Ctrl-C has ended: 128 + SIGINT

Seed = Annotated[int, typer.Option(help="Of everything random.", min=0)]
FirstSeed = Annotated[int, typer.Option(help="Of the first episode; the next ones count up.", min=0)]
Device = Annotated[
    str, typer.Option(help="Of torch: auto, cpu, cuda or mps.", show_default="auto, the first there is")
]
Folder = Annotated[Path, typer.Option(help="The folder to write to.")]
Episodes = Annotated[int, typer.Option(help="Episodes to play for each agent and target.", min=1)]
EnvId = Annotated[
    str | None, typer.Option("--env", help="A Gymnasium id.", show_default="the data's, as registered")
]
Targets = Annotated[
    list[float] | None,
    typer.Option(
        "--target", help="A return to ask for; may be repeated.", show_default="the best in the data"
    ),
]
ExperimentName = Annotated[str, typer.Argument(help="The experiment; `experiment list` names them.")]
Results = Annotated[Path, typer.Option("--out", help="The folder of the records and reports.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        print_line(f"qdt-rl {metadata.version('qdt-rl')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    pass


@app.command()
def quickstart(
    steps: Annotated[int, typer.Option(help="Updates of each agent.", min=1)] = 500,
    episodes: Annotated[int, typer.Option(help="Episodes to play for each agent.", min=1)] = 64,
    seed: Seed = 0,
    device: Device = "auto",
    out: Folder = Path("runs/quickstart"),
) -> None:
    """Generate a dataset, train QDT, DT and behaviour cloning on it, and compare them."""
    from qdt_rl.experiments.quickstart import run_quickstart

    print_written(run_quickstart(out, steps, episodes, seed, console, device))


@data.command("list")
def list_datasets() -> None:
    """List the datasets of the local Minari folder, and those that can be generated."""
    from qdt_rl.experiments.datasets import known_datasets

    table = Table(Column("dataset", overflow="fold"), "state")  # an id that is cut cannot be copied
    for dataset_id, state in known_datasets():
        table.add_row(Text(dataset_id), state)
    console.print(table)


@data.command()
def generate(
    dataset: Annotated[list[str], typer.Argument(help="Ids such as qdt/synthetic/medium-replay-v0.")],
    episodes: Annotated[int, typer.Option(help="Episodes of each dataset.", min=1)] = 200,
    seed: Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")] = False,
) -> None:
    """Generate synthetic datasets in the local Minari folder."""
    from qdt_rl.data.generation import generate_dataset

    for dataset_id in dataset:
        made = generate_dataset(
            dataset_id, n_episodes=episodes, seed=seed, overwrite=overwrite, progress_bar=True
        )
        print_line(f"{dataset_id}: {made.total_episodes:,} episodes, {made.total_steps:,} steps")


@data.command()
def show(dataset: Annotated[str, typer.Argument(help="An id in the local Minari folder.")]) -> None:
    """Show what a dataset holds: episodes, returns, spaces, reference scores."""
    from qdt_rl.data.summary import summarise_dataset
    from qdt_rl.experiments.datasets import summary_rows

    table = Table(title=Text(dataset), show_header=False)
    for name, text in summary_rows(summarise_dataset(dataset)):
        table.add_row(name, Text(text))
    console.print(table)


@app.command()
def train(
    dataset: Annotated[str, typer.Argument(help="A Minari dataset's id.")],
    agent: Annotated[
        str | None,
        typer.Option(help="qdt, dt, q-attention, q-feedforward, wide-dt, bc or bc-10%.", show_default="qdt"),
    ] = None,
    steps: Annotated[int, typer.Option(help="Updates to take; with --resume, more.", min=1)] = 10_000,
    seed: Annotated[
        int | None, typer.Option(help="Of weights, batches and dropout.", min=0, show_default="0")
    ] = None,
    context_length: Annotated[int | None, typer.Option(help="Timesteps that the model sees.", min=1)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="After the warm-up.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows per update.", min=1)] = None,
    device: Device = "auto",
    resume: Annotated[
        Path | None, typer.Option(help="Train this agent on, with its own settings, instead of a new one.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The agent's file, replaced if it exists; its log is written beside it.",
            show_default="runs/<agent>.zip, or the file that is resumed",
        ),
    ] = None,
) -> None:
    """Train an agent on a dataset, and save it. Interrupted and given again, the command goes on."""
    from qdt_rl.experiments.runs import resume_agent, train_agent

    given = {
        "seed": seed,
        "context_length": context_length,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
    }
    settings = {name: value for name, value in given.items() if value is not None} | {"device": device}
    if resume is None:
        name = agent or "qdt"
        written = train_agent(dataset, name, steps, out or Path("runs", f"{name}.zip"), settings)
    else:
        _refuse_with_resume({"agent": agent, **given})
        written = resume_agent(resume, dataset, steps, out or resume, device)
    print_written(written)


@app.command()
def evaluate(
    agent: Annotated[Path, typer.Argument(help="An agent's file.")],
    env: EnvId = None,
    target: Targets = None,
    episodes: Episodes = 64,
    seed: FirstSeed = 0,
    device: Device = "auto",
    out: Folder = Path("runs/evaluation"),
) -> None:
    """Ask an agent for one or more returns, and report what it achieves."""
    _compare([agent], env, target, episodes, seed, device, out, references=False)


@app.command()
def compare(
    agent: Annotated[list[Path], typer.Argument(help="Agents' files.")],
    env: EnvId = None,
    target: Targets = None,
    episodes: Episodes = 64,
    seed: FirstSeed = 0,
    references: Annotated[
        bool, typer.Option(help="Add random actions and, in this project's environments, the expert.")
    ] = True,
    online: Annotated[
        list[str] | None, typer.Option(help="Train this SB3 algorithm online first: PPO or SAC.")
    ] = None,
    online_steps: Annotated[
        int, typer.Option(help="Environment steps of each online agent.", min=1)
    ] = 100_000,
    device: Device = "auto",
    out: Folder = Path("runs/comparison"),
) -> None:
    """Evaluate agents on the same episodes: a table and a figure, and one more across several targets."""
    _compare(agent, env, target, episodes, seed, device, out, references, online or [], online_steps)


@experiment.command("list")
def list_experiments(out: Results = Path("runs/experiments")) -> None:
    """List the experiments, and how many of their cells have been run."""
    from qdt_rl.experiments.running import experiment_states

    table = Table("experiment", "cells", "done", "failed")
    for row in experiment_states(out):
        table.add_row(*row)
    console.print(table)


@experiment.command("run")
def run_experiment_command(
    name: ExperimentName,
    backend: Annotated[Backend, typer.Option(help="loky: local.")] = "loky",
    jobs: Annotated[int, typer.Option(help="Cells at a time, each on one thread.", min=1)] = 2,
    out: Results = Path("runs/experiments"),
) -> None:
    """Run the cells of an experiment that have not been run; killed and started again, it goes on."""
    from qdt_rl.experiments.running import run_experiment

    print_written([run_experiment(name, out, jobs, backend)])


@experiment.command("report")
def report_experiment(name: ExperimentName, out: Results = Path("runs/experiments")) -> None:
    """Write an experiment's tables and figures from its records."""
    from qdt_rl.experiments.reports.writing import write_report

    print_written(write_report(name, out))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; an error of ours, or of the file system, is one line and not a traceback.

    Args:
        arguments: Those after the program's name; None: the process's own.

    Raises:
        SystemExit: Always: 0 if all went well, 1 after an error, 2 after a wrong option, 130 after Ctrl-C.
    """
    # Threads that wait busily bring a machine with other work to a halt: an acting step of 64 rows took
    # 188 ms beside one other process, and 14 ms so. OpenMP reads this when torch is loaded, which is later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = print_warning
            app(arguments)
    except (QDTError, OSError, MemoryError) as error:
        print_error(error)
        raise SystemExit(1) from None
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            errors.print("Interrupted.")
        raise


def _compare(
    paths: list[Path],
    env_id: str | None,
    targets: list[float] | None,
    n_episodes: int,
    seed: int,
    device: str,
    out: Path,
    references: bool,
    online: Sequence[str] = (),
    online_steps: int = 0,
) -> None:
    from qdt_rl.experiments.runs import compare_agents
    from qdt_rl.experiments.tables import rich_table

    scores, written = compare_agents(
        paths,
        env_id,
        targets,
        n_episodes,
        seed,
        out,
        references=references,
        online=online,
        online_steps=online_steps,
        device=device,
    )
    console.print(rich_table(scores, f"{scores[0].env_id}: {n_episodes} episodes for each return asked for"))
    print_written(written)


def _refuse_with_resume(settings: dict[str, Any]) -> None:
    given = [f"--{name.replace('_', '-')}" for name, value in settings.items() if value is not None]
    if given:
        raise ConfigError(f"--resume goes on with the agent's own settings: leave out {', '.join(given)}.")
