"""Checkpoints: a training that is killed goes on after its last kept epoch and ends with the same numbers.

One safetensors file holds tensors and, as JSON in its header, the rest; nothing is pickled. What the numbers depend on
and the file does not hold (code, versions, threads, device) is its `key`: under another one it is not read.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from disentrec.data.drafts import write_atomically

if TYPE_CHECKING:
    from disentrec.training.loop import TrainingResult

log = logging.getLogger(__name__)
#: What of a result is no tensor.
PLAIN = ("best_epoch", "curves", "train_seconds")


@dataclass
class Checkpoint:
    """The file of one training, written after an epoch when the last writing is `every` seconds ago."""

    path: Path
    key: str
    every: float = 60.0
    _written: float = field(default_factory=time.monotonic, repr=False)

    def due(self) -> bool:
        """True when it is time to write again."""
        return time.monotonic() - self._written >= self.every

    def write(
        self, result: TrainingResult, model: nn.Module, optimiser: torch.optim.Optimizer, rng: np.random.Generator
    ) -> None:
        """Writes everything the next epoch begins from, whole or not at all."""
        tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in (result.best_state or {}).items()}
        for number, state in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{number}/{name}": torch.as_tensor(value) for name, value in state.items()}
        tensors |= {f"ranks/{epoch}": torch.from_numpy(ranks) for epoch, ranks in enumerate(result.test_ranks)}
        tensors["torch"] = torch.get_rng_state()
        if torch.cuda.is_initialized():
            tensors["cuda"] = torch.cuda.get_rng_state()
        # Cloned: tied weights share memory, which the format does not know.
        content = save(
            {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()},
            {
                "key": self.key,
                "result": json.dumps({name: getattr(result, name) for name in PLAIN}),
                "numpy": json.dumps(rng.bit_generator.state),
            },
        )
        write_atomically(self.path, lambda file: file.write(content))
        self._written = time.monotonic()

    def restore(
        self, result: TrainingResult, model: nn.Module, optimiser: torch.optim.Optimizer, rng: np.random.Generator
    ) -> bool:
        """Puts everything where the training stood and returns True; False, and nothing moved, without a file of it."""
        if not self.path.exists():
            return False
        try:
            with safe_open(self.path, framework="pt") as file:
                notes = file.metadata() or {}
                if notes.get("key") != self.key:
                    log.warning("%s is of other code or another machine: the run begins anew", self.path.name)
                    return False
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:  # damaged from outside: it was written whole
            log.warning("%s is not readable (%s): the run begins anew", self.path.name, error)
            return False
        device = next(model.parameters()).device
        model.load_state_dict(_below(tensors, "model/"))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _below(tensors, "optimiser/").items():
            number, _, part = name.partition("/")
            state.setdefault(int(number), {})[part] = tensor
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        rng.bit_generator.state = json.loads(notes["numpy"])
        torch.set_rng_state(tensors["torch"])
        if "cuda" in tensors:
            torch.cuda.set_rng_state(tensors["cuda"])
        for name, value in json.loads(notes["result"]).items():
            setattr(result, name, value)
        best = {name: tensor.to(device) for name, tensor in _below(tensors, "best/").items()}
        result.best_state = best or None
        ranks = _below(tensors, "ranks/")
        result.test_ranks = [ranks[str(epoch)].numpy() for epoch in range(len(ranks))]
        return True

    def remove(self) -> None:
        """Removes the file, once the run is recorded."""
        self.path.unlink(missing_ok=True)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
