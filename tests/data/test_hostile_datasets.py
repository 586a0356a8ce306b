"""Datasets that nobody would record on purpose: fit refuses precisely, or trains to finite weights."""

import json
import re
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from qdt_rl.data.minari_reader import load_dataset, read_trajectories
from qdt_rl.data.summary import summarise_dataset
from qdt_rl.errors import DatasetError, DivergenceError, InputError
from qdt_rl.policy.agent import QDTPolicy

FIELDS = ("observations", "actions", "rewards")
WIDTHS = {"observations": 3, "actions": 2}
FLOAT32_MAX = 3.4e38


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a dataset whose file each example writes anew."""
    root = tmp_path_factory.mktemp("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        episode = {
            "observations": np.zeros((2, 3), np.float32),
            "actions": np.zeros((1, 2), np.float32),
            "rewards": np.zeros(1),
            "terminations": np.zeros(1, bool),
            "truncations": np.ones(1, bool),
            "infos": {},
        }
        with pytest.warns(UserWarning, match="metadata|environment|null|None"):
            minari.create_dataset_from_buffers(
                "test/hostile-v0",
                [minari.data_collector.EpisodeBuffer(**episode)],
                observation_space=Box(-np.inf, np.inf, (3,)),
                action_space=Box(-1, 1, (2,)),
                data_format="hdf5",
            )
        yield root


def write(root: Path, episodes: list[dict[str, Any]]) -> None:
    data = root / "test" / "hostile-v0" / "data"
    metadata = json.loads((data / "metadata.json").read_text())
    metadata["total_episodes"] = len(episodes)
    metadata["total_steps"] = sum(len(np.atleast_1d(episode.get("rewards", []))) for episode in episodes)
    (data / "metadata.json").write_text(json.dumps(metadata))
    with h5py.File(data / "main_data.hdf5", "w") as file:
        for index, episode in enumerate(episodes):
            group = file.create_group(f"episode_{index}")
            group.attrs["id"] = index
            for field, values in episode.items():
                group[field] = values


CONTENTS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.normal(size=shape).astype(np.float32),
    "constant": lambda rng, shape: np.full(shape, 7.25, np.float32),
    "zero": lambda rng, shape: np.zeros(shape),
    "tiny": lambda rng, shape: rng.normal(size=shape) * 1e-42,
    "nearly constant": lambda rng, shape: 1e6 + rng.normal(size=shape) * 1e-3,
    "large": lambda rng, shape: rng.normal(size=shape) * 1e15,
    "huge": lambda rng, shape: rng.choice([-1, 1], size=shape) * 3e38,
    "float64": lambda rng, shape: rng.normal(size=shape),
    "float16": lambda rng, shape: rng.normal(size=shape).astype(np.float16),
    "whole": lambda rng, shape: rng.integers(-5, 5, size=shape),
    "bytes": lambda rng, shape: rng.integers(0, 256, size=shape).astype(np.uint8),
    "bools": lambda rng, shape: rng.random(shape) < 0.5,
}
SHAPES = ("one more row", "one row less", "one more column", "one more axis", "a number", "missing", "text")


@st.composite
def hostile_episodes(draw: st.DrawFn) -> tuple[list[dict[str, Any]], str | None]:
    """Return episodes, and what a refusal must match; None: nothing is wrong with them but their values."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    contents = {field: draw(st.sampled_from(sorted(CONTENTS))) for field in FIELDS}
    episodes: list[dict[str, Any]] = []
    for length in lengths:
        shapes = {"observations": (length + 1, 3), "actions": (length, 2), "rewards": (length,)}
        episode: dict[str, Any] = {f: CONTENTS[contents[f]](rng, shapes[f]) for f in FIELDS}
        episode["terminations"] = rng.random(length) < 0.5  # in the middle too, and with truncations
        episode["truncations"] = rng.random(length) < 0.5
        episodes.append(episode)
    event(", ".join(contents.values()))
    at, field = draw(st.integers(0, len(lengths) - 1)), draw(st.sampled_from(FIELDS))
    kind = draw(st.sampled_from(["as it is", "not finite", *SHAPES]))
    if kind == "as it is":
        return episodes, None
    values = episodes[at][field]
    if kind == "not finite":
        values = values.astype(np.float64)
        step = draw(st.integers(0, lengths[at] - 1))
        values[step] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 1e39]))
        episodes[at][field] = values
        return episodes, rf"Episode {at}, step {step}: {field}(\[0\])? is (nan|-?inf), but must be"
    if kind == "missing":
        del episodes[at][field]
        return episodes, "cannot be read: it is damaged, was not written by Minari"
    episodes[at][field] = {
        "one more row": lambda: np.concatenate([values, values[:1]]),
        "one row less": lambda: values[:-1],
        "one more column": lambda: (
            np.stack([values, values], axis=-1)
            if values.ndim == 1
            else values[:, [0, *range(values.shape[1])]]
        ),
        "one more axis": lambda: values[..., None],
        "a number": lambda: np.float32(1.0),
        "text": lambda: np.full(values.shape, b"text"),
    }[kind]()
    if kind == "text":
        return episodes, "cannot be read"
    # Rewards set an episode's length: where they are of another, it is the observations that do not fit.
    blamed = "observations" if field == "rewards" and kind.endswith(("row", "less")) else field
    shortest = field == "rewards" and kind == "one row less" and lengths[at] == 1
    return episodes, rf"Episode {at}: {'rewards' if shortest else blamed} has shape"


def fit_or_refuse(policy: QDTPolicy) -> str | None:
    try:
        policy.fit("test/hostile-v0", n_steps=2)
    except (DatasetError, DivergenceError) as error:
        return str(error)
    return None


def are_finite(model: torch.nn.Module) -> bool:
    return all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hostile_episodes())
def test_fit_refuses_precisely_or_trains_to_finite_weights(
    template: Path, case: tuple[list[dict[str, Any]], str | None]
) -> None:
    episodes, refusal = case
    write(template, episodes)
    policy = QDTPolicy(
        context_length=2,
        policy_kwargs={"d_model": 8, "n_heads": 1, "n_layers": 1},
        precision="32",
        batch_size=4,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(template))
        if refusal is not None:
            with pytest.raises(DatasetError, match=refusal):
                policy.fit("test/hostile-v0", n_steps=2)
            assert not policy.is_fitted
            return
        said = fit_or_refuse(policy)
    if said is not None:  # numbers too large to add up or to learn from
        assert re.search(r"Episode \d+|update \d+", said)
    assert not policy.is_fitted or are_finite(policy.model)


def float32s() -> st.SearchStrategy[float]:
    return st.one_of(
        st.floats(width=32), st.sampled_from([np.nan, np.inf, -np.inf, FLOAT32_MAX, -FLOAT32_MAX, 1e300])
    )


@pytest.fixture(scope="module")
def fitted(template: Path) -> QDTPolicy:
    rng = np.random.default_rng(0)
    write(
        template,
        [
            {
                "observations": rng.normal(size=(9, 3)),
                "actions": rng.uniform(-1, 1, (8, 2)),
                "rewards": np.ones(8),
            }
        ],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(template))
        small = {"d_model": 8, "n_heads": 1, "n_layers": 1}
        return QDTPolicy(context_length=2, policy_kwargs=small, precision="32").fit(
            "test/hostile-v0", n_steps=2
        )


@settings(max_examples=300, deadline=None)
@given(
    observation=st.lists(float32s(), min_size=2, max_size=4),
    target=float32s(),
    dtype=st.sampled_from(["float16", "float32", "float64", "int32", "bool", "object", "str"]),
)
@pytest.mark.filterwarnings("ignore::qdt_rl.errors.TargetReturnWarning")
def test_predict_refuses_or_acts_within_the_box(
    fitted: QDTPolicy, observation: list[float], target: float, dtype: str
) -> None:
    with np.errstate(all="ignore"), pytest.MonkeyPatch.context():
        try:
            array = np.array(observation).astype(dtype)
        except (OverflowError, ValueError):
            return
    try:
        action, state = fitted.predict(array, target)
        action, _ = fitted.predict(array, target, state)
    except InputError:
        return
    assert array.shape == (3,)
    assert np.isfinite(array.astype(np.float32)).all()
    assert fitted.action_space.contains(action)


@pytest.mark.parametrize("layout", ["sparse", "gzip"])
def test_a_bomb_is_refused_before_memory_is_taken(
    template: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """A file of a few kilobytes may say that it holds billions of numbers."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(template))
    write(template, [{"observations": np.zeros((2, 3)), "actions": np.zeros((1, 2)), "rewards": np.zeros(1)}])
    n = 4 * 10**8 if layout == "sparse" else 4 * 10**6
    chunks = {"chunks": (n // 4,)} if layout == "sparse" else {"chunks": True, "compression": "gzip"}
    with h5py.File(template / "test/hostile-v0/data/main_data.hdf5", "a") as file:
        del file["episode_0/rewards"]
        rewards = file["episode_0"].create_dataset("rewards", (n,), np.float32, **chunks)
        if layout == "gzip":
            rewards[:] = 0
    tracemalloc.start()
    try:
        if layout == "sparse":
            with pytest.raises(DatasetError, match=r"Episode 0: rewards is said to hold 1,600,000,000 bytes"):
                read_trajectories(load_dataset("test/hostile-v0"))
            assert tracemalloc.get_traced_memory()[1] < 10e6
        else:  # honest compression is no bomb: it is the observations that do not fit
            with pytest.raises(DatasetError, match="Episode 0: observations has shape"):
                read_trajectories(load_dataset("test/hostile-v0"))
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["external link", "external file", "virtual"])
def test_a_dataset_cannot_reach_into_other_files(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """HDF5 can show any file of the reader's machine as part of a dataset."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(template))
    write(template, [{"observations": np.zeros((3, 3)), "actions": np.zeros((2, 2)), "rewards": np.zeros(2)}])
    secret = tmp_path / "secret.hdf5"
    with h5py.File(secret, "w") as file:
        file["rewards"] = np.array([1.0, 2.0])
    with h5py.File(template / "test/hostile-v0/data/main_data.hdf5", "a") as file:
        del file["episode_0/rewards"]
        if kind == "external link":
            file["episode_0/rewards"] = h5py.ExternalLink(str(secret), "rewards")
        elif kind == "external file":
            file["episode_0"].create_dataset("rewards", (2,), np.float32, external=[(str(secret), 0, 8)])
        else:
            layout = h5py.VirtualLayout((2,), np.float64)
            layout[:] = h5py.VirtualSource(str(secret), "rewards", shape=(2,))
            file["episode_0"].create_virtual_dataset("rewards", layout)
    with pytest.raises(DatasetError, match="Episode 0: rewards lies in another file"):
        read_trajectories(load_dataset("test/hostile-v0"))


def test_what_surrounds_the_data_may_be_anything(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutated metadata: refused as ours or read; nothing else comes out."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    write(template, [{"observations": np.zeros((3, 3)), "actions": np.zeros((2, 2)), "rewards": np.zeros(2)}])
    shutil.copytree(template / "test", tmp_path / "test")
    path = tmp_path / "test/hostile-v0/data/metadata.json"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    n_refused = 0
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.integers(len(content), size=rng.integers(1, 4)):
            content[place] = rng.integers(32, 127)
        path.write_bytes(content)
        try:
            read_trajectories(load_dataset("test/hostile-v0"))
        except DatasetError:
            n_refused += 1
    assert 0 < n_refused < 300


REFUSED = {
    "os:Env-v0": "names the environment 'os:Env-v0'",
    "this:Env-v0": "names the environment 'this:Env-v0'",
    "a b:Env-v0": "cannot be read.*trying to make",  # Gymnasium's own refusal
}


@pytest.mark.parametrize("env_id", sorted(REFUSED))
def test_a_dataset_cannot_name_a_module_to_import(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env_id: str
) -> None:
    """Gymnasium imports what stands before the colon of an id, when the agent is evaluated."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    write(template, [{"observations": np.zeros((3, 3)), "actions": np.zeros((2, 2)), "rewards": np.ones(2)}])
    shutil.copytree(template / "test", tmp_path / "test")
    path = tmp_path / "test/hostile-v0/data/metadata.json"
    spec = EnvSpec(env_id.split(":")[1], entry_point="x:Y")
    described = {**json.loads(spec.to_json()), "id": env_id}
    described.pop("name", None)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"env_spec": json.dumps(described)}))
    with pytest.raises(DatasetError, match=REFUSED[env_id]):
        QDTPolicy().fit("test/hostile-v0", n_steps=1)


@pytest.mark.parametrize("missing", ["observation_space", "action_space"])
def test_a_dataset_cannot_have_its_environment_made(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Minari makes it to learn a space that the metadata lack, by calling what they name as entry point."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    write(template, [{"observations": np.zeros((3, 3)), "actions": np.zeros((2, 2)), "rewards": np.ones(2)}])
    shutil.copytree(template / "test", tmp_path / "test")
    path, payload = tmp_path / "test/hostile-v0/data/metadata.json", tmp_path / "payload"
    spec = {"id": "X-v0", "entry_point": "os:mkdir", "kwargs": {"path": str(payload)}}
    metadata = json.loads(path.read_text()) | {"env_spec": json.dumps(spec | {"additional_wrappers": []})}
    del metadata[missing]
    path.write_text(json.dumps(metadata))
    for use in (load_dataset, read_trajectories, summarise_dataset, QDTPolicy().fit):
        with pytest.raises(DatasetError, match=f"lack the {missing}"):
            use("test/hostile-v0")
    assert not payload.exists()
