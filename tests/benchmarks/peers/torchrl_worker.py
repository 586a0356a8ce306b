"""The worker that measures TorchRL: its actor, loss, replay buffer and acting wrapper."""

import os
from typing import Any

import torch
import torchrl
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.data.replay_buffers.samplers import SliceSampler
from torchrl.modules import DecisionTransformerInferenceWrapper, DTActor, ProbabilisticActor, TanhDelta
from torchrl.objectives import DTLoss

from tests.benchmarks import settings
from tests.benchmarks.peers.windows import acting_job
from tests.benchmarks.protocol import Job, serve


def _network() -> DTActor:
    """Build TorchRL's network with our sizes and dropout; its activation stays ReLU, the cheaper."""
    config = DTActor.default_config()
    config.n_embd, config.n_inner = settings.D_MODEL, 4 * settings.D_MODEL
    config.n_layer, config.n_head = settings.N_LAYERS, settings.N_HEADS
    config.resid_pdrop, config.attn_pdrop = settings.DROPOUT, 0.0
    network = DTActor(settings.OBSERVATION_SIZE, settings.ACTION_SIZE, config)
    network.transformer.transformer.drop.p = 0.0  # its configuration has no word for the embeddings' dropout
    return network


def _actor(network: DTActor) -> ProbabilisticActor:
    module = TensorDictModule(network, in_keys=["observation", "action", "return_to_go"], out_keys=["param"])
    return ProbabilisticActor(
        module,
        in_keys=["param"],
        out_keys=["action"],
        distribution_class=TanhDelta,
        distribution_kwargs={"low": -1.0, "high": 1.0},
    )


def _replay_buffer() -> TensorDictReplayBuffer:
    """Return the episodes, of which a sample is the steps of BATCH_SIZE windows."""
    episodes = {name: torch.from_numpy(array) for name, array in settings.episodes().items()}
    n_steps = len(episodes["rewards"])
    rewards = episodes["rewards"].view(settings.N_EPISODES, settings.EPISODE_LENGTH)
    steps = TensorDict(
        {
            "observation": episodes["observations"],
            "action": episodes["actions"],
            "return_to_go": rewards.flip(1).cumsum(1).flip(1).reshape(n_steps, 1),
            "episode": torch.arange(settings.N_EPISODES).repeat_interleave(settings.EPISODE_LENGTH),
        },
        batch_size=[n_steps],
    )
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(n_steps),
        sampler=SliceSampler(slice_len=settings.CONTEXT_LENGTH, traj_key="episode", cache_values=True),
        batch_size=settings.BATCH_SIZE * settings.CONTEXT_LENGTH,
    )
    buffer.extend(steps)
    return buffer


def training() -> Job:
    """Updates, sampling included."""
    network, buffer = _network(), _replay_buffer()
    loss_module = DTLoss(_actor(network))
    optimiser = torch.optim.AdamW(
        loss_module.parameters(), settings.LEARNING_RATE, weight_decay=settings.WEIGHT_DECAY
    )

    def run(n: int) -> None:
        for _ in range(n):
            windows = buffer.sample().reshape(settings.BATCH_SIZE, settings.CONTEXT_LENGTH)
            loss_module(windows)["loss"].backward()
            torch.nn.utils.clip_grad_norm_(loss_module.parameters(), settings.MAX_GRAD_NORM)
            optimiser.step()
            optimiser.zero_grad()

    run(2)
    return Job(run, _facts(network))


def _facts(network: DTActor) -> dict[str, Any]:
    transformer = network.transformer.transformer
    block = transformer.h[0]
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "tokens per update": 3 * settings.BATCH_SIZE * settings.CONTEXT_LENGTH,
        "dropout on each block's two outputs": [block.attn.resid_dropout.p, block.mlp.dropout.p],
        "dropout on attention weights and embeddings": [block.attn.attn_dropout.p, transformer.drop.p],
        "activation": type(block.mlp.act).__name__,
        "precision": str(next(network.parameters()).dtype),
        "blocks, heads, width": [len(transformer.h), block.attn.num_heads, network.transformer.hidden_size],
    }


def acting(n_envs: int) -> Job:
    """Its inference wrapper on whole windows, of which it masks nothing."""
    network = _network().eval()
    wrapper = DecisionTransformerInferenceWrapper(_actor(network), inference_context=settings.CONTEXT_LENGTH)

    def choose(observations: Tensor, actions: Tensor, returns_to_go: Tensor, timesteps: Tensor) -> Tensor:
        windows = {"observation": observations, "action": actions, "return_to_go": returns_to_go}
        return wrapper(TensorDict(windows, batch_size=[n_envs]))["action"]

    return acting_job(n_envs, network, choose)


def main() -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    serve(
        {"torchrl": torchrl.__version__, "torch": torch.__version__},
        {"training": training, "acting": acting},
    )


if __name__ == "__main__":
    main()
