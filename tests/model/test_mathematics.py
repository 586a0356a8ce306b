"""What docs/mathematics.md claims, in float64."""

import pytest
import torch

from qdt_rl.model.attention import entangle
from qdt_rl.model.feedforward import InterferenceFeedforward
from qdt_rl.model.transformer import DecisionTransformer
from qdt_rl.model.variants import model_config

S, A, K, D, N = 5, 2, 4, 12, 3
STRENGTH = 0.3
STEP = 1e-7  # small enough that the second order is nothing


def window():
    timesteps = torch.arange(K).expand(2, K)
    return torch.randn(2, K).double(), torch.randn(2, K, S).double(), torch.rand(2, K, A).double(), timesteps


def model(variant, seed):
    built = DecisionTransformer(model_config(variant, S, A, context_length=K, d_model=D, n_heads=3), seed)
    return built.double().eval()


def test_every_wide_dt_is_the_folding_of_a_qdt():
    torch.manual_seed(0)
    wide, qdt = model("wide-dt", 1), model("qdt", 2)
    with torch.no_grad():
        for parameter in wide.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        named = dict(wide.named_parameters())
        for name, parameter in qdt.named_parameters():
            if name.endswith(("entanglement_weight", "interference_logits")):
                parameter.zero_()
            elif name.endswith("down_weight"):
                parameter.copy_(N * named[name.replace("down_weight", "down.weight")])
            elif name.endswith("down_bias"):
                parameter.copy_(named[name.replace("down_bias", "down.bias")].expand_as(parameter))
            else:
                parameter.copy_(named[name])
        inputs = window()
        torch.testing.assert_close(qdt(*inputs), wide(*inputs), rtol=1e-12, atol=1e-12)
    for (name, folded), plain in zip(qdt.fold().named_parameters(), wide.parameters(), strict=True):
        torch.testing.assert_close(folded, plain, msg=name)


def test_a_step_on_both_matrices_of_entanglement_is_a_preconditioned_one_on_their_product():
    torch.manual_seed(0)
    projection, entanglement = (torch.randn(D, D).double().requires_grad_() for _ in range(2))
    inputs, pull = torch.randn(7, D).double(), torch.randn(7, D).double()

    def loss(product):
        return ((inputs @ product.T).tanh() * pull).sum()

    product = entangle(projection, entanglement, STRENGTH)
    by_product, by_projection, by_entanglement = torch.autograd.grad(
        loss(product), (product, projection, entanglement)
    )
    inner = torch.eye(D).double() + STRENGTH * entanglement
    torch.testing.assert_close(by_projection, by_product @ inner.T)
    torch.testing.assert_close(by_entanglement, STRENGTH * projection.T @ by_product)
    step = 1e-7
    moved = entangle(projection - step * by_projection, entanglement - step * by_entanglement, STRENGTH)
    expected = by_product @ inner.T @ inner + STRENGTH**2 * projection @ projection.T @ by_product
    torch.testing.assert_close((product - moved) / step, expected, rtol=1e-5, atol=1e-4)


@pytest.fixture
def feedforward():
    torch.manual_seed(0)
    layer = InterferenceFeedforward(D, 2 * D, N).to_empty(device="cpu").double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    return layer


def test_the_gradients_of_interference_by_those_of_its_folding(feedforward):
    x, pull = torch.randn(7, D).double(), torch.randn(7, D).double()

    def loss(layer):
        return (layer(x).tanh() * pull).sum()

    folded = feedforward.fold()
    for parameter in folded.parameters():
        parameter.requires_grad_()
    loss(feedforward).backward()
    loss(folded).backward()
    weights = feedforward.interference_logits.softmax(0).detach()
    by_channel = folded.down.weight.grad.chunk(N, dim=1)
    channels = feedforward.down_weight.detach().chunk(N, dim=1)
    gains = torch.stack(
        [
            (gradient * weight).sum() + (folded.down.bias.grad * bias).sum()
            for gradient, weight, bias in zip(
                by_channel, channels, feedforward.down_bias.detach(), strict=True
            )
        ]
    )
    for weight, expected, found in zip(
        weights, by_channel, feedforward.down_weight.grad.chunk(N, dim=1), strict=True
    ):
        torch.testing.assert_close(found, weight * expected)
    torch.testing.assert_close(
        feedforward.interference_logits.grad, weights * (gains - (weights * gains).sum())
    )


def test_the_folded_second_matrix_starts_a_third_as_wide():
    wide, folded = model("wide-dt", 0), model("qdt", 0).fold()
    for plain, part in zip(wide.layers, folded.layers, strict=True):
        assert plain.feedforward.down.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert part.feedforward.down.weight.std().item() == pytest.approx(0.02 / N, rel=0.1)


def step_of(layer, slopes, rule):
    """How far the folded parameters move when ``rule`` moves the layer's own; slopes by name."""
    before = layer.fold().state_dict()
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.add_(rule(slopes[name]))
    return {name: (value - before[name]) / STEP for name, value in layer.fold().state_dict().items()}


def slopes_of(layer):
    """The gradients of a loss, by the names of the layer's parameters."""
    torch.manual_seed(1)
    x, pull = torch.randn(7, D).double(), torch.randn(7, D).double()
    names, parameters = zip(*layer.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad((layer(x).tanh() * pull).sum(), parameters), strict=True))


def descend(slope):
    return -STEP * slope


def first_step_of_adam(slope):
    parameter = torch.nn.Parameter(torch.zeros_like(slope))
    parameter.grad = slope
    torch.optim.AdamW([parameter], lr=STEP, weight_decay=0.0, eps=0.0).step()
    return parameter.detach()


def test_a_step_of_gradient_descent_on_all_of_interference(feedforward):
    """ΔM_i = −η [w_i² G_i + Δ_i W_i2], Δb = −η [Σ w_i² ∂b + Σ Δ_i b_i2], Δ = JJ g with J = diag(w) − w wᵀ."""
    folded, own = slopes_of(feedforward.fold()), slopes_of(feedforward)
    of_matrix, of_bias = folded["down.weight"], folded["down.bias"]
    weights = feedforward.interference_logits.detach().softmax(0)
    channels, biases = feedforward.down_weight.detach().clone(), feedforward.down_bias.detach().clone()
    parts = zip(of_matrix.chunk(N, 1), channels.chunk(N, 1), biases, strict=True)
    gains = torch.stack([(slope * channel).sum() + bias @ of_bias for slope, channel, bias in parts])
    jacobian = weights.diag() - torch.outer(weights, weights)
    drift = jacobian @ jacobian @ gains
    scale, turn = (v.repeat_interleave(2 * D) for v in (weights**2, drift))
    moved = step_of(feedforward, own, descend)
    expected = -(scale * of_matrix + turn * channels)
    torch.testing.assert_close(moved["down.weight"], expected, rtol=1e-4, atol=1e-4)
    expected = -((weights**2).sum() * of_bias + drift @ biases)
    torch.testing.assert_close(moved["down.bias"], expected, rtol=1e-4, atol=1e-4)
    assert (moved["down.weight"] * of_matrix).sum() + moved["down.bias"] @ of_bias < 0, "downhill"


@pytest.mark.parametrize(("rule", "power"), [(descend, 2), (first_step_of_adam, 1)])
def test_with_equal_weights_the_second_matrix_moves_n_squared_times_less_and_with_adam_n_times(
    feedforward, rule, power
):
    torch.nn.init.zeros_(feedforward.interference_logits)
    plain = {name: rule(slope) / STEP for name, slope in slopes_of(feedforward.fold()).items()}
    slopes = slopes_of(feedforward)
    slopes["interference_logits"] = torch.full((N,), 1.0).double()  # all alike, so that w stays
    moved = step_of(feedforward, slopes, rule)
    torch.testing.assert_close(moved["down.weight"], plain["down.weight"] / N**power, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        moved["down.bias"], plain["down.bias"] / N ** (power - 1), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(moved["up.weight"], plain["up.weight"], rtol=1e-5, atol=1e-5)
