"""Controls and other readings of the paper: each against what it says, written out."""

import json
from dataclasses import asdict, replace
from itertools import combinations

import numpy as np
import pytest
import torch

from qdt_rl.data.generation import generate_dataset
from qdt_rl.data.minari_reader import read_trajectories
from qdt_rl.data.sampler import WindowSampler
from qdt_rl.data.trajectories import Trajectories
from qdt_rl.errors import ConfigError
from qdt_rl.experiments.cells import Cell, run_cell
from qdt_rl.experiments.controls import CONTROLS, make_agent_or_control
from qdt_rl.experiments.mechanism import channel_outputs, cosine, linear_cka, measure_mechanism
from qdt_rl.experiments.readings import NoCausalMask, NoResidual, TokenEntanglement
from qdt_rl.model.attention import CausalSelfAttention, EntangledLinear
from qdt_rl.model.transformer import DecisionTransformer
from qdt_rl.model.variants import model_config
from qdt_rl.policy.agent import QDTPolicy

DATASET = "qdt/synthetic/expert-v0"
SETTINGS = {"policy_kwargs": {"d_model": 8, "n_heads": 2}, "context_length": 3, "precision": "32"}
D, T = 8, 6


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("datasets")))
        yield generate_dataset(DATASET, n_episodes=2)


@pytest.fixture
def attention():
    """Entangled attention of two heads with random parameters, α = 0.5."""
    torch.manual_seed(0)
    output = EntangledLinear(D, 0.5)
    torch.nn.init.normal_(output.entanglement_weight)
    return CausalSelfAttention(D, 2, output).requires_grad_(False)


def answers(attention, tokens, visible):
    """Attention head by head and token by token, before the output projection."""
    query, key, value = attention.query_key_value(tokens).chunk(3, dim=-1)
    out = torch.zeros_like(query)
    for b in range(len(tokens)):
        for head in (slice(0, 4), slice(4, 8)):
            for t in range(tokens.shape[1]):
                seen = [s for s in range(tokens.shape[1]) if visible(t, s)]
                weights = (key[b, seen, head] @ query[b, t, head] / 2).softmax(0)
                out[b, t, head] = weights @ value[b, seen, head]
    return out


def test_without_residual_the_entangled_part_alone_is_projected(attention):
    layer = attention.output
    heads = torch.randn(3, D)
    expected = (0.5 * heads @ layer.entanglement_weight.T) @ layer.weight.T + layer.bias
    reading = NoResidual(layer)
    torch.testing.assert_close(reading(heads), expected)
    torch.testing.assert_close(reading.fold()(heads), expected)


def test_entanglement_across_tokens_mixes_earlier_into_later(attention):
    tokens = torch.randn(2, T, D)
    reading = TokenEntanglement(attention, 2 * T, seed=0).requires_grad_(False)
    y = answers(attention, tokens, lambda t, s: s <= t)
    mixed = y.clone()
    for t in range(T):
        for s in range(t + 1):
            mixed[:, t] += 0.5 * reading.entanglement_weight[t, s] * y[:, s]
    expected = mixed @ attention.output.weight.T + attention.output.bias
    torch.testing.assert_close(reading(tokens), expected)
    torch.testing.assert_close(reading(tokens, slice(1, None, 3)), expected[:, 1::3])


def test_without_the_causal_mask_a_token_sees_what_follows(attention):
    tokens = torch.randn(2, T, D)
    reading = NoCausalMask(attention)
    expected = attention.output(answers(attention, tokens, lambda t, s: True))
    torch.testing.assert_close(reading(tokens), expected)
    torch.testing.assert_close(reading(tokens, slice(1, None, 3)), expected[:, 1::3])


def test_raw_units_and_wide_entanglement(dataset):
    plain, observations, returns, wide = (
        make_agent_or_control(name, seed=3, **SETTINGS, learning_rate=1e-30).fit(dataset, 1).model
        for name in ("qdt", "qdt+raw-observations", "qdt+raw-returns", "qdt+wide-entanglement")
    )
    assert observations.scaling.observation_mean.tolist() == [0.0] * 11
    assert observations.scaling.observation_std.tolist() == [1.0] * 11
    assert observations.scaling.return_scale == plain.scaling.return_scale > 1000
    assert returns.scaling.return_scale == 1
    assert torch.equal(returns.scaling.observation_std, plain.scaling.observation_std)
    for name, parameter in wide.state_dict().items():
        factor = 10 if name.endswith("entanglement_weight") else 1
        torch.testing.assert_close(parameter, factor * plain.state_dict()[name])


@pytest.mark.parametrize("change", [name for name in CONTROLS if name != "folded-start"])
def test_each_reading_trains_and_acts_by_its_own_model(dataset, change):
    """Acting takes another path than training; both must follow the reading."""
    agent = make_agent_or_control(f"q-attention+{change}", **SETTINGS, learning_rate=0.01).fit(dataset, 3)
    episode = read_trajectories(dataset).observations[:3]
    state, target = None, np.array([100.0, 100.0, 100.0])
    for t, observation in enumerate(episode):
        action, new_state = agent.predict(observation, 100.0, state)
        if t < 2:
            state = new_state
    past = [*state.history.actions[0, -2:], np.zeros(3)]  # the newest action is not known yet
    columns = (target, episode, np.stack(past), np.arange(3))
    arrays = [
        torch.from_numpy(np.asarray(c, np.int64 if c.dtype == int else np.float32))[None] for c in columns
    ]
    model = agent.model.eval()
    with torch.no_grad():
        expected = model.scaling.unscale_actions(model(*arrays))[0, -1]
    np.testing.assert_allclose(action, np.clip(expected.numpy(), -1, 1), atol=1e-5)


def test_unknown_controls_are_refused():
    for name in ("qdt+magic", "bc+no-residual", "magic+no-residual"):
        with pytest.raises(ConfigError, match="Unknown control"):
            make_agent_or_control(name)


def test_an_older_record_is_found_though_the_cell_has_a_field_more():
    cell = Cell("test", "qdt", DATASET, 0, 3)
    old = asdict(cell)
    del old["n_data_episodes"], old["expert_target"]
    assert Cell.present_key(json.dumps(old)) == cell.key()
    assert Cell.present_key(json.dumps(old)) != replace(cell, expert_target=True).key()


def test_an_online_agent_is_judged_as_the_offline_ones_are(dataset):
    record = run_cell(Cell("test", "PPO", DATASET, 0, 8, n_episodes=2))
    assert record["failed"] is None
    (evaluation,) = record["evaluations"]
    assert evaluation["target_return"] == read_trajectories(dataset).episode_returns.max()
    assert (evaluation["n_updates"], len(evaluation["returns"])) == (8, 2)


def test_similarity_of_channels():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(50, 4, generator=rng, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=rng, dtype=torch.float64)).Q
    assert linear_cka(x, 3 * x @ rotation + 1) == pytest.approx(1)
    one, other = torch.tensor([[1.0], [-1.0], [0.0], [0.0]]), torch.tensor([[0.0], [0.0], [1.0], [-1.0]])
    assert linear_cka(one, other) == 0
    half = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    assert linear_cka(one, half) == pytest.approx(0.5)  # (1 · 2)² … = 2² / (2 · 4)


def test_the_cosine_of_channels_tells_adding_from_cancelling():
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert linear_cka(x, -x) == pytest.approx(1)
    assert cosine(x, 3 * x + 1) == pytest.approx(1)
    assert cosine(x, -x) == pytest.approx(-1)
    one, half = torch.tensor([[1.0], [-1.0], [0.0], [0.0]]), torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    assert cosine(one, half) == pytest.approx(2 / 8**0.5)


def test_channels_add_up_to_the_feedforward():
    model = DecisionTransformer(model_config("qdt", 2, 1, d_model=8, n_heads=2, hidden_size=5), seed=0)
    feedforward = model.layers[0].feedforward
    with torch.no_grad():
        for parameter in feedforward.parameters():
            parameter.normal_()
        x = torch.randn(7, 8)
        weights = feedforward.interference_logits.softmax(0)
        total = torch.einsum("c,ctd->td", weights, channel_outputs(feedforward, x))
        torch.testing.assert_close(total, feedforward(x))


def test_a_wide_feedforward_is_cut_into_parts_of_a_channels_width():
    model = DecisionTransformer(model_config("wide-dt", 2, 1, d_model=8, n_heads=2), seed=0)
    feedforward = model.layers[0].feedforward
    with torch.no_grad():
        feedforward.down.bias.normal_()
        x = torch.randn(7, 8)
        parts = channel_outputs(feedforward, x)
        assert parts.shape == (3, 7, 8)
        torch.testing.assert_close(parts.sum(0) + feedforward.down.bias, feedforward(x))
        odd = DecisionTransformer(model_config("dt", 2, 1, d_model=8, n_heads=2, hidden_size=97), seed=0)
        assert channel_outputs(odd.layers[0].feedforward, x).shape == (1, 7, 8)


def test_the_mechanism_of_a_model(dataset):
    policy = QDTPolicy("qdt", **SETTINGS).fit(dataset, 2)
    measured = measure_mechanism(policy.model, read_trajectories(dataset))
    for block, weights, values, norm in zip(
        policy.model.layers,
        measured["interference_weights"],
        measured["singular_values"],
        measured["entanglement_norm"],
        strict=True,
    ):
        assert sum(weights) == pytest.approx(1)
        output = block.attention.output
        entanglement = output.strength * output.entanglement_weight.detach().numpy()
        matrix = output.weight.detach().numpy() @ (np.eye(8) + entanglement)
        np.testing.assert_allclose(values, np.linalg.svd(matrix)[1], atol=1e-5)
        assert norm == pytest.approx(np.linalg.norm(entanglement, 2), rel=1e-5)
    plain = QDTPolicy("dt", **SETTINGS).fit(dataset, 1)
    assert measure_mechanism(plain.model, read_trajectories(dataset))["channel_similarity"] == []
    wide = measure_mechanism(
        QDTPolicy("wide-dt", **SETTINGS).fit(dataset, 1).model, read_trajectories(dataset)
    )
    assert (len(wide["channel_similarity"]), len(wide["channel_cosine"])) == (len(plain.model.layers),) * 2
    assert wide["interference_weights"] == []


def test_channels_are_compared_at_real_states_alone(dataset):
    """Of episodes of two timesteps, half of all windows are padding."""
    policy, whole = QDTPolicy("qdt", **SETTINGS).fit(dataset, 2), read_trajectories(dataset)
    n = 40
    rows = (array[:n] for array in (whole.observations, whole.actions, whole.rewards))
    short = Trajectories(*rows, np.arange(0, n + 1, 2))
    measured, expected = measure_mechanism(policy.model, short), channels_by_hand(policy.model, short)
    np.testing.assert_allclose(measured["channel_similarity"], expected["similarity"], rtol=1e-4)
    np.testing.assert_allclose(measured["channel_cosine"], expected["cosine"], rtol=1e-4, atol=1e-6)


@torch.no_grad()
def channels_by_hand(model, trajectories):
    """Return both measures of the same 32 windows, each window alone and cut to its real timesteps."""
    windows = WindowSampler(trajectories, model.config.context_length, 32, seed=0).sample()
    *columns, lengths = windows
    outputs = [[] for _ in model.layers]  # by block: each window's (channels, timesteps, D) at its states
    for i, length in enumerate(lengths):
        x = model.embed(*(torch.from_numpy(column[i : i + 1, :length]) for column in columns))
        for block, found in zip(model.layers, outputs, strict=True):
            x = x + block.attention(block.attention_norm(x))
            y = block.feedforward_norm(x)
            found.append(channel_outputs(block.feedforward, y[0, 1::3]).numpy())
            x = x + block.feedforward(y)
    expected = {"similarity": [], "cosine": []}
    for found in outputs:
        channels = np.concatenate(found, axis=1).astype(float)
        pairs = list(combinations(channels - channels.mean(axis=1, keepdims=True), 2))
        expected["cosine"].append(np.mean([cosine_of(a, b) for a, b in pairs]))
        kernels = [(a @ a.T, b @ b.T) for a, b in pairs]  # of the samples, as CKA is defined
        expected["similarity"].append(np.mean([cosine_of(a, b) for a, b in kernels]))
    return expected


def cosine_of(first, second):
    return np.vdot(first, second) / np.sqrt(np.vdot(first, first) * np.vdot(second, second))


def test_channels_do_much_the_same_before_they_are_trained(dataset):
    """What docs/results.md says: their similarity is no sign of training."""
    policy = QDTPolicy("qdt", precision="32").fit(dataset, 1)  # at a two-hundredth of the learning rate
    measured = measure_mechanism(policy.model, read_trajectories(dataset))
    assert all(0.85 < similarity < 1 for similarity in measured["channel_similarity"])
    assert all(abs(value) < 0.5 for value in measured["channel_cosine"])
