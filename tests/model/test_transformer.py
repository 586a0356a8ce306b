import pytest
import torch

from qdt_rl.config import ModelConfig
from qdt_rl.errors import ConfigError
from qdt_rl.model.attention import EntangledLinear
from qdt_rl.model.feedforward import Feedforward, InterferenceFeedforward
from qdt_rl.model.transformer import DecisionTransformer
from qdt_rl.model.variants import VARIANTS, model_config

S, A, B, K = 5, 2, 3, 7
PARAMETERS = {
    "dt": 742_531,
    "q-attention": 791_683,
    "q-feedforward": 1_532_812,
    "qdt": 1_581_964,
    "wide-dt": 1_532_035,
}


def small(variant, **settings):
    model = DecisionTransformer(
        model_config(variant, S, A, d_model=24, n_heads=3, context_length=K, **settings)
    )
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():  # large enough for every part to matter
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


def window(seed=0, batch=B):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((batch, K), (batch, K, S), (batch, K, A))
    return [
        *(torch.randn(shape, generator=generator) for shape in shapes),
        torch.arange(K).expand(batch, K) + 11,
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_counts_are_the_papers(variant):
    model = DecisionTransformer(model_config(variant, 11, 3))
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[variant]


def test_variants_are_their_parts():
    by_parts = ModelConfig(S, A, attention="entangled", n_channels=3, hidden_size=512)
    assert model_config("qdt", S, A) == by_parts
    block = DecisionTransformer(by_parts).blocks[0]
    assert isinstance(block.attention.output, EntangledLinear)
    assert isinstance(block.feedforward, InterferenceFeedforward)
    assert type(DecisionTransformer(model_config("dt", S, A)).blocks[0].feedforward) is Feedforward


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("changed", ["return_to_go", "observation", "action", "timestep"])
def test_an_action_depends_on_what_came_before_it_and_on_nothing_later(variant, changed):
    model, before = small(variant), window()
    t = 4
    after = [part.clone() for part in before]
    position = ["return_to_go", "observation", "action", "timestep"].index(changed)
    after[position][:, t] += 1
    difference = (model(*after) - model(*before)).abs().amax(dim=(0, 2))
    first_affected = t + 1 if changed == "action" else t
    assert (difference[:first_affected] == 0).all()
    assert (difference[first_affected:] > 1e-6).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_on_the_right_changes_no_real_action(variant):
    model, real = small(variant), window()
    short = model(*(part[:, :4] for part in real))
    torch.testing.assert_close(model(*real)[:, :4], short)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_last_block_on_state_tokens_equals_the_whole_block(variant):
    model, inputs = small(variant), window()
    scaled = (inputs[0], inputs[1], inputs[2], inputs[3])
    tokens = model.embedding(*scaled)  # the scaling is the identity here
    for block in model.blocks:
        tokens = block(tokens)
    torch.testing.assert_close(model(*inputs), model.head(model.norm(tokens))[:, 1::3])


@pytest.mark.parametrize("variant", VARIANTS)
def test_fold_is_a_plain_transformer_with_the_same_output(variant):
    model, inputs = small(variant), window()
    folded = model.fold()
    assert not any(isinstance(part, EntangledLinear | InterferenceFeedforward) for part in folded.modules())
    expected, got = model(*inputs), folded(*inputs)
    assert (got - expected).norm() / expected.norm() < 1e-5
    before = model(*inputs)
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.zero_()
    assert torch.equal(model(*inputs), before)


def test_a_folded_qdt_has_the_shape_of_wide_dt():
    folded = DecisionTransformer(model_config("qdt", 11, 3)).fold()
    assert folded.config == model_config("wide-dt", 11, 3)
    assert sum(parameter.numel() for parameter in folded.parameters()) == PARAMETERS["wide-dt"]


def test_a_folded_model_drops_what_its_source_drops():
    model = small("qdt").train()
    folded, inputs = model.fold(), window()
    torch.testing.assert_close(folded(*inputs), model(*inputs))


def test_timesteps_beyond_the_table_use_its_last_row():
    model, (returns_to_go, observations, actions, _) = small("qdt", max_timestep=10), window()
    before, last, beyond = (
        model(returns_to_go, observations, actions, torch.full((B, K), t)) for t in (8, 9, 5000)
    )
    assert torch.equal(last, beyond)
    assert not torch.allclose(before, last)


def test_the_head_is_two_layers_with_the_exact_gelu_between():
    head, states = small("dt").head, torch.randn(B, 24)
    inner = states @ head.hidden.weight.T + head.hidden.bias
    hidden = inner * 0.5 * (1 + torch.erf(inner / 2**0.5))
    expected = torch.tanh(hidden @ head.action.weight.T + head.action.bias)
    torch.testing.assert_close(head(states), expected, atol=1e-6, rtol=1e-5)


def test_entanglement_has_the_strength_of_the_configuration():
    """At strength zero the entanglement matrices do not matter; at another they do."""
    for strength, matters in ((0.0, False), (0.7, True)):
        model, inputs = small("qdt", entanglement_strength=strength), window()
        before = model(*inputs)
        with torch.no_grad():
            for block in model.layers:
                block.attention.output.entanglement_weight.mul_(2)
        assert torch.equal(model(*inputs), before) is not matters
        assert model.layers[0].attention.output.strength == strength


def test_dropout_has_the_rate_of_the_configuration():
    assert small("qdt", dropout=0.25).dropout.n_dropped == 2**6
    model = small("qdt", dropout=0.0).train()
    torch.testing.assert_close(model(*window()), model.eval()(*window()))


def test_actions_are_bounded():
    model = small("dt")
    with torch.no_grad():
        model.head.action.weight.mul_(1e4)
    assert model(*window()).abs().max() == 1.0


def test_initial_weights_follow_the_seed_and_leave_torchs_generator_alone():
    before = torch.random.get_rng_state()
    first, same, other = (DecisionTransformer(model_config("qdt", S, A), seed) for seed in (5, 5, 6))
    assert torch.equal(torch.random.get_rng_state(), before)
    weights = [torch.cat([p.flatten() for p in model.parameters()]) for model in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_seed_is_zero_unless_given():
    default, zero = (
        DecisionTransformer(model_config("dt", S, A)),
        DecisionTransformer(model_config("dt", S, A), 0),
    )
    torch.testing.assert_close(default.state_dict(), zero.state_dict(), rtol=0, atol=0)


def test_initial_weights_are_the_stated_ones():
    model = DecisionTransformer(model_config("qdt", 11, 3))
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            assert (parameter == 1).all(), name
        elif name.endswith(("bias", "logits")):
            assert (parameter == 0).all(), name
        else:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.3), name
            assert abs(parameter.mean().item()) < 0.02 * 5 / parameter.numel() ** 0.5, name


def test_inputs_are_scaled_inside_the_model():
    model, (returns_to_go, observations, actions, timesteps) = small("dt"), window()
    expected = model(returns_to_go, observations, actions, timesteps)
    model.scaling.return_scale.fill_(10.0)
    model.scaling.observation_mean.fill_(3.0)
    model.scaling.observation_std.fill_(2.0)
    model.scaling.action_low.fill_(-5.0)
    model.scaling.action_high.fill_(5.0)
    got = model(returns_to_go * 10, observations * 2 + 3, actions * 5, timesteps)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"Unknown variant 'qtd'; the variants are dt, q-attention, .*wide-dt"
    ):
        model_config("qtd", S, A)
    with pytest.raises(ConfigError, match=r"Unknown model setting n_head; the settings are .*n_heads"):
        model_config("qdt", S, A, n_head=2)
    for taken in ("observation_size", "action_size", "variant"):  # those have a place of their own
        with pytest.raises(ConfigError, match=f"Unknown model setting {taken}; the settings are context_len"):
            model_config("qdt", S, A, **{taken: 11})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_heads": 5}, "d_model must be divisible by n_heads=5, but 128 was given"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), but 1.0 was given"),
        ({"dropout": "none"}, r"dropout must be in \[0, 1\), but 'none' was given"),
        ({"d_model": None}, "d_model must be a whole number of at least 1, but None was given"),
        ({"n_layers": True}, "n_layers must be a whole number of at least 1, but True was given"),
        ({"n_layers": 0}, "n_layers must be a whole number of at least 1, but 0 was given"),
        ({"attention": "quantum"}, "attention must be 'standard' or 'entangled', but 'quantum' was given"),
        ({"entanglement_strength": float("nan")}, "entanglement_strength must be a finite number, but nan"),
        ({"entanglement_strength": "0.3"}, "entanglement_strength must be a finite number, but '0.3' was"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        model_config("qdt", S, A, **settings)
