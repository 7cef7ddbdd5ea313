"""Files of weights: where torch keeps them, and how they are read without running anything that is in them."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # the error only: torch raises it for a file with more in it than tensors
from urllib.parse import urlparse

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from disentrec.encode.chunks import file_hash
from disentrec.errors import DisentrecError

#: What both readers raise for damaged files: torch's unpickler runs nothing, but checks next to nothing either.
DAMAGED = (
    safetensors.SafetensorError, UnpicklingError, RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError,
    AttributeError, AssertionError, OverflowError, MemoryError, struct.error,
)  # fmt: skip
NO_NETWORK = (
    "Run once with a network, or give the file with --weights; own-labels trains a small network on the data set itself"
)


def find_weights(url: str) -> Path:
    """Returns where torch's cache holds the file of `url`, fetching it if it does not.

    torchvision's addresses end in the first digits of the file's SHA-256, which is compared every time.
    """
    name = Path(urlparse(url).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    expected = path.stem.rpartition("-")[2]
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=expected, progress=False)
        except (OSError, RuntimeError) as error:  # RuntimeError: another checksum
            reason = f"cannot be downloaded now: {error}"
            raise DisentrecError(f"the weights {name} are not here and {reason}", how=NO_NETWORK) from error
    if not file_hash([path]).startswith(expected):
        raise DisentrecError("the weights have another checksum than their name says", where=path, how="Delete them")
    return path


def read_weights(path: Path | str) -> Mapping[str, Tensor]:
    """Returns the tensors of a safetensors file or of a torch state dict, by name; nothing in the file is run."""
    path = Path(path)
    if not path.is_file():
        raise DisentrecError("the file of weights is not here", where=path, how=NO_NETWORK)
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on other protocols of pickle, before it refuses them
            state = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        raise _not_weights(path) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise _not_weights(path)
    return state


def _not_weights(path: Path) -> DisentrecError:
    return DisentrecError(
        "not a file of weights alone",
        where=path,
        how="Give a .safetensors file, or a state dict saved by torch: whole models and other objects are not opened",
    )
