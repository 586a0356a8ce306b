"""Agents' files from strangers: thousands of hostile ones, none of which may run, hang or expand."""

import io
import json
import pickle
import random
import struct
import time
import tracemalloc
import zipfile
from contextlib import suppress

import numpy as np
import pytest

from qdt_rl.baselines.behavior_cloning import BehaviorCloning
from qdt_rl.errors import CheckpointError, InputError
from qdt_rl.policy.agent import QDTPolicy

N_MUTANTS = 250
"""Of each kind and class: 8 kinds and 2 classes make 4,000."""
LIMIT_SECONDS, LIMIT_MB = 3.0, 60.0
HOSTILE = (
    *(
        None,
        True,
        -1,
        0,
        10**9,
        2**63,
        10**400,
        1e308,
        float("nan"),
        float("inf"),
        "",
        "os:system",
        "../../x",
    ),
    *([], {}, [[]], [None] * 1000, {"__class__": "os.system"}, "a" * 10_000),
)


class Canary:
    """Tells on whoever unpickles it."""

    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('canary').touch()",)


@pytest.fixture(scope="module", params=[QDTPolicy, BehaviorCloning])
def saved(request, dataset, tmp_path_factory):
    """Return the class and the bytes of a small fitted agent."""
    path = tmp_path_factory.mktemp("agents") / "agent.zip"
    small = {"policy_kwargs": {"d_model": 4, "n_heads": 1, "n_layers": 1}, "context_length": 2}
    policy = request.param(**(small if request.param is QDTPolicy else {"hidden_sizes": (4,)}))
    policy.fit(dataset, 1).save(path)
    return request.param, path.read_bytes()


def members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(parts, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in parts:
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=compression)
    return buffer.getvalue()


def flip_bits(content, rng):
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def truncate(content, rng):
    start, end = sorted(rng.sample(range(len(content)), 2))
    return rng.choice(
        [content[:end], content[start:], content[:start] + content[end:], content + content[:end]]
    )


def flip_bits_in_a_member(content, rng):
    """With checksums that fit, so that only our own reading can tell."""
    parts = members(content)
    name = rng.choice(list(parts))
    return archive_of((parts | {name: flip_bits(parts[name], rng)}).items())


def hostile_values(content, rng):
    parts = members(content)
    described = json.loads(parts["agent.json"])
    holders = [described, described["settings"], described["model_config"], described["sampler"]]
    for _ in range(rng.choice([1, 1, 2, 5])):
        holder = rng.choice(holders)
        key = rng.choice([*holder, "more"])
        if rng.random() < 0.2:
            holder.pop(key, None)
        else:
            holder[key] = rng.choice(HOSTILE)
    return archive_of((parts | {"agent.json": json.dumps(described).encode()}).items())


def hostile_tensor_headers(content, rng):
    parts = members(content)
    data = parts["tensors.safetensors"]
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    entry = header[rng.choice(list(header))]
    change = rng.randrange(6)
    if change == 0:
        entry["shape"] = rng.choice([[2**62], [2**31, 2**31], [0], [], [-1], [1] * 10_000])
    elif change == 1:
        entry["dtype"] = rng.choice(["F64", "I8", "BF16", "BOOL", "F8_E5M2", "U64", "X", 3])
    elif change == 2:
        entry["data_offsets"] = rng.choice([[0, 2**63], [-1, 4], [4, 0], [0, 0], "ab", None])
    elif change == 3:
        header[rng.choice(["model.more", "optimizer.x", "", "a" * 1000])] = dict(entry)
    elif change == 4:
        header.pop(rng.choice(list(header)))
    text = json.dumps(header).encode()
    lengths = [len(text), len(text) + 1, 0, 2**40, 2**64 - 1]
    data = struct.pack("<Q", rng.choice(lengths) if change == 5 else len(text)) + text + data[8 + length :]
    return archive_of((parts | {"tensors.safetensors": data}).items())


def poisoned_weights(content, rng):
    parts = members(content)
    data = bytearray(parts["tensors.safetensors"])
    (length,) = struct.unpack("<Q", data[:8])
    value = struct.pack("<f", rng.choice([np.nan, np.inf, -np.inf, 3e38, -0.0, 1e-45]))
    at = 8 + length + 4 * rng.randrange((len(data) - 8 - length) // 4)
    data[at : at + 4] = value
    return archive_of((parts | {"tensors.safetensors": bytes(data)}).items())


def foreign_archives(content, rng):
    parts = list(members(content).items())
    names = ["../../agent.json", "/etc/passwd", "agent.json", "data.pkl", "tensors.safetensors", "a\0b"]
    compression = zipfile.ZIP_STORED
    change = rng.randrange(4)
    if change == 0:
        parts.append((rng.choice(names), rng.choice([b"", b"x", pickle.dumps(Canary())])))
    elif change == 1:
        parts[rng.randrange(2)] = (rng.choice(names), pickle.dumps(Canary()))
    elif change == 2:
        compression = zipfile.ZIP_DEFLATED
        parts[rng.randrange(2)] = (rng.choice(["agent.json", "tensors.safetensors"]), b" " * 2**20)
    else:
        rng.shuffle(parts)
        parts = [(name, data[: rng.randrange(len(data))]) for name, data in parts]
    return archive_of(parts, compression)


def pickles_and_noise(content, rng):
    return rng.choice(
        [pickle.dumps(Canary()), rng.randbytes(rng.randrange(5000)), pickle.dumps(Canary()) + content]
    )


KINDS = (
    flip_bits,
    truncate,
    flip_bits_in_a_member,
    hostile_values,
    hostile_tensor_headers,
    poisoned_weights,
    foreign_archives,
    pickles_and_noise,
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize("mutate", KINDS)
def test_a_damaged_file_is_refused_or_acts_like_an_agent(mutate, saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    policy_class, content = saved
    rng = random.Random(f"{mutate.__name__} {policy_class.__name__}")
    refused = 0
    tracemalloc.start()
    for _ in range(N_MUTANTS):
        mutant = mutate(content, rng)
        path = tmp_path / "mutant.zip"
        path.write_bytes(mutant)
        tracemalloc.reset_peak()
        before, start = tracemalloc.get_traced_memory()[0], time.process_time()
        try:
            policy = policy_class.load(path, device="cpu")
        except CheckpointError:
            refused += 1
        else:
            box = policy.action_space
            with np.errstate(all="ignore"), suppress(InputError):  # finite weights, whose products are not
                action, _ = policy.predict(np.zeros(policy.observation_space.shape), 1.0)
                assert box.contains(action)
        assert time.process_time() - start < LIMIT_SECONDS
        assert (tracemalloc.get_traced_memory()[1] - before) / 1e6 < LIMIT_MB
        assert not (tmp_path / "canary").exists()
    tracemalloc.stop()
    assert refused > 0


def test_the_canary_would_tell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Canary()))
    assert (tmp_path / "canary").exists()
