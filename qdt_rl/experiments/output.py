"""Where results go: looked at before the work that they take, not after."""

import tempfile
from pathlib import Path

from qdt_rl.errors import ConfigError


def output_folder(folder: Path) -> Path:
    """Make a folder, unless it is there, and return it.

    Raises:
        ConfigError: If nothing can be written to it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise ConfigError(
            f"Nothing can be written to {folder}: {error.strerror}. Name another folder with --out."
        ) from error


def output_file(path: Path) -> Path:
    """Make a file's folder, unless it is there, and return the file's path.

    Raises:
        ConfigError: If nothing can be written there.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder. Name a file with --out.")
    return output_folder(path.parent) / path.name
