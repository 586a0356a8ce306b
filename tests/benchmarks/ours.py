"""The worker that measures qdt_rl."""

import os
import sys
from itertools import islice
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import qdt_rl
from qdt_rl import QDTPolicy, Trajectories
from qdt_rl.config import TrainConfig
from qdt_rl.data.sampler import WindowSampler
from qdt_rl.model.transformer import DecisionTransformer
from qdt_rl.model.variants import model_config
from qdt_rl.training import Trainer, resolve_precision, train
from tests.benchmarks import loading, settings
from tests.benchmarks.products import RecordProducts, replay
from tests.benchmarks.profile import shares
from tests.benchmarks.protocol import Job, serve


def _training_run(
    variant: str,
    precision: str,
    batch_size: int = settings.BATCH_SIZE,
    context_length: int = settings.CONTEXT_LENGTH,
    d_model: int = settings.D_MODEL,
) -> tuple[Trainer, WindowSampler]:
    offsets = np.arange(settings.N_EPISODES + 1) * settings.EPISODE_LENGTH
    data = Trajectories(**settings.episodes(), offsets=offsets)
    sizes = settings.OBSERVATION_SIZE, settings.ACTION_SIZE
    config = model_config(
        variant,
        *sizes,
        context_length=context_length,
        d_model=d_model,
        n_layers=settings.N_LAYERS,
        n_heads=settings.N_HEADS,
        dropout=settings.DROPOUT,
        max_timestep=settings.MAX_TIMESTEP,
    )
    model = DecisionTransformer(config)
    bound = np.ones(settings.ACTION_SIZE)
    model.scaling.fit(data.observations, data.returns_to_go, -bound, bound)
    training = TrainConfig(
        settings.LEARNING_RATE,
        batch_size,
        settings.WEIGHT_DECAY,
        settings.MAX_GRAD_NORM,
        precision=precision,
    )
    sampler = WindowSampler(data, context_length, batch_size, seed=0)
    return Trainer(model, training, device="cpu"), sampler


def training(variant: str, precision: str, **sizes: int) -> Job:
    """Updates, sampling included."""
    trainer, sampler = _training_run(variant, precision, **sizes)
    updates = train(trainer, sampler, sys.maxsize)  # as in the midst of one long fit

    def run(n: int) -> None:
        for _ in islice(updates, n):
            pass

    run(2)

    return Job(run, _training_facts(trainer, sampler))


def _training_facts(trainer: Trainer, sampler: WindowSampler) -> dict[str, Any]:
    model, windows = trainer.model, sampler.sample()
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tokens per update": 3 * windows.timesteps.size,
        "dropout on each block's two outputs": model.config.dropout,
        "dropout on attention weights and embeddings": 0.0,
        "activation": "GELU (erf)",
        "precision": resolve_precision(trainer.config.precision, "cpu"),
        "blocks, heads, width": [len(model.layers), model.config.n_heads, model.config.d_model],
    }


def floor(variant: str, precision: str) -> Job:
    """The matrix products of one update, alone."""
    trainer, sampler = _training_run(variant, precision)
    windows = sampler.sample()
    with RecordProducts() as record:
        trainer.update(windows)
    multiplications = sum(product.multiplications for product in record.products)
    facts = {"products": len(record.products), "GFLOP": 2 * multiplications / 1e9}
    return Job(replay(record.products), facts)


def profiled(variant: str, precision: str) -> Job:
    """Updates under the profiler: the facts tell what they spend their time on."""
    job = training(variant, precision)
    job.run(3)
    return Job(job.run, shares(job.run, 10))


def acting(n_envs: int, precision: str = "32", variant: str = "qdt") -> Job:
    """``QDTPolicy.predict`` on raw arrays, for environments that go through their episodes side by side."""
    dataset = loading.ensure_dataset("qdt/synthetic/medium-v0", n_episodes=2)
    policy = QDTPolicy(variant, precision=precision, device="cpu").fit(dataset, n_steps=1)
    observations = settings.acting_observations(n_envs)
    targets = np.full(n_envs, settings.TARGET_RETURN)
    progress: dict[str, Any] = {"step": 0, "state": None}

    def run(n: int) -> None:
        for _ in range(n):
            step = progress["step"] % settings.EPISODE_LENGTH
            state = None if step == 0 else progress["state"]
            _, progress["state"] = policy.predict(observations[step % len(observations)], targets, state)
            progress["step"] += 1

    run(3 * settings.CONTEXT_LENGTH)
    return Job(run, {"parameters": sum(parameter.numel() for parameter in policy.model.parameters())})


def acting_floor(n_envs: int, precision: str = "32") -> Job:
    """The matrix products of one step, alone; those that renew the context now and then are left out."""
    job = acting(n_envs, precision)
    steps = []
    for _ in range(2):  # no two in a row renew it
        with RecordProducts() as record:
            job.run(1)
        steps.append(record.products)
    products = min(steps, key=len)
    return Job(replay(products), {"products": len(products)})


def stepping(vectorization: str, n_envs: int) -> Job:
    """Steps of ``make_vec``, in our own vector environment or in Gymnasium's over scalar ones."""
    env: Any = gym.make_vec("QDTSynthetic-v0", n_envs, vectorization_mode=vectorization)
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, env.action_space.shape).astype(np.float32)

    def run(n: int) -> None:
        for _ in range(n):
            env.step(actions)

    run(2)
    return Job(run, {"class": type(env.unwrapped).__name__})


def scalar_stepping() -> Job:
    """Steps of the scalar environment itself, without Gymnasium's wrappers."""
    env = gym.make("QDTSynthetic-v0").unwrapped
    env.reset(seed=0)
    action = np.full(settings.ACTION_SIZE, 0.5, np.float32)

    def run(n: int) -> None:
        for _ in range(n):
            env.step(action)

    run(1000)
    return Job(run)


def main() -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    versions = {"qdt_rl": qdt_rl.__version__, "torch": torch.__version__, "gymnasium": gym.__version__}
    jobs = {
        "training": training,
        "floor": floor,
        "profile": profiled,
        "acting": acting,
        "acting floor": acting_floor,
        "stepping": stepping,
        "scalar stepping": scalar_stepping,
        "loading": loading.job,
    }
    serve({**versions, "numpy": np.__version__}, jobs)


if __name__ == "__main__":
    main()
