import copy
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qdt_rl.config import TrainConfig
from qdt_rl.data.sampler import WindowSampler
from qdt_rl.data.trajectories import Trajectories
from qdt_rl.data.windows import Windows
from qdt_rl.errors import CheckpointError, ConfigError, DivergenceError
from qdt_rl.model.transformer import DecisionTransformer, is_matrix
from qdt_rl.model.variants import VARIANTS, model_config
from qdt_rl.policy.agent_file import below
from qdt_rl.training import Trainer, masked_mse, resolve_device, resolve_precision, train

GOLDEN = Path(__file__).parent / "golden_training.json"
S, A, K = 5, 2, 7
SMALL = {"d_model": 24, "n_heads": 3, "context_length": K}
CONFIG = TrainConfig(batch_size=8, precision="32")


def trajectories(observation_size=S, action_size=A):
    rng = np.random.default_rng(0)
    offsets = np.cumsum([0, 1, 2, 40, 3, 54])
    n_steps = offsets[-1]
    return Trajectories(
        rng.normal(size=(n_steps, observation_size)).astype(np.float32),
        rng.uniform(-1, 1, size=(n_steps, action_size)).astype(np.float32),
        rng.normal(size=n_steps).astype(np.float32),
        offsets,
    )


def run(variant="qdt", config=CONFIG, seed=0, **settings):
    model = DecisionTransformer(model_config(variant, S, A, **{**SMALL, **settings}), seed)
    data = trajectories()
    model.scaling.fit(data.observations, data.returns_to_go, -np.ones(A), np.ones(A))
    return Trainer(model, config, seed, "cpu"), WindowSampler(data, K, config.batch_size, seed)


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.tensors().items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_a_cluster_that_started_the_process_decides_nothing(monkeypatch):
    """One seed a SLURM task: Lightning would take the processes for one training, and refuse it."""
    expected = weights(trained(*run(), 3))
    for name, value in {
        "SLURM_NTASKS": "4",
        "SLURM_JOB_NAME": "seeds",
        "SLURM_PROCID": "2",
    }.items():
        monkeypatch.setenv(name, value)
    assert_same(weights(trained(*run(), 3)), expected)


def trained(trainer, sampler, n_steps):
    for _ in train(trainer, sampler, n_steps):
        pass
    return trainer


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_first_twenty_updates_are_the_recorded_ones(variant):
    """UPDATE_GOLDEN=1 records them anew, after a change that is meant to change them."""
    model = DecisionTransformer(model_config(variant, 11, 3), seed=0)
    data = trajectories(11, 3)
    model.scaling.fit(data.observations, data.returns_to_go, -np.ones(3), np.ones(3))
    trainer = Trainer(model, TrainConfig(batch_size=4, warmup_steps=10, precision="32"), seed=0, device="cpu")
    updates = list(train(trainer, WindowSampler(data, 20, 4, seed=0), 20))
    got = {"loss": [u.loss for u in updates], "gradient_norm": [u.gradient_norm for u in updates]}
    golden = json.loads(GOLDEN.read_text())
    if os.environ.get("UPDATE_GOLDEN"):
        golden |= {variant: got}
        GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")
    for name, values in golden[variant].items():
        np.testing.assert_allclose(got[name], values, rtol=2e-4, err_msg=name)


def test_loss_is_the_mean_over_real_actions_only():
    predicted = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]], [[0.0, 0.0], [9.0, 9.0], [9.0, 9.0]]])
    actions = torch.tensor(
        [[[0.0, 0.0], [0.0, 0.0], [5.0, 5.0]], [[2.0, 0.0], [float("nan"), 5.0], [5.0, 5.0]]]
    )
    # real: (1, 4, 9, 16) and (4, 0), six entries
    assert masked_mse(predicted, actions, torch.tensor([2, 1])).item() == pytest.approx(34 / 6)


def test_padding_reaches_neither_the_loss_nor_the_gradient():
    (first, sampler), (second, _) = run(dropout=0.0), run(dropout=0.0)
    windows = sampler.sample()
    padding = np.arange(K) >= windows.lengths[:, None]
    assert padding.any()
    poisoned = Windows(*(array.copy() for array in windows))
    for array in (poisoned.returns_to_go, poisoned.observations, poisoned.actions, poisoned.timesteps):
        array[padding] = 7
    first.update(windows)
    second.update(poisoned)
    for name, tensor in first.tensors().items():
        torch.testing.assert_close(tensor, second.tensors()[name], atol=1e-6, rtol=1e-4)


def test_one_update_is_torchs_own_adamw_on_the_clipped_gradient():
    trainer, sampler = run(dropout=0.0, config=TrainConfig(batch_size=8, precision="32", warmup_steps=4))
    reference = copy.deepcopy(trainer.model).train()
    windows = sampler.sample()
    update = trainer.update(windows)

    returns_to_go, observations, actions, timesteps, lengths = map(torch.from_numpy, windows)
    predicted = reference(returns_to_go, observations, actions, timesteps)
    loss = sum(
        ((predicted[i, t] - actions[i, t]) ** 2).sum() for i in range(len(actions)) for t in range(lengths[i])
    ) / (lengths.sum() * A)
    loss.backward()
    norm = torch.sqrt(sum((parameter.grad**2).sum() for parameter in reference.parameters()))
    for parameter in reference.parameters():
        parameter.grad *= min(1, 0.25 / norm)
    for name, parameter in reference.named_parameters():
        decay = 1e-4 if is_matrix(name, parameter) else 0.0
        torch.optim.AdamW([parameter], lr=3e-4 / 4, weight_decay=decay).step()

    assert update.loss == pytest.approx(loss.item(), rel=1e-5)
    assert update.gradient_norm == pytest.approx(norm.item(), rel=1e-4)
    assert update.learning_rate == pytest.approx(3e-4 / 4)
    for (name, got), expected in zip(trainer.model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(got, expected, atol=2e-6, rtol=1e-5, msg=name)


def test_weight_decay_reaches_matrices_only():
    trainer, _ = run()
    decayed, spared = (group["params"] for group in trainer.optimizer.param_groups)
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    assert all(parameter.ndim == 2 for parameter in decayed)
    assert {names[id(parameter)].split(".")[-1] for parameter in spared} == {
        "weight",  # of norms
        "bias",
        "down_bias",
        "interference_logits",
    }
    assert len(decayed) + len(spared) == len(names)


def test_learning_rate_rises_linearly_and_stays():
    trainer, sampler = run(
        config=TrainConfig(batch_size=2, warmup_steps=4, learning_rate=1e-3, precision="32")
    )
    rates = [update.learning_rate for update in train(trainer, sampler, 6)]
    assert rates == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3, 1e-3])


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_the_same_seed_gives_the_same_bytes(precision):
    config = TrainConfig(batch_size=8, precision=precision)
    (first, sampler), (second, twin) = run(config=config), run(config=config)
    assert list(train(first, sampler, 5)) == list(train(second, twin, 5))
    assert_same(weights(first), weights(second))
    other, sampler = run(config=config, seed=1)
    list(train(other, sampler, 5))
    assert not torch.equal(other.model.norm.bias, first.model.norm.bias)


def test_a_run_goes_on_from_its_tensors_to_the_same_bytes():
    (whole, sampler), (half, _) = run(), run()
    list(train(whole, sampler, 4))
    saved, state = weights(whole), sampler.state
    expected = list(train(whole, sampler, 4))
    resumed, fresh = run(seed=9)
    resumed.model.load_state_dict(below("model.", saved))
    resumed.load_tensors(saved, 4)
    fresh.state = state
    assert list(train(resumed, fresh, 4)) == expected
    assert_same(weights(resumed), weights(whole))
    half.load_tensors(saved, 4)
    assert half.n_updates == 4


def test_all_that_the_optimiser_holds_is_where_the_model_is():
    """Fused AdamW refuses a count of updates on another device; meta stands for a GPU."""
    trainer, sampler = run()
    trainer.update(sampler.sample())
    resumed, _ = run()
    resumed.model.to("meta")
    resumed.load_tensors(weights(trainer), 1)
    held = [tensor for moments in resumed.optimizer.state.values() for tensor in moments.values()]
    assert len(held) == 3 * len(list(resumed.model.parameters()))
    assert {tensor.device.type for tensor in held} == {"meta"}


@pytest.mark.parametrize("damage", ["missing", "shape"])
def test_tensors_that_do_not_fit_are_refused(damage):
    trainer, sampler = run()
    trainer.update(sampler.sample())
    state = weights(trainer)
    if damage == "missing":
        del state["optimizer.exp_avg.norm.weight"]
    else:
        state["optimizer.exp_avg.norm.weight"] = torch.zeros(3)
    with pytest.raises(CheckpointError, match=r"training state does not fit: .*norm\.weight"):
        run()[0].load_tensors(state, 1)


def test_a_diverging_run_stops_with_the_weights_before_it():
    trainer, sampler = run()
    trainer.update(sampler.sample())
    before = weights(trainer)
    windows = sampler.sample()
    windows.observations[0, 0, 0] = np.inf
    with pytest.raises(DivergenceError, match=r"Divergence at update 2: the loss is not finite .*Lower"):
        trainer.update(windows)
    after = weights(trainer)
    for name in before:
        if name.startswith(("model", "optimizer")):
            assert torch.equal(before[name], after[name]), name
    trainer.update(sampler.sample())


def test_precision_follows_the_processor(monkeypatch):
    for capable, expected in ((True, "bf16-mixed"), (False, "32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda capable=capable: {"avx512_bf16": capable})
        assert resolve_precision("auto", "cpu") == expected
    for name in ("avx512_bf16", "amx_bf16", "bf16"):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda name=name: {name: True})
        assert resolve_precision("auto", "cpu") == "bf16-mixed"
    assert resolve_precision("auto", "mps") == "32"
    for capable, expected in ((True, "bf16-mixed"), (False, "32")):
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation, c=capable: c and not including_emulation,
        )
        assert resolve_precision("auto", "cuda") == expected
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # a torch that does not tell
    assert resolve_precision("auto", "cpu") == "32"
    assert resolve_precision("32", "cpu") == "32"
    assert resolve_precision("bf16-mixed", "cpu") == "bf16-mixed"


def test_a_model_learns_to_copy_what_the_return_says():
    """Actions equal the sign of the return: only return-conditioning can tell the episodes apart."""
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], size=64)
    rewards = np.repeat(signs, 10)
    data = Trajectories(
        np.zeros((640, 1), np.float32),
        np.repeat(signs, 10)[:, None].astype(np.float32) * 0.8,
        rewards.astype(np.float32),
        np.arange(0, 641, 10),
    )
    model = DecisionTransformer(model_config("qdt", 1, 1, **SMALL))
    model.scaling.fit(data.observations, data.returns_to_go, -np.ones(1), np.ones(1))
    trainer = Trainer(model, TrainConfig(batch_size=32, learning_rate=3e-3, warmup_steps=10, precision="32"))
    for update in train(trainer, WindowSampler(data, K, 32, 0), 150):
        last = update
    assert last.loss < 0.02


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be a positive number, but 0.0 was given"),
        ({"learning_rate": "3e-4"}, "learning_rate must be a positive number, but '3e-4' was given"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive number, but nan was given"),
        ({"max_grad_norm": None}, "max_grad_norm must be a positive number, but None was given"),
        ({"weight_decay": True}, "weight_decay must be a number of at least 0, but True was given"),
        ({"batch_size": 2.5}, "batch_size must be a whole number of at least 1, but 2.5 was given"),
        ({"weight_decay": -1.0}, "weight_decay must be a number of at least 0, but -1.0 was given"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be a positive number, but 0.0 was given"),
        ({"warmup_steps": -1}, "warmup_steps must be a whole number of at least 0, but -1 was given"),
        ({"precision": "16"}, "precision must be 'auto', 'bf16-mixed' or '32', but '16' was given"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**settings)


@pytest.mark.parametrize(
    ("has_cuda", "has_mps", "expected"),
    [(True, False, "cuda"), (False, True, "mps"), (False, False, "cpu"), (True, True, "cuda")],
)
def test_auto_is_the_first_device_that_the_machine_has(monkeypatch, has_cuda, has_mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_mps)
    assert resolve_device("auto") == expected
    assert [resolve_device(device) for device in ("cpu", "cuda", "mps")] == ["cpu", "cuda", "mps"]


def test_the_processes_of_torchrun_are_refused(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="torchrun has started 2 processes"):
        run()
    monkeypatch.setenv("WORLD_SIZE", "1")
    run()


def test_numbers_of_numpy_are_stored_as_pythons():
    """With float32's 3e-4 the warm-up would round otherwise than with the number that a file gives back."""
    config = TrainConfig(learning_rate=np.float32(3e-4), batch_size=np.int64(8), warmup_steps=np.uint8(200))
    assert config == TrainConfig(learning_rate=float(np.float32(3e-4)), batch_size=8)
    kinds = [type(getattr(config, name)) for name in ("learning_rate", "batch_size", "warmup_steps")]
    assert kinds == [float, int, int]


def test_bfloat16_does_not_round_observations_before_they_are_standardised():
    """At 1000, bfloat16's next number is 1004: differences of 1 would be lost."""
    losses = []
    for moved in (0.0, 1.0):
        trainer, sampler = run(config=replace(CONFIG, precision="bf16-mixed"), dropout=0.0)
        trainer.model.scaling.observation_mean.fill_(1000.0)
        windows = sampler.sample()
        losses.append(
            trainer.update(
                windows._replace(observations=np.full_like(windows.observations, 1000 + moved))
            ).loss
        )
    assert losses[0] != losses[1]
