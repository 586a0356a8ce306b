"""While the tests run, every shape in the signatures of the numerical core is checked.

Where users' own input arrives, our errors are what is tested, so those modules are left out.
"""

import signal
from collections.abc import Iterator

import jaxtyping
import pytest
import torch

_NUMERICAL_CORE = [
    "qdt_rl.model",
    "qdt_rl.training",
    "qdt_rl.data.windows",
    "qdt_rl.data.sampler",
    "qdt_rl.policy.history",
    "qdt_rl.policy.acting",
]

torch.set_num_threads(
    1
)  # the tests' tensors are small; on a busy machine a second thread costs ten times the first

# Whoever started the tests in the background may have let Ctrl-C be ignored, and every process inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

jaxtyping.install_import_hook(_NUMERICAL_CORE, "beartype.beartype")


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """Check no shapes, as for users: wrong types reach our own messages, and no time is lost."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
