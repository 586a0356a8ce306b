"""Grids: what is run once, what is run again, and what a kill leaves."""

import gzip
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gymnasium.envs.registration import registry
from hypothesis import given, settings
from hypothesis import strategies as st

from qdt_envs.reference_scores import REFERENCE_SCORES
from qdt_rl.data.generation import generate_dataset
from qdt_rl.data.minari_reader import load_dataset, read_trajectories
from qdt_rl.errors import ConfigError, MissingExtraError, RecordError
from qdt_rl.evaluation.result import EvaluationResult
from qdt_rl.experiments.cells import Cell, run_cell
from qdt_rl.experiments.controls import make_agent_or_control
from qdt_rl.experiments.grid import run_grid
from qdt_rl.experiments.provenance import fingerprint
from qdt_rl.experiments.records import append_record, drop_cut_record, read_records
from qdt_rl.policy.agent import QDTPolicy

DATASET = "qdt/synthetic/expert-v0"
SETTINGS = (("policy_kwargs", {"d_model": 8, "n_heads": 1}), ("context_length", 2), ("precision", "32"))
CELL = Cell("test", "qdt", DATASET, seed=0, n_steps=3, settings=SETTINGS, n_episodes=2, evaluate_at=(2,))
QUICK = replace(CELL, n_episodes=1, evaluate_at=())


@pytest.fixture(scope="module", autouse=True)
def data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("datasets")))
        generate_dataset(DATASET, n_episodes=2)
        yield


@pytest.fixture
def quick_evaluation(monkeypatch):
    """Episodes of no steps, whose returns are the target plus their number."""

    def evaluate(policy, env_id, target_return, n_episodes):
        returns = target_return + np.arange(float(n_episodes))
        return EvaluationResult(returns, np.zeros(n_episodes, np.int64), np.full(n_episodes, target_return))

    monkeypatch.setattr("qdt_rl.experiments.cells.evaluate", evaluate)


def without_times(record):
    evaluations = [
        {k: v for k, v in evaluation.items() if k != "seconds"} for evaluation in record["evaluations"]
    ]
    return {k: v for k, v in record.items() if k not in ("train_seconds", "commit")} | {
        "evaluations": evaluations
    }


def test_a_cell_is_a_pure_function_of_its_spec(quick_evaluation):
    first, again = run_cell(CELL), run_cell(CELL)
    assert without_times(first) == without_times(again)
    assert json.loads(json.dumps(first, allow_nan=False)) is not None


def test_a_cell_records_what_fitting_at_once_gives(quick_evaluation):
    record = run_cell(CELL)
    policy = QDTPolicy(seed=0, **dict(SETTINGS)).fit(DATASET, 3)
    assert [evaluation["n_updates"] for evaluation in record["evaluations"]] == [2, 3]
    assert record["n_parameters"] == sum(parameter.numel() for parameter in policy.model.parameters())
    assert record["evaluations"][0]["target_return"] == policy.best_return
    best = policy.best_return
    assert [evaluation["returns"] for evaluation in record["evaluations"]] == [[best, best + 1]] * 2
    assert record["failed"] is None
    assert record["data"] == fingerprint(read_trajectories(load_dataset(DATASET)))
    assert run_cell(replace(CELL, n_data_episodes=1))["data"] != record["data"]


def test_the_sliding_window_is_evaluated_where_it_is_asked_for(quick_evaluation):
    record = run_cell(replace(CELL, sliding_window=True))
    assert [evaluation["sliding_window"] for evaluation in record["evaluations"]] == [False, False, True]


def test_a_cell_that_fails_is_recorded_as_failed():
    record = run_cell(replace(CELL, dataset="qdt/absent-v0"))
    assert "There is no dataset 'qdt/absent-v0'" in record["failed"]
    assert "evaluations" not in record


def test_a_grid_runs_what_is_missing_or_failed_and_nothing_else(tmp_path, quick_evaluation):
    path = tmp_path / "records.jsonl.gz"
    cells = [replace(CELL, seed=seed) for seed in range(3)]
    run_grid(cells[:1], path, n_jobs=1)
    append_record(path, read_records(path)[0] | {"mark": True})
    append_record(path, {"key": cells[1].key(), "failed": "once"})
    with path.open("ab") as file:
        file.write(gzip.compress(b'{"key": "cut off"}\n')[:-3])
    run_grid(cells, path, n_jobs=1)
    records = {record["key"]: record for record in read_records(path)}
    assert list(records) == [cell.key() for cell in cells]
    assert records[cells[0].key()]["mark"]
    assert all(record["failed"] is None for record in records.values())


def start_grid(cells, path, n_jobs, backend="loky"):
    code = (
        "from pathlib import Path\nfrom qdt_rl.experiments.cells import Cell\n"
        "from qdt_rl.experiments.grid import run_grid\n"
        f"run_grid({cells!r}, Path({str(path)!r}), {n_jobs}, backend={backend!r})\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ)


def test_a_killed_grid_goes_on_where_it_was_and_any_number_of_workers_agree(tmp_path):
    """Real episodes, in processes of their own."""
    killed, whole = tmp_path / "killed.jsonl.gz", tmp_path / "whole.jsonl.gz"
    cells = [replace(QUICK, seed=seed) for seed in range(2)]
    process = start_grid(cells, killed, 1)
    while not (killed.exists() and read_records(killed)):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = read_records(killed)
    assert start_grid(cells, killed, 1).wait() == 0
    assert read_records(killed)[: len(before)] == before
    assert start_grid(cells, whole, 2).wait() == 0
    one, two = ({r["key"]: without_times(r) for r in read_records(path)} for path in (killed, whole))
    assert one == two
    assert set(one) == {cell.key() for cell in cells}


@pytest.mark.parametrize("backend", ["ray", "dask"])
def test_a_cluster_gives_the_same_records(backend, tmp_path):
    """On a real cluster of this machine."""
    pytest.importorskip({"ray": "ray", "dask": "distributed"}[backend])
    local, cluster = tmp_path / "local.jsonl.gz", tmp_path / "cluster.jsonl.gz"
    cells = [replace(QUICK, seed=seed) for seed in range(3)]
    assert start_grid(cells, local, 1).wait() == 0
    assert start_grid(cells, cluster, 2, backend).wait() == 0
    one, two = ({r["key"]: without_times(r) for r in read_records(path)} for path in (local, cluster))
    assert one == two
    assert set(one) == {cell.key() for cell in cells}


def test_dask_takes_the_cluster_that_is_named(tmp_path, quick_evaluation):
    """DASK_SCHEDULER_ADDRESS sets it; a cluster of our own would be refused beside it."""
    distributed, dask = pytest.importorskip("distributed"), pytest.importorskip("dask")
    path = tmp_path / "records.jsonl.gz"
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        dask.config.set({"scheduler-address": cluster.scheduler_address}),
    ):
        run_grid([QUICK], path, 1, backend="dask")
    assert [record["failed"] for record in read_records(path)] == [None]


def test_a_dask_worker_runs_one_cell_at_a_time(tmp_path):
    """Cells measure their process's time, and SB3 draws from its global generators."""
    distributed, dask = pytest.importorskip("distributed"), pytest.importorskip("dask")
    workers = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": None}
    with (
        distributed.LocalCluster(**workers) as cluster,
        dask.config.set({"scheduler-address": cluster.scheduler_address}),
        pytest.raises(
            ConfigError, match=r"workers of this Dask cluster have several threads; .* --nthreads 1"
        ),
    ):
        run_grid([QUICK], tmp_path / "records.jsonl.gz", 1, backend="dask")


def test_unknown_and_missing_backends_are_named(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="backend must be one of loky, ray, dask"):
        run_grid([CELL], tmp_path / "records.jsonl.gz", 1, backend="slurm")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match="pip install distributed"):
        run_grid([CELL], tmp_path / "records.jsonl.gz", 1, backend="dask")
    with pytest.raises(ConfigError, match="n_jobs must be at least 2 on Ray"):
        run_grid([CELL], tmp_path / "records.jsonl.gz", 1, backend="ray")


def test_a_dask_cluster_without_workers_is_refused(tmp_path, monkeypatch):
    distributed, dask = pytest.importorskip("distributed"), pytest.importorskip("dask")
    monkeypatch.setattr("qdt_rl.experiments.grid._DASK_WAIT", 0.2)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster,
        dask.config.set({"scheduler-address": cluster.scheduler_address}),
        pytest.raises(ConfigError, match=r"no worker for 0\.2 seconds"),
    ):
        run_grid([QUICK], tmp_path / "records.jsonl.gz", 1, backend="dask")


def test_a_worker_that_is_killed_ends_the_run_with_our_error_and_keeps_the_records(tmp_path, monkeypatch):
    """As the kernel does where memory runs out."""

    def run_or_die(cell):
        if cell.seed:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"key": cell.key(), "failed": None}

    monkeypatch.setattr("qdt_rl.experiments.grid.run_cell", run_or_die)
    path = tmp_path / "records.jsonl.gz"
    run_grid([QUICK], path, 2)
    with pytest.raises(RecordError, match=r"A worker process was killed.* fewer jobs"):
        run_grid([QUICK, *(replace(QUICK, seed=seed) for seed in (1, 2))], path, 2)
    assert [record["key"] for record in read_records(path)] == [QUICK.key()]


def test_two_processes_do_not_write_to_one_file(tmp_path):
    path = tmp_path / "records.jsonl.gz"
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom qdt_rl.experiments import grid\n"
        f"with grid._sole_writer(Path({str(path)!r})):\n    print('here', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], env=os.environ, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"here\n"
        with pytest.raises(RecordError, match=r"Another process is running cells into .*records\.jsonl\.gz"):
            run_grid([], path, 1)
        other.kill()
    run_grid([], path, 1)


def test_a_number_that_is_not_finite_fails_its_cell_alone(quick_evaluation, monkeypatch):
    monkeypatch.setattr("qdt_rl.experiments.cells.measure_mechanism", lambda *_: {"cosine": [float("nan")]})
    assert "not JSON compliant" in run_cell(CELL)["failed"]


def test_weights_that_cannot_act_any_more_are_judged_by_those_that_could(monkeypatch):
    """With the real evaluation: a learning rate so large that actions are not finite."""
    monkeypatch.setattr(registry["QDTSynthetic-v0"], "max_episode_steps", 5)
    exploding = (*SETTINGS, ("learning_rate", 1e30), ("warmup_steps", 0))
    record = run_cell(
        replace(CELL, settings=exploding, evaluate_at=(0,), expert_target=True, sliding_window=True)
    )
    assert record["failed"] is None
    assert "Divergence at update" in record["diverged"] or "not finite" in record["diverged"]
    first, second, experts, sliding = (evaluation["returns"] for evaluation in record["evaluations"])
    assert first == second
    assert np.isfinite([experts, sliding]).all()
    assert "The actions are not finite" in run_cell(replace(CELL, settings=exploding, n_steps=1))["failed"]


def test_each_seed_is_a_run_of_its_own(quick_evaluation):
    assert run_cell(CELL)["loss"] != run_cell(replace(CELL, seed=1))["loss"]


def test_the_seed_reaches_agents_that_learn_online(quick_evaluation, monkeypatch):
    given = []

    def learn(algorithm, env_id, total_timesteps, *, seed):
        given.append((algorithm, env_id, total_timesteps, seed))
        return QDTPolicy(**dict(SETTINGS)).fit(DATASET, 0)

    monkeypatch.setattr("qdt_rl.experiments.cells.SB3Policy.learn", learn)
    assert run_cell(replace(CELL, variant="PPO", seed=5))["failed"] is None
    assert given == [("PPO", "QDTSynthetic-v0", CELL.n_steps, 5)]


def test_every_tenth_update_is_recorded_with_what_went_on_inside(quick_evaluation, monkeypatch):
    """Time is what training takes, and not what is done between."""
    ticks = iter(range(0, 1000, 10))
    monkeypatch.setattr("qdt_rl.experiments.cells.process_time", lambda: float(next(ticks)))
    settings = tuple(item for item in SETTINGS if item[0] != "precision")
    record = run_cell(replace(CELL, settings=settings, n_steps=21, evaluate_at=(7,)))
    updates = []
    QDTPolicy(seed=0, **dict(settings)).fit(
        DATASET, 21, callback=lambda given, _: updates.append(given["update"]) or True
    )
    assert record["trace_interval"] == 10
    assert record["loss"] == pytest.approx([update.loss for update in updates[::10]], rel=1e-6)
    norms = [update.gradient_norm for update in updates[::10]]
    assert record["gradient_norm"] == pytest.approx(norms, rel=1e-6)
    assert [entry["n_updates"] for entry in record["mechanism"]] == [7, 21]
    assert record["precision"] in ("32", "bf16-mixed")
    assert record["train_seconds"] == 20.0  # twice ten, for two calls of fit
    assert [evaluation["seconds"] for evaluation in record["evaluations"]] == [10.0, 10.0]


def test_a_diverging_run_is_a_result_and_is_judged_by_the_weights_before(quick_evaluation):
    record = run_cell(replace(CELL, settings=(*SETTINGS, ("learning_rate", 1e30), ("max_grad_norm", 1e30))))
    assert record["failed"] is None
    assert "Divergence at update" in record["diverged"]
    assert len(record["evaluations"]) == 1


def test_a_cell_can_use_the_first_episodes_only_and_ask_for_the_experts_return(quick_evaluation):
    record = run_cell(replace(CELL, n_data_episodes=1, expert_target=True))
    first = load_dataset(DATASET).filter_episodes(lambda episode: episode.id == 0)
    own_best = read_trajectories(first).episode_returns.max()
    asked = [evaluation["target_return"] for evaluation in record["evaluations"]]
    assert asked == [own_best, own_best, REFERENCE_SCORES["QDTSynthetic-v0"][1]]


def test_the_folded_control_starts_as_the_same_function_and_sees_the_same_windows(quick_evaluation):
    quiet = {**dict(SETTINGS), "learning_rate": 1e-30}
    agents = [
        make_agent_or_control(name, **quiet).fit(DATASET, 2) for name in ("qdt", "wide-dt+folded-start")
    ]
    observations = np.random.default_rng(0).normal(size=(4, 11))
    actions = [agent.predict(observations, np.arange(4.0))[0] for agent in agents]
    np.testing.assert_allclose(*actions, atol=1e-6)
    assert agents[1].model.config.n_channels == 1
    records = [
        run_cell(replace(CELL, variant=name, settings=(*SETTINGS, ("learning_rate", 1e-30))))
        for name in ("qdt", "wide-dt+folded-start", "wide-dt")
    ]
    np.testing.assert_allclose(records[0]["loss"], records[1]["loss"], rtol=1e-5)
    assert abs(records[2]["loss"][0] - records[0]["loss"][0]) > 1e-5


def test_damaged_records_are_named(tmp_path):
    path = tmp_path / "records.jsonl.gz"
    path.write_bytes(
        gzip.compress(b'{"key": "{}", "failed": null}\n{"key": \n{"key": "{}", "failed": null}\n')
    )
    with pytest.raises(RecordError, match=r"records\.jsonl\.gz, line 2 is no record of an experiment"):
        read_records(path)
    path.write_text("no gzip at all")
    with pytest.raises(RecordError, match="damaged at byte 0"):
        read_records(path)


@given(st.lists(st.integers(), max_size=5), st.integers(min_value=1, max_value=30))
@settings(deadline=None)
def test_whatever_a_kill_cuts_off_the_records_before_it_stay(numbers, n_lost):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "records.jsonl.gz")
        path.touch()
        for i, number in enumerate(numbers):
            append_record(path, {"key": json.dumps({"seed": i}), "number": number})
        whole = path.read_bytes()
        append_record(path, {"key": json.dumps({"seed": -1})})
        os.truncate(path, max(len(whole), path.stat().st_size - n_lost))
        assert [record["number"] for record in read_records(path)] == numbers
        drop_cut_record(path)
        assert path.read_bytes() == whole


def test_an_interrupt_takes_back_no_record_that_is_written(tmp_path, monkeypatch):
    path = tmp_path / "records.jsonl.gz"
    append_record(path, {"key": json.dumps({"seed": 0})})

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        append_record(path, {"key": json.dumps({"seed": 1})})
    assert len(read_records(path)) == 2
