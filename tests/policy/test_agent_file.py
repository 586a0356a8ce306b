import io
import json
import os
import pickle
import struct
import zipfile
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from qdt_rl.baselines.behavior_cloning import BehaviorCloning
from qdt_rl.errors import CheckpointError, ConfigError, DivergenceError
from qdt_rl.policy.agent import QDTPolicy
from qdt_rl.policy.agent_file import read_agent, write_agent

TENSORS = {"weight": torch.arange(6.0).view(2, 3), "generator": torch.arange(5, dtype=torch.uint8)}


@pytest.fixture
def agent(tmp_path):
    path = tmp_path / "agent.zip"
    write_agent(path, {"class": "QDTPolicy", "settings": {"seed": 3}}, TENSORS)
    return path


def rewrite(path, **members):
    """Write the archive again with some members changed; None leaves one out."""
    with zipfile.ZipFile(path) as archive:
        content = {info.filename: archive.read(info) for info in archive.infolist()}
    content |= {name.replace("__", "."): data for name, data in members.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            if data is not None:
                archive.writestr(name, data)


def test_what_is_written_is_read(agent):
    content, tensors = read_agent(agent)
    assert content["settings"] == {"seed": 3}
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor)
        assert tensors[name].dtype == tensor.dtype


def test_a_file_is_on_disk_before_it_has_its_name_and_the_name_is_too(tmp_path, monkeypatch):
    sync, flushed = os.fsync, []

    def note(descriptor):
        flushed.append((os.fstat(descriptor).st_ino, (tmp_path / "agent.zip").exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write_agent(tmp_path / "agent.zip", {}, TENSORS)
    path = tmp_path / "agent.zip"
    assert flushed == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


def test_a_size_beyond_what_a_file_can_have_is_damage(agent):
    """A directory that says, in Zip64's way, that a member begins at 2**64 - 1."""
    content = agent.read_bytes()
    at = content.index(b"PK\x01\x02")
    name_length, extra_length = struct.unpack("<HH", content[at + 28 : at + 32])
    entry = bytearray(content[at : at + 46 + name_length])
    entry[42:46] = b"\xff" * 4
    entry[30:32] = struct.pack("<H", extra_length + 12)
    extra = struct.pack("<HHQ", 1, 8, 2**64 - 1)
    rest = content[at + 46 + name_length :]
    end = rest.rindex(b"PK\x05\x06")
    (size,) = struct.unpack("<I", rest[end + 12 : end + 16])
    rest = rest[: end + 12] + struct.pack("<I", size + 12) + rest[end + 16 :]
    agent.write_bytes(content[:at] + bytes(entry) + extra + rest)
    with pytest.raises(CheckpointError, match="or it is damaged"):
        read_agent(agent)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(agent, monkeypatch):
    before = agent.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        write_agent(agent, {"class": "BehaviorCloning"}, TENSORS)
    assert agent.read_bytes() == before
    assert list(agent.parent.iterdir()) == [agent]


@pytest.mark.parametrize("make", [QDTPolicy, BehaviorCloning])
def test_a_file_object_is_a_place_too(make, dataset, tmp_path):
    policy = make(batch_size=2).fit(dataset, 1)
    policy.save(tmp_path / "agent.zip")
    buffer = io.BytesIO()
    buffer.write(b"what came before")
    policy.save(buffer)
    buffer.seek(16)
    assert (tmp_path / "agent.zip").read_bytes() == buffer.getvalue()[16:]
    loaded = make.load(buffer)
    assert all(
        torch.equal(tensor, loaded.model.state_dict()[name])
        for name, tensor in policy.model.state_dict().items()
    )
    with (tmp_path / "agent.zip").open("rb") as file:
        assert make.load(file).num_timesteps == 1
    with pytest.raises(CheckpointError, match=r"BytesIO object at .* is not an agent of this library"):
        make.load(io.BytesIO(b"something else"))


class PathThatReads(type(Path())):
    """A path with methods of a text file, as pytest's old tmpdir is."""

    def read(self):
        raise UnicodeDecodeError("utf-8", b"", 0, 1, "no text")

    write = read


def test_a_path_is_a_path_whatever_else_it_can(agent):
    place = PathThatReads(agent)
    write_agent(place, {"class": "BehaviorCloning"}, TENSORS)
    assert read_agent(place)[0]["class"] == "BehaviorCloning"


@pytest.mark.parametrize(
    "place", ["", ".", None, 3, b"agent.zip", io.StringIO("text"), "for text", "other way"]
)
def test_a_place_that_is_none(agent, place):
    def read(place):
        with opened(agent, place, {"for text": "r", "other way": "ab"}) as place:
            QDTPolicy.load(place)

    def write(place):
        with opened(agent, place, {"for text": "a", "other way": "rb"}) as place:
            write_agent(place, {}, TENSORS)

    before = agent.read_bytes()
    for use in (read, write):
        with pytest.raises(
            ConfigError, match="An agent's file must be a path that ends in its name, or a file o"
        ):
            use(place)
    assert agent.read_bytes() == before


@contextmanager
def opened(path, place, modes):
    """Open a file in the mode that a name stands for; everything else is a place as it is."""
    if place in modes:
        with path.open(modes[place]) as file:
            yield file
    else:
        yield place


def test_a_file_that_may_not_be_read_is_not_called_foreign(agent, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(CheckpointError, match=r"The agent at .*agent\.zip cannot be read: Permission denied"):
        QDTPolicy.load(agent)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"There is no agent at .*absent\.zip"):
        QDTPolicy.load(tmp_path / "absent")


@pytest.mark.parametrize("n_bytes", [0, 10, 200, -1, -20, -100])
def test_a_truncated_file_is_refused(agent, n_bytes):
    agent.write_bytes(agent.read_bytes()[:n_bytes])
    with pytest.raises(CheckpointError, match="is not an agent of this library, or it is damaged"):
        read_agent(agent)


class Canary:
    def __reduce__(self):
        return os.mkdir, ("canary",)


def test_a_pickle_under_our_names_is_not_run(agent, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rewrite(agent, agent__json=pickle.dumps(Canary()), tensors__safetensors=pickle.dumps(Canary()))
    with pytest.raises(CheckpointError, match="is not an agent of this library"):
        read_agent(agent)
    agent.write_bytes(pickle.dumps(Canary()))
    with pytest.raises(CheckpointError, match="is not an agent of this library"):
        read_agent(agent)
    assert not (tmp_path / "canary").exists()


def test_foreign_archives_are_refused(agent):
    rewrite(agent, data=b"more")
    with pytest.raises(
        CheckpointError, match=r"it holds .*'data'.*, not agent\.json and tensors\.safetensors"
    ):
        read_agent(agent)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[]", r"its agent\.json does not say so"),
        (b'{"format": "zip"}', r"its agent\.json does not say so"),
        (
            b'{"format": "qdt_rl agent", "format_version": 99}',
            "has format version 99; this version of the library",
        ),
        (b"{", "or it is damaged: Expecting property name"),
        (b"[" * 100_000, "or it is damaged: maximum recursion depth"),
    ],
)
def test_json_that_is_not_ours_is_refused(agent, text, message):
    rewrite(agent, agent__json=text)
    with pytest.raises(CheckpointError, match=message):
        read_agent(agent)


def test_a_compressed_member_is_refused_before_it_expands(agent):
    with zipfile.ZipFile(agent, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("agent.json", b" " * 2**24)
        archive.writestr("tensors.safetensors", save(TENSORS))
    with pytest.raises(CheckpointError, match=r"agent\.json is compressed or larger than"):
        read_agent(agent)


def test_an_agent_of_another_class_is_refused(dataset, tmp_path):
    BehaviorCloning(hidden_sizes=(3,)).fit(dataset, 1).save(tmp_path / "bc.zip")
    with pytest.raises(
        CheckpointError, match="holds a BehaviorCloning, not a QDTPolicy; load it with that class"
    ):
        QDTPolicy.load(tmp_path / "bc.zip")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["settings"].update(variant="qtd"), "Unknown variant 'qtd'"),
        (lambda content: content["settings"].update(nonsense=1), "unexpected keyword argument 'nonsense'"),
        (lambda content: content["model_config"].update(n_layers=5), "ask for another model"),
        (lambda content: content["settings"]["policy_kwargs"].update(d_model=16), "ask for another model"),
        (lambda content: content["model_config"].update(n_layers=10**9), "n_layers must be at most 1,000"),
        (lambda content: content["settings"].update(context_length=10**9), "context_length must be at most"),
        (lambda content: content.pop("sampler"), "'sampler'"),
        (lambda content: content["sampler"].update(state=-1), "sampler's state is none"),
        (lambda content: content.update(num_timesteps=-1), "must be a whole number, but are -1"),
        (lambda content: content.update(num_timesteps=True), "must be a whole number, but are True"),
        (lambda content: content.update(best_return="best"), "finite number must stand where 'best' stands"),
        (lambda content: content.update(reference_scores=[1]), "not enough values"),
        (lambda content: content.update(reference_scores=[1, 0]), "scores must ascend, but are 1.0 and 0.0"),
        (lambda content: content.update(env_id="antigravity:Env-v0"), "is no environment's id of the kind"),
    ],
)
def test_content_that_does_not_describe_an_agent_is_refused(change, message, dataset, tmp_path):
    path = tmp_path / "agent.zip"
    QDTPolicy(policy_kwargs={"d_model": 8, "n_heads": 1}).fit(dataset, 1).save(path)
    content = json.loads(zipfile.ZipFile(path).read("agent.json"))
    change(content)
    rewrite(path, agent__json=json.dumps(content).encode())
    with pytest.raises(CheckpointError, match=rf"does not describe a QDTPolicy: (?s:.*){message}"):
        QDTPolicy.load(path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("model.norm.bias", lambda t: t[:-1], r"must be \(8,\), torch\.float32, but is \(7,\)"),
        ("model.norm.bias", lambda t: t.double(), r"but is \(8,\), torch\.float64"),
        ("model.norm.bias", lambda t: None, "but is missing"),
        ("model.more", lambda t: torch.zeros(1), "Unexpected key"),
        ("optimizer.exp_avg.norm.bias", lambda t: t[:-1], "exp_avg of norm.bias"),
        ("optimizer.exp_avg_sq.norm.bias", lambda t: t - 1, "exp_avg_sq of norm.bias"),
        ("optimizer.exp_avg.norm.bias", lambda t: None, "exp_avg of norm.bias"),
        ("optimizer.step.norm.bias", lambda t: torch.tensor(9.0), "step of norm.bias"),
        ("optimizer.step.norm.bias", lambda t: torch.zeros(2), "step of norm.bias"),
        ("generator.0", lambda t: t[:-1], "generator 0"),
        ("action_space.high", lambda t: torch.tensor([-2.0, 0.0]), "equal or too far apart"),
        ("observation_space.low", lambda t: t[:-1], "bounds that are none"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(name, change, message, dataset, tmp_path):
    path = tmp_path / "agent.zip"
    QDTPolicy(policy_kwargs={"d_model": 8, "n_heads": 1}).fit(dataset, 1).save(path)
    _, tensors = read_agent(path)
    changed = change(tensors.pop(name, None))
    if changed is not None:
        tensors[name] = changed.contiguous()
    rewrite(path, tensors__safetensors=save(tensors))
    with pytest.raises(CheckpointError, match=message):
        QDTPolicy.load(path)


@pytest.mark.parametrize("dtype", ["F8_E8M0", "F8_E4M3", "F4"])
def test_dtypes_that_torch_does_not_compute_with_are_damage(dtype, dataset, tmp_path):
    """The bytes are as many as the header says."""
    path = tmp_path / "agent.zip"
    QDTPolicy(policy_kwargs={"d_model": 8, "n_heads": 1}).fit(dataset, 1).save(path)
    _, tensors = read_agent(path)
    tensors["model.norm.bias"] = torch.zeros(8, dtype=torch.uint8)
    content = save(tensors)
    start = content.index(b'"model.norm.bias"')
    at = content.index(b'"U8"', start)
    shorter = content[:at] + f'"{dtype}"'.encode() + content[at + 4 :]
    end = 8 + int.from_bytes(content[:8], "little")
    header = shorter[8 : end + len(dtype) - 2].rstrip()
    rewrite(path, tensors__safetensors=len(header).to_bytes(8, "little") + header + content[end:])
    with pytest.raises(CheckpointError, match=r"agent\.zip"):
        QDTPolicy.load(path)


def test_weights_that_are_not_finite_are_not_saved_over_good_ones(dataset, tmp_path):
    path = tmp_path / "agent.zip"
    policy = QDTPolicy(policy_kwargs={"d_model": 8, "n_heads": 1}, learning_rate=1e39, warmup_steps=0)
    other = QDTPolicy(policy_kwargs={"d_model": 8, "n_heads": 1}).fit(dataset, 1)
    other.save(path)
    before = path.read_bytes()
    with pytest.raises(DivergenceError, match=r"Divergence at update 2: the weight .* after update 1"):
        policy.fit(dataset, 2)
    with pytest.raises(DivergenceError, match=r"model\..* holds values that are not finite, so .*agent\.zip"):
        policy.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_weights_that_are_not_finite_are_refused(dataset, tmp_path, monkeypatch):
    policy = QDTPolicy(policy_kwargs={"d_model": 8, "n_heads": 1}).fit(dataset, 1)
    with torch.no_grad():
        policy.model.norm.bias[3] = torch.nan
    with monkeypatch.context() as patch:
        patch.setattr("qdt_rl.policy.agent_file._not_finite", lambda tensors: [])
        policy.save(tmp_path / "agent.zip")
    with pytest.raises(CheckpointError, match=r"model\.norm\.bias holds values that are not finite"):
        QDTPolicy.load(tmp_path / "agent.zip")


def test_settings_are_kept_as_json_gives_them_back(dataset, tmp_path):
    """NumPy's numbers and paths are plain ones in the file, and what cannot be kept is refused at once."""
    sizes = {"d_model": 8, "n_heads": 1}
    policy = QDTPolicy(sliding_window=np.bool_(True), verbose=np.int64(0), policy_kwargs=sizes)
    policy.fit(dataset, 1).save(tmp_path / "agent.zip")
    assert QDTPolicy.load(tmp_path / "agent.zip").sliding_window is True
    with pytest.raises(ConfigError, match="What a file holds must be finite numbers, texts, lists and dicts"):
        QDTPolicy(learning_rate=Fraction(1, 3))


def test_a_model_with_numbers_of_numpys_is_saved(dataset, tmp_path):
    sizes = {"d_model": 8, "n_heads": 1, "entanglement_strength": np.float32(0.3)}
    policy = QDTPolicy(policy_kwargs=sizes).fit(dataset, 1)
    policy.save(tmp_path / "agent.zip")
    loaded = QDTPolicy.load(tmp_path / "agent.zip")
    assert loaded.model.config == policy.model.config
    action, _ = loaded.predict(np.ones(3), 1.0)
    np.testing.assert_array_equal(action, policy.predict(np.ones(3), 1.0)[0])
