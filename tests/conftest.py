"""While the tests run, every shape in the signatures of the numerical core is checked.

Where users' own input arrives, our errors are what is tested, so those modules are left out.
"""

from jaxtyping import install_import_hook

_NUMERICAL_CORE = [
    "qdt_rl.model",
    "qdt_rl.training",
    "qdt_rl.data.windows",
    "qdt_rl.data.sampler",
    "qdt_rl.policy.history",
    "qdt_rl.policy.acting",
]

install_import_hook(_NUMERICAL_CORE, "beartype.beartype")
