"""While the tests run, every shape in the signatures of the numerical core is checked.

Where users' own input arrives, our errors are what is tested, so those modules are left out.
"""

import torch
from jaxtyping import install_import_hook

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

install_import_hook(_NUMERICAL_CORE, "beartype.beartype")
