import math
from unittest.mock import Mock

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from qdt_rl.model.attention import CausalSelfAttention, EntangledLinear, entangle, scaled_dot_product

BATCH, TOKENS, HEADS, D_HEAD = 3, 7, 2, 5
D_MODEL = HEADS * D_HEAD


def attention(output=None, dtype=torch.float64):
    torch.manual_seed(0)
    output = output or nn.Linear(D_MODEL, D_MODEL)
    layer = CausalSelfAttention(D_MODEL, HEADS, output).to(dtype)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer


def slow_heads(layer, tokens):
    """One query, one head, one row at a time, as the equation has it."""
    query_weight, key_weight, value_weight = layer.query_key_value.weight.chunk(3)
    query_bias, key_bias, value_bias = layer.query_key_value.bias.chunk(3)
    heads = torch.zeros_like(tokens)
    for b in range(len(tokens)):
        for h in range(HEADS):
            part = slice(h * D_HEAD, (h + 1) * D_HEAD)
            for t in range(TOKENS):
                query = (query_weight @ tokens[b, t] + query_bias)[part]
                scores = [
                    query @ (key_weight @ tokens[b, s] + key_bias)[part] / math.sqrt(D_HEAD)
                    for s in range(t + 1)
                ]
                weights = torch.softmax(torch.stack(scores), 0)
                for s in range(t + 1):
                    heads[b, t, part] += weights[s] * (value_weight @ tokens[b, s] + value_bias)[part]
    return heads


def test_attention_equals_the_equation_token_by_token():
    layer = attention()
    tokens = torch.randn(BATCH, TOKENS, D_MODEL, dtype=torch.float64)
    expected = slow_heads(layer, tokens) @ layer.output.weight.T + layer.output.bias
    torch.testing.assert_close(layer(tokens), expected)


def test_attention_by_hand():
    """Identity projections, one head: token 1 weighs itself e : 1 against token 0."""
    layer = CausalSelfAttention(2, 1, nn.Linear(2, 2)).double()
    with torch.no_grad():
        for linear, copies in ((layer.query_key_value, 3), (layer.output, 1)):
            linear.weight.copy_(torch.eye(2).repeat(copies, 1))
            linear.bias.zero_()
    tokens = torch.tensor(
        [[[math.sqrt(math.sqrt(2)), 0.0], [0.0, math.sqrt(math.sqrt(2))]]], dtype=torch.float64
    )
    own = math.e / (1 + math.e)  # the score of a token with itself is sqrt(2) / sqrt(2) = 1, with the other 0
    expected = torch.stack([tokens[0, 0], tokens[0, 0] * (1 - own) + tokens[0, 1] * own])
    torch.testing.assert_close(layer(tokens)[0], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", ["causal", "one mask", "a mask for each row"])
def test_both_ways_of_attending_agree_in_value_and_gradient(dtype, masked, monkeypatch):
    """Short windows go through products of whole matrices, long ones through torch's fused kernel."""
    torch.manual_seed(2)
    parts = [torch.randn(BATCH, HEADS, TOKENS, D_HEAD, dtype=dtype, requires_grad=True) for _ in range(3)]
    hidden = torch.rand(BATCH * HEADS, TOKENS, TOKENS) < 0.3
    hidden[:, :, 0] = False
    mask = torch.zeros_like(hidden, dtype=dtype).masked_fill(hidden, -torch.inf)
    mask = {"causal": None, "one mask": mask[0], "a mask for each row": mask}[masked]
    pull = torch.randn(BATCH, HEADS, TOKENS, D_HEAD).to(dtype)
    results, fused = [], Mock(wraps=F.scaled_dot_product_attention)
    monkeypatch.setattr(F, "scaled_dot_product_attention", fused)
    for short in (TOKENS, TOKENS - 1):
        monkeypatch.setattr("qdt_rl.model.attention._SHORT", {dtype: short})
        result = scaled_dot_product(*parts, mask)
        results.append((result, *torch.autograd.grad((result * pull).sum(), parts)))
        assert fused.call_count == (short < TOKENS)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(*results, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("read_out", [slice(1, None, 3), slice(None, None, 2), slice(-1, None)])
def test_reading_out_some_tokens_equals_reading_all_and_choosing(read_out):
    layer = attention()
    full = torch.randn(BATCH, TOKENS, D_MODEL, dtype=torch.float64, requires_grad=True)
    short = full.detach().clone().requires_grad_()
    chosen, direct = layer(full)[:, read_out], layer(short, read_out)
    torch.testing.assert_close(direct, chosen)
    pull = torch.randn_like(chosen)
    (chosen * pull).sum().backward()
    expected = [full.grad, *(parameter.grad.clone() for parameter in layer.parameters())]
    layer.zero_grad()
    (direct * pull).sum().backward()
    for got, wanted in zip([short.grad, *(p.grad for p in layer.parameters())], expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_entangled_projection_equals_the_papers_two_steps_in_value_and_gradient():
    strength = 0.3
    layer = attention(EntangledLinear(D_MODEL, strength))
    output = layer.output
    tokens = torch.randn(BATCH, TOKENS, D_MODEL, dtype=torch.float64)
    pull = torch.randn(BATCH, TOKENS, D_MODEL, dtype=torch.float64)

    heads = slow_heads(layer, tokens)
    entangled = heads + strength * heads @ output.entanglement_weight.T  # Y' = Y + α W_E Y
    literal = entangled @ output.weight.T + output.bias
    (literal * pull).sum().backward()
    expected = {name: parameter.grad.clone() for name, parameter in layer.named_parameters()}
    layer.zero_grad()

    torch.testing.assert_close(layer(tokens), literal)
    (layer(tokens) * pull).sum().backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], msg=name)
    assert expected["output.entanglement_weight"].abs().max() > 0.1


def test_entangle_by_hand():
    projection, entanglement = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 1.0], [10.0, 0.0]])
    # W_O (I + 0.5 W_E) = [1, 2] [[1, 0.5], [5, 1]] = [11, 2.5]
    torch.testing.assert_close(entangle(projection, entanglement, 0.5), torch.tensor([[11.0, 2.5]]))


def test_folded_projection_is_a_plain_linear_layer_that_computes_the_same():
    layer = EntangledLinear(D_MODEL, 0.7)
    nn.init.normal_(layer.entanglement_weight)
    heads = torch.randn(BATCH, D_MODEL)
    folded = layer.fold()
    assert type(folded) is nn.Linear
    torch.testing.assert_close(folded(heads), layer(heads))
    assert folded.weight.data_ptr() != layer.weight.data_ptr()
    assert folded.bias.data_ptr() != layer.bias.data_ptr()


@pytest.mark.parametrize("read_out", [slice(None), slice(1, None, 3)])
def test_attention_in_bfloat16_equals_float32_to_its_rounding(read_out):
    """On a CPU bfloat16 goes another way; 2⁻⁸ is its rounding."""
    layer = attention(dtype=torch.float32)
    tokens = torch.randn(BATCH, TOKENS, D_MODEL)
    exact = layer(tokens, read_out)
    rounded = layer.bfloat16()(tokens.bfloat16(), read_out).float()
    assert (rounded - exact).norm() / exact.norm() < 2**-6
