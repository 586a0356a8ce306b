"""The command line: it parses, calls, and prints. ``qdt-rl --help`` lists the commands."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from qdt_rl.errors import QDTError

app = typer.Typer(
    help="Return-conditioned offline RL: the Quantum Decision Transformer on Minari datasets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data = typer.Typer(help="Minari datasets: list, generate, show.", no_args_is_help=True)
app.add_typer(data, name="data")
console = Console()
errors = Console(stderr=True)

Seed = Annotated[int, typer.Option(help="Of everything random.", min=0)]
Steps = Annotated[int, typer.Option(help="Updates of each agent.", min=1)]
Folder = Annotated[Path, typer.Option(help="The folder to write to.")]
Episodes = Annotated[int, typer.Option(help="Episodes to play for each target.", min=1)]
EnvId = Annotated[str | None, typer.Option("--env", help="A Gymnasium id; the dataset's own by default.")]
Targets = Annotated[
    list[float] | None,
    typer.Option(
        "--target", help="A return to ask for, as often as wanted; the best in the data by default."
    ),
]


@app.command()
def quickstart(out: Folder = Path("runs/quickstart"), steps: Steps = 1_000, seed: Seed = 0) -> None:
    """Generate a dataset, train QDT, DT and behaviour cloning on it, and compare them."""
    from qdt_rl.experiments.quickstart import run_quickstart

    run_quickstart(out, steps, seed, console)


@data.command("list")
def list_datasets() -> None:
    """List the datasets of the local Minari folder, and those that can be generated."""
    from qdt_rl.experiments.datasets import known_datasets

    table = Table("dataset", "state")
    for dataset_id, state in known_datasets():
        table.add_row(dataset_id, state)
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
        console.print(f"{dataset_id}: {made.total_episodes} episodes, {made.total_steps} steps")


@data.command()
def show(dataset: Annotated[str, typer.Argument(help="An id in the local Minari folder.")]) -> None:
    """Show what a dataset holds: episodes, returns, spaces, reference scores."""
    from qdt_rl.data.summary import summarise_dataset
    from qdt_rl.experiments.datasets import summary_rows

    table = Table(title=dataset, show_header=False)
    for name, text in summary_rows(summarise_dataset(dataset)):
        table.add_row(name, text)
    console.print(table)


@app.command()
def train(
    dataset: Annotated[str, typer.Argument(help="A Minari dataset's id.")],
    agent: Annotated[
        str, typer.Option(help="qdt, dt, q-attention, q-feedforward, wide-dt, bc or bc-10%.")
    ] = "qdt",
    steps: Steps = 10_000,
    seed: Seed = 0,
    context_length: Annotated[int | None, typer.Option(help="Timesteps that the model sees.", min=1)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="After the warm-up.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows per update.", min=1)] = None,
    resume: Annotated[Path | None, typer.Option(help="Train this agent on instead of a new one.")] = None,
    out: Annotated[Path, typer.Option(help="The agent's file; its log is written beside it.")] = Path(
        "runs/agent.zip"
    ),
) -> None:
    """Train an agent on a dataset, and save it."""
    from qdt_rl.experiments.runs import train_agent

    given = {"context_length": context_length, "learning_rate": learning_rate, "batch_size": batch_size}
    settings = {name: value for name, value in given.items() if value is not None}
    for path in train_agent(dataset, agent, steps, out, resume, {"seed": seed, **settings}):
        console.print(f"Wrote {path}")


@app.command()
def evaluate(
    agent: Annotated[Path, typer.Argument(help="An agent's file.")],
    env: EnvId = None,
    target: Targets = None,
    episodes: Episodes = 64,
    seed: Seed = 0,
    out: Folder = Path("runs/evaluation"),
) -> None:
    """Ask an agent for one or more returns, and report what it achieves."""
    _compare([agent], env, target, episodes, seed, out, references=False)


@app.command()
def compare(
    agent: Annotated[list[Path], typer.Argument(help="Agents' files.")],
    env: EnvId = None,
    target: Targets = None,
    episodes: Episodes = 64,
    seed: Seed = 0,
    references: Annotated[
        bool, typer.Option(help="Add random actions and, where there is one, the expert.")
    ] = True,
    online: Annotated[
        list[str] | None, typer.Option(help="Train this SB3 algorithm online first: PPO or SAC.")
    ] = None,
    online_steps: Annotated[
        int, typer.Option(help="Environment steps of each online agent.", min=1)
    ] = 100_000,
    out: Folder = Path("runs/comparison"),
) -> None:
    """Evaluate agents side by side on the same episodes: a table, and two figures."""
    _compare(agent, env, target, episodes, seed, out, references, online or [], online_steps)


def _compare(
    paths: list[Path],
    env_id: str | None,
    targets: list[float] | None,
    n_episodes: int,
    seed: int,
    out: Path,
    references: bool,
    online: list[str] | None = None,
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
        online=online or [],
        online_steps=online_steps,
    )
    console.print(rich_table(scores, f"{n_episodes} episodes for each return asked for"))
    for path in written:
        console.print(f"Wrote {path}")


def main() -> None:
    """Run the command line; an error of ours is one line, not a traceback."""
    try:
        app()
    except QDTError as error:
        errors.print(f"[bold red]Error:[/] {error}", highlight=False)
        raise SystemExit(1) from None
