"""Every layer of ours against finite differences in float64: its inputs' gradients and each parameter's."""

import pytest
import torch
from torch import nn

from qdt_rl.baselines.behavior_cloning import Mlp, MlpConfig
from qdt_rl.model.attention import CausalSelfAttention, EntangledLinear
from qdt_rl.model.dropout import Dropout
from qdt_rl.model.embedding import ActionHead, TokenEmbedding
from qdt_rl.model.feedforward import Feedforward, InterferenceFeedforward, two_layers
from qdt_rl.model.scaling import Scaling
from qdt_rl.model.transformer import Block, DecisionTransformer
from qdt_rl.model.variants import model_config

S, A, D, HIDDEN, K = 3, 2, 4, 5, 2
TIMESTEPS = torch.tensor([[0, 1]])


def tensor(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def block():
    attention = CausalSelfAttention(D, 2, EntangledLinear(D, 0.3))
    return Block(attention, InterferenceFeedforward(D, HIDDEN, 3), Dropout(0.0), D)


def window():
    return tensor(1, K), tensor(1, K, S), tensor(1, K, A)


def of_embedding():
    layer = TokenEmbedding(S, A, D, 7)
    return layer, lambda *given: layer(*given, TIMESTEPS), window()


def of_transformer(variant):
    sizes = {
        "d_model": D,
        "n_heads": 2,
        "n_layers": 2,
        "context_length": K,
        "max_timestep": 7,
        "dropout": 0.0,
    }
    layer = DecisionTransformer(model_config(variant, S, A, **sizes))
    return layer, lambda *given: layer(*given, TIMESTEPS), window()


def of(layer, *inputs):
    return layer, layer, inputs


CASES = {
    "attention": lambda: of(CausalSelfAttention(D, 2, nn.Linear(D, D)), tensor(1, 3, D)),
    "entangled attention": lambda: of(CausalSelfAttention(D, 2, EntangledLinear(D, 0.3)), tensor(1, 3, D)),
    "entangled projection": lambda: of(EntangledLinear(D, 0.3), tensor(2, D)),
    "feedforward": lambda: of(Feedforward(D, HIDDEN), tensor(2, D)),
    "interference": lambda: of(InterferenceFeedforward(D, HIDDEN, 3), tensor(2, D)),
    "block": lambda: of(block(), tensor(1, 3, D)),
    "embedding": of_embedding,
    "head": lambda: of(ActionHead(D, A), tensor(2, D)),
    "qdt": lambda: of_transformer("qdt"),
    "dt": lambda: of_transformer("dt"),
    "cloning": lambda: of_cloning(),
}


def of_cloning():
    layer = Mlp(MlpConfig(S, A, hidden_sizes=(HIDDEN,)))
    _, observations, _ = window()
    rest = torch.zeros(1, K, dtype=torch.float64), torch.zeros(1, K, A, dtype=torch.float64)
    return layer, lambda seen: layer(rest[0], seen, rest[1], TIMESTEPS), (observations,)


@pytest.mark.parametrize("name", CASES)
def test_a_layers_gradients_are_those_of_finite_differences(name):
    torch.manual_seed(5)
    layer, function, inputs = CASES[name]()
    layer.double().train()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    parameters = tuple(layer.parameters())
    assert parameters
    n_inputs = len(inputs)
    assert torch.autograd.gradcheck(lambda *given: function(*given[:n_inputs]), (*inputs, *parameters))


def test_the_function_that_reuses_memory_is_right_in_every_argument():
    given = tensor(2, 3, D), tensor(HIDDEN, D), tensor(HIDDEN), tensor(D, HIDDEN), tensor(D)
    assert torch.autograd.gradcheck(two_layers, given)


def test_a_mask_passes_on_the_gradient_that_it_multiplies():
    """Each evaluation draws a mask, so that the generator goes back before it."""
    dropout = Dropout(0.5).train()
    state = dropout.generator.get_state()

    def masked(x):
        dropout.generator.set_state(state)
        return dropout(x)

    x = tensor(3, 7)
    assert torch.autograd.gradcheck(masked, (x,))
    assert (masked(x) == 0).any()


def test_the_units_of_the_data_have_gradients():
    scaling = Scaling(S, A).double()
    scaling.observation_std.fill_(3.0)
    scaling.action_low.fill_(-2.0)
    scaling.return_scale.fill_(7.0)
    for function, size in (
        (scaling.observations, S),
        (scaling.actions, A),
        (scaling.unscale_actions, A),
        (scaling.returns_to_go, 5),
    ):
        assert torch.autograd.gradcheck(function, (tensor(2, size),))


def modules(base=nn.Module):
    for found in base.__subclasses__():
        if found.__module__.startswith("qdt_rl.model."):
            yield found
        yield from modules(found)


def test_no_layer_is_left_out():
    checked = {type(module) for make in CASES.values() for module in make()[0].modules()}
    checked |= {Dropout, Scaling}
    left_out = {found.__name__ for found in modules()} - {found.__name__ for found in checked}
    assert left_out == {"ActionModel"}  # abstract
