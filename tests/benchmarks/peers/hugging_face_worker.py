"""The worker that acts with Hugging Face's ``DecisionTransformerModel``, batched."""

import os

import torch
import transformers
from torch import Tensor
from transformers import DecisionTransformerConfig, DecisionTransformerModel

from tests.benchmarks import settings
from tests.benchmarks.peers.windows import acting_job
from tests.benchmarks.protocol import Job, serve


def acting(n_envs: int) -> Job:
    """The model's own forward on whole windows."""
    config = DecisionTransformerConfig(
        state_dim=settings.OBSERVATION_SIZE,
        act_dim=settings.ACTION_SIZE,
        hidden_size=settings.D_MODEL,
        max_ep_len=settings.MAX_TIMESTEP,
        n_layer=settings.N_LAYERS,
        n_head=settings.N_HEADS,
    )
    model = DecisionTransformerModel(config).eval()

    def choose(observations: Tensor, actions: Tensor, returns_to_go: Tensor, timesteps: Tensor) -> Tensor:
        output = model(
            states=observations,
            actions=actions,
            rewards=None,
            returns_to_go=returns_to_go,
            timesteps=timesteps,
        )
        return output.action_preds[:, -1]

    return acting_job(n_envs, model, choose)


def main() -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    serve({"transformers": transformers.__version__, "torch": torch.__version__}, {"acting": acting})


if __name__ == "__main__":
    main()
