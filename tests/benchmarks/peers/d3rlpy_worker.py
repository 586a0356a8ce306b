"""The worker that measures d3rlpy's Decision Transformer, through the paths that its documentation shows."""

import logging
import os
from typing import Any

import d3rlpy
import gymnasium as gym
import numpy as np
import structlog
import torch
from d3rlpy.algos import DecisionTransformer, DecisionTransformerConfig
from d3rlpy.models import VectorEncoderFactory
from d3rlpy.optimizers import AdamWFactory

from tests.benchmarks import settings
from tests.benchmarks.protocol import Job, serve


def _algorithm(
    batch_size: int = settings.BATCH_SIZE,
    context_length: int = settings.CONTEXT_LENGTH,
    d_model: int = settings.D_MODEL,
) -> DecisionTransformer:
    """Build d3rlpy's agent with our sizes and dropout; its activation stays its own (ReLU, the cheaper)."""
    algorithm = DecisionTransformerConfig(
        batch_size=batch_size,
        learning_rate=settings.LEARNING_RATE,
        context_size=context_length,
        max_timestep=settings.MAX_TIMESTEP,
        encoder_factory=VectorEncoderFactory([d_model], exclude_last_activation=True),
        optim_factory=AdamWFactory(weight_decay=settings.WEIGHT_DECAY, clip_grad_norm=settings.MAX_GRAD_NORM),
        num_heads=settings.N_HEADS,
        num_layers=settings.N_LAYERS,
        attn_dropout=0.0,
        resid_dropout=settings.DROPOUT,
        embed_dropout=0.0,
    ).create(device=False)
    algorithm.create_impl((settings.OBSERVATION_SIZE,), settings.ACTION_SIZE)
    return algorithm


def training(**sizes: int) -> Job:
    """Updates, sampling included: what ``fit`` does at each step, without its log."""
    algorithm = _algorithm(**sizes)
    ends = np.zeros(settings.N_EPISODES * settings.EPISODE_LENGTH, np.float32)
    ends[settings.EPISODE_LENGTH - 1 :: settings.EPISODE_LENGTH] = 1.0
    dataset = d3rlpy.dataset.MDPDataset(**settings.episodes(), terminals=np.zeros_like(ends), timeouts=ends)

    def run(n: int) -> None:
        for _ in range(n):
            batch = dataset.sample_trajectory_batch(algorithm.batch_size, algorithm.config.context_size)
            algorithm.update(batch)

    run(2)
    return Job(run, _training_facts(algorithm))


def _training_facts(algorithm: DecisionTransformer) -> dict[str, Any]:
    transformer = algorithm.impl.modules.transformer
    block = transformer._gpt2._transformer[0]
    return {
        "parameters": sum(parameter.numel() for parameter in transformer.parameters()),
        "tokens per update": 3 * algorithm.batch_size * algorithm.config.context_size,
        "dropout on each block's two outputs": [block._attention._proj_dropout.p, block._mlp._dropout.p],
        "dropout on attention weights and embeddings": [
            block._attention._attn_dropout.p,
            transformer._gpt2._dropout.p,
        ],
        "activation": type(block._mlp._activation).__name__,
        "precision": str(next(transformer.parameters()).dtype),
        "blocks, heads, width": [
            len(transformer._gpt2._transformer),
            block._attention._num_heads,
            block._mlp._l2.out_features,
        ],
    }


def acting(n_envs: int) -> Job:
    """Its stateful wrapper, one per environment: it has no batched one."""
    algorithm = _algorithm()
    wrappers = [algorithm.as_stateful_wrapper(settings.TARGET_RETURN) for _ in range(n_envs)]
    observations = settings.acting_observations(n_envs)
    progress = {"step": 0}

    def run(n: int) -> None:
        for _ in range(n):
            step = progress["step"] % settings.EPISODE_LENGTH
            for row, wrapper in enumerate(wrappers):
                if step == 0:
                    wrapper.reset()
                wrapper.predict(observations[step % len(observations), row], 0.0)
            progress["step"] += 1

    run(settings.CONTEXT_LENGTH + 1)
    return Job(run, {"parameters": _training_facts(algorithm)["parameters"]})


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    versions = {"d3rlpy": d3rlpy.__version__, "torch": torch.__version__, "gymnasium": gym.__version__}
    serve(versions, {"training": training, "acting": acting})


if __name__ == "__main__":
    main()
