"""Every shape in a signature of qdt_rl is checked while the tests run."""

from jaxtyping import install_import_hook

install_import_hook("qdt_rl", "beartype.beartype")
