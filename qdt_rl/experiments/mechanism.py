"""What goes on inside a model: how alike channels are, how they are weighed, what entanglement does."""

from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from qdt_rl.data.sampler import WindowSampler
from qdt_rl.data.trajectories import Trajectories
from qdt_rl.model.attention import EntangledLinear, entangle
from qdt_rl.model.feedforward import Feedforward, InterferenceFeedforward
from qdt_rl.model.transformer import STATES, DecisionTransformer

N_SINGULAR_VALUES = 16
_N_WINDOWS = 32


@torch.no_grad()
def measure_mechanism(model: DecisionTransformer, trajectories: Trajectories) -> dict[str, Any]:
    """Measure a model on a few windows, always the same of a dataset.

    Returns:
        JSON types, a list entry for each block: ``interference_weights``, softmax(θ), empty without
        interference; ``channel_similarity``, the mean linear CKA of the outputs of two channels, and
        ``channel_cosine``, their mean ``cosine``, both empty for a model of one channel's width;
        ``singular_values`` of W_O (I + α W_E), every eighth from the largest to the smallest for D = 128, and
        ``entanglement_norm``, the spectral norm of α W_E (None without entanglement).
    """
    inputs = _feedforward_inputs(model, trajectories)
    measured: dict[str, list[Any]] = {
        name: []
        for name in (
            "interference_weights",
            "channel_similarity",
            "channel_cosine",
            "singular_values",
            "entanglement_norm",
        )
    }
    for block, x in zip(model.layers, inputs, strict=True):
        if isinstance(block.feedforward, InterferenceFeedforward):
            weights = torch.softmax(block.feedforward.interference_logits, 0)
            measured["interference_weights"].append(weights.tolist())
        if pairs := list(combinations(channel_outputs(block.feedforward, x).double(), 2)):
            measured["channel_similarity"].append(float(np.mean([linear_cka(a, b) for a, b in pairs])))
            measured["channel_cosine"].append(float(np.mean([cosine(a, b) for a, b in pairs])))
        output, norm = block.attention.output, None
        weight: Tensor = output.weight
        if isinstance(output, EntangledLinear):
            weight = entangle(weight, output.entanglement_weight, output.strength)
            norm = abs(output.strength) * float(torch.linalg.matrix_norm(output.entanglement_weight, 2))
        values = torch.linalg.svdvals(weight.double())
        shown = np.linspace(0, len(values) - 1, min(N_SINGULAR_VALUES, len(values))).round().astype(int)
        measured["singular_values"].append([round(value, 5) for value in values[shown].tolist()])
        measured["entanglement_norm"].append(norm)
    return measured


def channel_outputs(
    feedforward: Feedforward | InterferenceFeedforward, x: Float[Tensor, "tokens d_model"]
) -> Float[Tensor, "channels tokens d_model"]:
    """Return what each channel makes of the tokens, before they interfere.

    A plain feedforward whose width is a multiple of a channel's, 4 D, is cut into parts of that; the bias
    that they share is left out.
    """
    weight: Tensor
    biases: Tensor
    if isinstance(feedforward, InterferenceFeedforward):
        weight, biases = feedforward.down_weight, feedforward.down_bias
    else:
        n_parts, rest = divmod(feedforward.up.out_features, 4 * x.shape[1])
        weight, biases = feedforward.down.weight, x.new_zeros(1 if rest else n_parts, x.shape[1])
    n_channels = len(biases)
    hidden = F.gelu(feedforward.up(x)).chunk(n_channels, dim=-1)
    parts = zip(hidden, weight.chunk(n_channels, dim=-1), biases, strict=True)
    return torch.stack([F.linear(h, weight, bias) for h, weight, bias in parts])


def linear_cka(first: Float[Tensor, "samples m"], second: Float[Tensor, "samples n"]) -> float:
    """Return the linear centred kernel alignment of two representations (Kornblith et al., 2019).

    1: the same up to rotation, shift and scale; 0: nothing in common.
    """
    first, second = first - first.mean(0), second - second.mean(0)
    between = (first.T @ second).square().sum()
    within = torch.linalg.matrix_norm(first.T @ first) * torch.linalg.matrix_norm(second.T @ second)
    return float(between / within)


def cosine(first: Float[Tensor, "samples m"], second: Float[Tensor, "samples m"]) -> float:
    """Return the cosine of two representations, centred: 1 where they add up, −1 where they cancel.

    Unlike ``linear_cka`` it tells one from the other, and is near 0 for channels that have nothing to do with
    each other but their input.
    """
    first, second = first - first.mean(0), second - second.mean(0)
    return float((first * second).sum() / (first.norm() * second.norm()))


def _feedforward_inputs(
    model: DecisionTransformer, trajectories: Trajectories
) -> list[Float[Tensor, "tokens d_model"]]:
    """Return the tokens that reach each block's feedforward: the real states'."""
    config = model.config
    windows = WindowSampler(trajectories, config.context_length, _N_WINDOWS, seed=0).sample()
    columns = (windows.returns_to_go, windows.observations, windows.actions, windows.timesteps)
    device = model.norm.weight.device
    real = torch.from_numpy(np.arange(config.context_length) < windows.lengths[:, None]).to(device)
    seen: list[Tensor] = []
    hooks = [
        block.feedforward.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        for block in model.layers
    ]
    was_training = model.training
    try:
        model.eval()(*(torch.from_numpy(column).to(device) for column in columns))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    n_tokens = 3 * config.context_length
    return [x[:, STATES][real] if x.shape[1] == n_tokens else x[real] for x in seen]
