"""Policies on disk, in pickles and as copies."""

import copy
from abc import abstractmethod
from typing import Any, Self

import torch
from torch import Tensor

from qdt_rl.errors import CheckpointError, NotFittedError
from qdt_rl.policy.agent_file import Place, read_agent, write_agent
from qdt_rl.policy.settings import Configured
from qdt_rl.training import require_device


class Persistent(Configured):
    """Saving, loading, pickling and copying, for a policy that can say what it is in JSON and tensors."""

    _identity: str

    @property
    @abstractmethod
    def is_fitted(self) -> bool:
        """Whether there is a model yet."""

    def _require_fit(self, verb: str) -> None:
        """Raise NotFittedError before ``fit``."""
        if not self.is_fitted:
            raise NotFittedError(f"This {type(self).__name__} cannot {verb} yet: call fit(dataset) first.")

    @abstractmethod
    def _dump(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return all that makes this policy, as JSON content and tensors."""

    @abstractmethod
    def _restore(self, content: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Become the policy that ``_dump`` described."""

    def save(self, path: Place) -> None:
        """Write the policy and its training run to a file, whole or not at all.

        Args:
            path: Where; ``.zip`` is added if it has no suffix, as in SB3. An existing file is replaced. A
                file object that is open for bytes is written to instead.

        Raises:
            NotFittedError: Before ``fit``.
            ConfigError: If ``path`` is neither, or a part of the model was replaced by another.
            DivergenceError: If a weight is not finite; an existing file stays as it was.
            CheckpointError: If ``env_id`` or ``reference_scores`` were set to what no file may hold.
        """
        self._require_fit("be saved")
        write_agent(path, *self._dump())

    @classmethod
    @torch.inference_mode(mode=False)  # tensors of inference mode cannot train, and count no changes
    def load(cls, path: Place, device: str | torch.device = "auto") -> Self:
        """Read a policy that ``save`` wrote. Nothing in the file is executed.

        Args:
            path: Where; ``.zip`` may be left out. Or a file object that is open for bytes.
            device: Where to train and act.

        Raises:
            CheckpointError: If the file is missing, damaged, or not one of this class.
            ConfigError: If this machine does not have the device, or ``path`` is neither.
        """
        device = require_device(device)
        content, tensors = read_agent(path)
        if content.get("class") != cls.__name__:
            raise CheckpointError(
                f"{path} holds a {content.get('class')}, not a {cls.__name__}; load it with that class."
            )
        try:
            policy = cls(**{**content["settings"], "device": device})
            policy._restore(content, tensors)
        except (LookupError, TypeError, ValueError, RuntimeError, ArithmeticError) as error:
            raise CheckpointError(f"{path} does not describe a {cls.__name__}: {error}") from error
        return policy

    def __getstate__(self) -> dict[str, Any]:
        """Pickle and copy what ``save`` keeps, and the identity; loggers stay behind."""
        saved = self._dump() if self.is_fitted else None
        return {
            "settings": self._settings,
            "device": self._device,
            "identity": self._identity,
            "saved": saved,
        }

    @torch.inference_mode(mode=False)
    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**{**state["settings"], "device": state["device"]})  # type: ignore[misc]
        self._identity = state["identity"]
        if state["saved"] is not None:
            self._restore(*copy.deepcopy(state["saved"]))
