"""Build the virtual environment of the peers: ``python tests/benchmarks/peers/make_peers_env.py PATH``.

d3rlpy pins gymnasium 1.0.0, so that it cannot share an environment with qdt_rl.
"""

import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = ("torch==2.13.0", "d3rlpy==2.8.1", "transformers==5.23.0", "torchrl==0.14.1")
"""torch is the one that qdt_rl is measured with."""


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    path = Path(sys.argv[1])
    venv.create(path, with_pip=True)
    pip = [str(path / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *REQUIREMENTS], check=True)
    print(f"The peers are in {path}: python -m tests.benchmarks --peers {path}")


if __name__ == "__main__":
    main()
