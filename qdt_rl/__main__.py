"""``python -m qdt_rl``: the command line."""

from qdt_rl.cli import main

if __name__ == "__main__":
    main()
