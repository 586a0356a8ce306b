"""Agent files: a zip of a JSON text and a safetensors file. Reading one never runs what is in it.

``agent.json`` holds settings and counters, ``tensors.safetensors`` every array. Member dates are fixed, so
that the same agent gives the same bytes.
"""

import io
import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from gymnasium import spaces
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from qdt_rl.config import is_number, is_scale
from qdt_rl.env_ids import is_safe_env_id
from qdt_rl.errors import CheckpointError, ConfigError, DivergenceError
from qdt_rl.files import write_whole

FORMAT = "qdt_rl agent"
FORMAT_VERSION = 2
"""Raised when an older reader would misread a file. Files of version 2 and later stay readable for ever, and
the tests keep one of each; version 1 named other tensors and was never released.
"""
_JSON, _TENSORS = "agent.json", "tensors.safetensors"
_MAX_JSON_BYTES = 2**24
_DAMAGE = (
    zipfile.BadZipFile,
    SafetensorError,
    RuntimeError,
    EOFError,
    OSError,
    LookupError,
    ValueError,
    OverflowError,
)
"""What reading a damaged file raises; dtypes that safetensors knows and torch does not are a LookupError."""
_RUN_NAME = re.compile(r"\w{1,100}")

Place = str | os.PathLike[str] | BinaryIO
"""Where an agent's file is or goes: a path, or a file object that is open for bytes, as in SB3."""


def agent_path(path: str | os.PathLike[str]) -> Path:
    """Return ``path`` with ``.zip`` if it has no suffix, as SB3 does.

    Raises:
        ConfigError: If it names no file.
    """
    path = Path(path)
    if not path.name:
        raise _no_place(path)
    return path if path.suffix else path.with_suffix(".zip")


def _no_place(place: object) -> ConfigError:
    return ConfigError(
        "An agent's file must be a path that ends in its name, or a file object open for bytes, but "
        f"{place!r} was given."
    )


def as_json(settings: dict[str, Any]) -> dict[str, Any]:
    """Return content as JSON will give it back: numbers of NumPy's as Python's, paths as text.

    Raises:
        ConfigError: If JSON cannot hold one.
    """
    try:
        copied: dict[str, Any] = json.loads(json.dumps(settings, default=_plain, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"What a file holds must be finite numbers, texts, lists and dicts of such: {error}."
        ) from error
    return copied


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def write_agent(place: Place, content: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write an agent's file; one that is named, whole or not at all.

    Args:
        place: Where; an existing file is replaced, a file object is written to and stays open.
        content: What JSON can say.
        tensors: Arrays by name.

    Raises:
        ConfigError: If ``place`` is none.
        DivergenceError: If a weight or moment is not finite; the file that is there stays.
    """
    target = agent_path(place) if isinstance(place, str | os.PathLike) else place
    for name in _not_finite(tensors):
        raise DivergenceError(
            f"{name} holds values that are not finite, so {target} is not written. Lower the learning rate."
        )
    header = as_json({"format": FORMAT, "format_version": FORMAT_VERSION, **content})
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(_JSON), json.dumps(header, indent=1, allow_nan=False))
        archive.writestr(zipfile.ZipInfo(_TENSORS), save(tensors))
    if isinstance(target, Path):
        write_whole(target, buffer.getvalue())
        return
    try:
        target.write(buffer.getvalue())
    except (AttributeError, TypeError, ValueError) as error:  # no file, or one open for text or for reading
        raise _no_place(target) from error


def read_agent(place: Place) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read an agent's file, or the rest of a file object.

    Returns:
        What its JSON says, and its tensors by name.

    Raises:
        CheckpointError: If there is no such file, or it is not a whole agent of this library.
        ConfigError: If ``place`` is none.
    """
    path, file = _read(place)
    foreign = f"{path} is not an agent of this library"
    try:
        with zipfile.ZipFile(io.BytesIO(file)) as archive:
            if sorted(archive.namelist()) != [_JSON, _TENSORS]:
                raise CheckpointError(
                    f"{foreign}: it holds {archive.namelist()}, not {_JSON} and {_TENSORS}."
                )
            content = json.loads(_member(archive, _JSON, _MAX_JSON_BYTES))
            tensors = load(_member(archive, _TENSORS, len(file)))
        for name in _not_finite(tensors):
            raise CheckpointError(f"{path} is damaged: {name} holds values that are not finite.")
    except _DAMAGE as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{foreign}, or it is damaged: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{foreign}: its {_JSON} does not say so.")
    if content.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {content.get('format_version')!r}; this version of the library reads "
            f"version {FORMAT_VERSION}. Load it with the library that saved it."
        )
    return content, tensors


def _read(place: Place) -> tuple[Any, bytes]:
    """Return what to call a place, and all its bytes: zipfile would trust a damaged directory's sizes."""
    if not isinstance(place, str | os.PathLike):
        try:
            return place, bytes(memoryview(place.read()))
        except (
            AttributeError,
            TypeError,
            ValueError,
        ) as error:  # no file, or one open for text or for writing
            raise _no_place(place) from error
    path = agent_path(place)
    if not path.is_file():
        raise CheckpointError(f"There is no agent at {path}.")
    try:
        return path, path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"The agent at {path} cannot be read: {error.strerror}.") from error


def _not_finite(tensors: dict[str, Tensor]) -> list[str]:
    """Return the names of the weights and moments that hold NaN or infinity."""
    return [
        name
        for name, tensor in tensors.items()
        if name.startswith(("model.", "optimizer.")) and not tensor.isfinite().all()
    ]


def _member(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    """Read a stored member; one that is compressed, and may so expand without bound, is refused."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > max_bytes:
        raise CheckpointError(
            f"{name} is compressed or larger than {max_bytes} bytes; agents of this library are not."
        )
    return archive.read(info)


def fill(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Give a model on the meta device the weights of a file; only what fits takes memory.

    Raises:
        CheckpointError: If a tensor is missing or unknown, or has another shape or dtype than the model's.
    """
    for name, tensor in model.state_dict().items():
        found = tensors.get(name)
        if found is None or found.shape != tensor.shape or found.dtype != tensor.dtype:
            came = "is missing" if found is None else f"is {tuple(found.shape)}, {found.dtype}"
            raise CheckpointError(
                f"The model's {name} must be {tuple(tensor.shape)}, {tensor.dtype}, but {came}."
            )
    try:
        model.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"The weights do not fit the model: {error}") from error


def read_scores(scores: Any) -> tuple[float, float] | None:
    """Return the reference scores in a file's JSON.

    Raises:
        CheckpointError: If they are none.
    """
    if scores is None:
        return None
    low, high = map(read_number, scores)
    if not is_scale(low, high):
        raise CheckpointError(f"Reference scores must ascend, but are {low} and {high}.")
    return low, high


def read_number(value: Any) -> float:
    """Return a finite number in a file's JSON.

    Raises:
        CheckpointError: If it is none.
    """
    if not is_number(value):
        raise CheckpointError(f"A finite number must stand where {value!r} stands.")
    return float(value)


def read_env_id(value: Any) -> str | None:
    """Return the environment's id in a file's JSON.

    Raises:
        CheckpointError: If it is none, or names a module: Gymnasium would import it.
    """
    if value is None or is_safe_env_id(value):
        return cast(str | None, value)
    raise CheckpointError(
        f"{value!r} is no environment's id of the kind that an agent's file may name: None, or one without a "
        "module (but qdt_envs)."
    )


def read_run_name(value: Any) -> str | None:
    """Return the name of a run's log in a file's JSON.

    Raises:
        CheckpointError: If it is none, such as a path, which would lead out of ``tensorboard_log``.
    """
    if value is None or (isinstance(value, str) and _RUN_NAME.fullmatch(value)):
        return value
    raise CheckpointError(f"{value!r} is no name of a run's log.")


def box_to_tensors(name: str, box: spaces.Box) -> dict[str, Tensor]:
    """Return a Box's bounds as tensors in its dtype, under ``name``."""
    return {
        f"{name}.low": torch.from_numpy(box.low.copy()),
        f"{name}.high": torch.from_numpy(box.high.copy()),
    }


def box_from_tensors(name: str, tensors: dict[str, Tensor]) -> spaces.Box:
    """Return the Box whose bounds ``box_to_tensors`` wrote under ``name``.

    Raises:
        CheckpointError: If the bounds are missing, or are none.
    """
    try:
        low, high = (tensors[f"{name}.{bound}"].numpy() for bound in ("low", "high"))
    except KeyError as error:
        raise CheckpointError(f"The agent's file lacks {error}.") from error
    if low.ndim != 1 or low.shape != high.shape or low.dtype != high.dtype or not np.all(low <= high):
        raise CheckpointError(f"The agent's {name} has bounds that are none: {low} to {high}.")
    return spaces.Box(low, high, dtype=low.dtype.type)


def below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
