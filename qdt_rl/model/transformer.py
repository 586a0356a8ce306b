"""The Decision Transformer, whose blocks hold whichever attention and feedforward a variant names.

Shapes: B batch, K context length in timesteps, T = 3K tokens, D width of a token, S observation, A action.
"""

import copy
from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from qdt_rl.config import ModelConfig
from qdt_rl.model.attention import EVERY, CausalSelfAttention, EntangledLinear
from qdt_rl.model.base import ActionModel
from qdt_rl.model.dropout import Dropout
from qdt_rl.model.embedding import ActionHead, TokenEmbedding
from qdt_rl.model.feedforward import Feedforward, InterferenceFeedforward
from qdt_rl.model.scaling import Scaling

STATES = slice(1, None, 3)
"""The state tokens among ``(R_1, s_1, a_1, …)``: the only ones that are read out."""


class Block(nn.Module):
    """A pre-norm transformer block: ``x += dropout(attention(LN(x)))``, ``x += dropout(feedforward(LN(x)))``.

    Args:
        attention: Attends over tokens.
        feedforward: Transforms each token.
        dropout: The model's dropout.
        d_model: D.
    """

    def __init__(
        self,
        attention: CausalSelfAttention,
        feedforward: Feedforward | InterferenceFeedforward,
        dropout: Dropout,
        d_model: int,
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(d_model)
        self.attention = attention
        self.feedforward_norm = nn.LayerNorm(d_model)
        self.feedforward = feedforward
        self.dropout = dropout

    def forward(
        self, tokens: Float[Tensor, "batch tokens d_model"], read_out: slice = EVERY
    ) -> Float[Tensor, "batch queries d_model"]:
        """Return the tokens of ``read_out`` after attention over all tokens and the feedforward."""
        return self.complete(tokens[:, read_out], self.attention(self.attention_norm(tokens), read_out))

    def complete(
        self, tokens: Float[Tensor, "batch tokens d_model"], attended: Float[Tensor, "batch tokens d_model"]
    ) -> Float[Tensor, "batch tokens d_model"]:
        """Add to ``tokens`` what they attended to, and then the feedforward."""
        x = tokens + self.dropout(attended)
        return x + self.dropout(self.feedforward(self.feedforward_norm(x)))

    def fold_parts(self) -> None:
        """Replace entanglement and interference by the plain layers that compute the same."""
        if isinstance(self.attention.output, EntangledLinear):
            self.attention.output = self.attention.output.fold()
        if isinstance(self.feedforward, InterferenceFeedforward):
            self.feedforward = self.feedforward.fold()


class DecisionTransformer(ActionModel):
    """Predicts actions from windows of returns-to-go, observations and actions (Chen et al., 2021).

    Inputs are in the units of the data; ``scaling`` maps them to the model's. Windows are padded on the
    right, where the causal mask alone keeps padding out of every real token. The last block computes its
    queries and feedforward for state tokens only, since nothing else is read out.

    Args:
        config: Sizes and parts.
        seed: Of the initial weights: N(0, 0.02²) for every matrix, zero for biases and interference
            logits, one for norms. None: the model is on the meta device, where it has shapes but takes no
            memory.
    """

    def __init__(self, config: ModelConfig, seed: int | None = 0) -> None:
        super().__init__()
        self.config = config
        with torch.device("cpu" if seed is not None else "meta"):
            self.scaling = Scaling(config.observation_size, config.action_size)
        with torch.device("meta"):  # elsewhere torch's layers would draw weights from the global generator
            self.embedding = TokenEmbedding(
                config.observation_size, config.action_size, config.d_model, config.max_timestep
            )
            self.dropout = Dropout(config.dropout)
            self.blocks = nn.ModuleList(_build_block(config, self.dropout) for _ in range(config.n_layers))
            self.norm = nn.LayerNorm(config.d_model)
            self.head = ActionHead(config.d_model, config.action_size)
        self.float()  # whatever torch.set_default_dtype says
        if seed is not None:
            self._initialise(torch.Generator().manual_seed(seed))

    def forward(
        self,
        returns_to_go: Float[Tensor, "batch context"],
        observations: Float[Tensor, "batch context observation"],
        actions: Float[Tensor, "batch context action"],
        timesteps: Int[Tensor, "batch context"],
    ) -> Float[Tensor, "batch context action"]:
        """Predict the action of each timestep; shapes and units as in ``ActionModel.forward``."""
        tokens = self.embed(returns_to_go, observations, actions, timesteps)
        *inner, last = self.layers
        for block in inner:
            tokens = block(tokens)
        return self.head(self.norm(last(tokens, STATES)))

    def embed(
        self,
        returns_to_go: Float[Tensor, "batch context"],
        observations: Float[Tensor, "batch context observation"],
        actions: Float[Tensor, "batch context action"],
        timesteps: Int[Tensor, "batch context"],
    ) -> Float[Tensor, "batch tokens d_model"]:
        """Return the (B, 3K, D) tokens of windows in the units of the data."""
        return self.embedding(
            self.scaling.returns_to_go(returns_to_go),
            self.scaling.observations(observations),
            self.scaling.actions(actions),
            timesteps,
        )

    @property
    def layers(self) -> list[Block]:
        """The blocks, from the first to the last."""
        return cast(list[Block], list(self.blocks))

    def fold(self) -> "DecisionTransformer":
        """Return the plain transformer that computes the same function, with nothing quantum-inspired left.

        Entanglement disappears into the output projections and interference into the second feedforward
        matrices: a ``qdt`` becomes a ``wide-dt``.

        Returns:
            A model of its own: same device, same mode, and the dropout generator in the same state.
        """
        folded = copy.deepcopy(self)
        for block in folded.layers:
            block.fold_parts()
        hidden_size = self.config.n_channels * self.config.hidden_size
        folded.config = replace(self.config, attention="standard", n_channels=1, hidden_size=hidden_size)
        return folded

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        for module in (self.embedding, self.blocks, self.norm, self.head):
            module.to_empty(device="cpu")
        for name, parameter in self.named_parameters():
            if is_matrix(name, parameter):
                parameter.normal_(std=0.02, generator=generator)
            else:
                parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)


def is_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a matrix: drawn at random, and subject to weight decay."""
    return parameter.ndim >= 2 and not name.endswith("bias")


def _build_block(config: ModelConfig, dropout: Dropout) -> Block:
    output = (
        EntangledLinear(config.d_model, config.entanglement_strength)
        if config.attention == "entangled"
        else nn.Linear(config.d_model, config.d_model)
    )
    feedforward = (
        InterferenceFeedforward(config.d_model, config.hidden_size, config.n_channels)
        if config.n_channels > 1
        else Feedforward(config.d_model, config.hidden_size)
    )
    return Block(
        CausalSelfAttention(config.d_model, config.n_heads, output), feedforward, dropout, config.d_model
    )
