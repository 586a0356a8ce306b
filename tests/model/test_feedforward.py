import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from qdt_rl.model.feedforward import Feedforward, InterferenceFeedforward, interfere, two_layers

D_MODEL, HIDDEN, CHANNELS, ROWS = 5, 7, 3, 11


def feedforward():
    torch.manual_seed(1)
    layer = InterferenceFeedforward(D_MODEL, HIDDEN, CHANNELS).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.7)
    return layer


def slow_interference(layer, x):
    """``Σ w_i C_i(x)`` with ``C_i(x) = W_i2 GELU(W_i1 x + b_i1) + b_i2``, a channel at a time."""
    weights = layer.interference_logits.exp() / layer.interference_logits.exp().sum()
    total = 0.0
    for i in range(CHANNELS):
        units = slice(i * HIDDEN, (i + 1) * HIDDEN)
        inner = x @ layer.up.weight[units].T + layer.up.bias[units]
        hidden = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        total = total + weights[i] * (hidden @ layer.down_weight[:, units].T + layer.down_bias[i])
    return total


def test_two_matrix_products_equal_the_channels_one_by_one_in_value_and_gradient():
    layer = feedforward()
    x = torch.randn(ROWS, D_MODEL, dtype=torch.float64)
    pull = torch.randn(ROWS, D_MODEL, dtype=torch.float64)
    (slow_interference(layer, x) * pull).sum().backward()
    expected = {name: parameter.grad.clone() for name, parameter in layer.named_parameters()}
    layer.zero_grad()
    torch.testing.assert_close(layer(x), slow_interference(layer, x))
    (layer(x) * pull).sum().backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], msg=name)
    assert expected["interference_logits"].abs().max() > 0.1


@pytest.mark.parametrize("autocast", [False, True])
def test_the_gradient_that_reuses_memory_equals_autograds_own(autocast):
    """In bfloat16 too, to the bit: it takes the same products and the same GELU."""
    torch.manual_seed(3)
    x = torch.randn(2, ROWS, D_MODEL)
    weights = [torch.randn(n) for n in ((HIDDEN, D_MODEL), HIDDEN, (D_MODEL, HIDDEN), D_MODEL)]
    pull, results = torch.randn(2, ROWS, D_MODEL), []
    for function in (two_layers, lambda x, a, b, c, d: F.linear(F.gelu(F.linear(x, a, b)), c, d)):
        inputs = [tensor.clone().requires_grad_() for tensor in (x, *weights)]
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            result = function(*inputs)
        (result.float() * pull).sum().backward()
        results.append((result, *(tensor.grad for tensor in inputs)))
    torch.testing.assert_close(*results, rtol=0 if autocast else 1e-5, atol=0 if autocast else 1e-5)


def test_interfere_by_hand():
    """Weights 1/4 and 3/4 (logits 0 and ln 3), two hidden units a channel, D = 1."""
    weight, bias = interfere(
        torch.tensor([[4.0, 8.0, 12.0, 16.0]]), torch.tensor([[4.0], [8.0]]), torch.tensor([0.0, math.log(3)])
    )
    torch.testing.assert_close(weight, torch.tensor([[1.0, 2.0, 9.0, 12.0]]))
    torch.testing.assert_close(bias, torch.tensor([7.0]))


def test_new_channels_interfere_equally():
    layer = InterferenceFeedforward(D_MODEL, HIDDEN, CHANNELS)
    weights = torch.softmax(layer.interference_logits, 0)
    torch.testing.assert_close(weights, torch.full((CHANNELS,), 1 / CHANNELS))


def test_fold_gives_a_plain_feedforward_of_all_hidden_units():
    layer = feedforward()
    folded = layer.fold()
    assert type(folded) is Feedforward
    assert folded.up.out_features == CHANNELS * HIDDEN
    x = torch.randn(ROWS, D_MODEL, dtype=torch.float64)
    torch.testing.assert_close(folded(x), slow_interference(layer, x))
    before = layer(x)
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.zero_()
    assert torch.equal(layer(x), before)  # the source has weights of its own
