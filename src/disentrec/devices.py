"""What to compute on: a processor, or one of its machine's GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from disentrec.errors import DisentrecError, unknown_name

if TYPE_CHECKING:
    import torch

#: What layers multiply in while a model is trained; parameters, sums and rankings stay in float32. tf32: the 19 bits of
#: an NVIDIA GPU's matrix units; bf16: torch's automatic mixed precision.
PRECISIONS = ("float32", "tf32", "bf16")


def check_device(device: str) -> None:
    """Raises DisentrecError if this machine cannot compute on `device`: cpu, cuda, or cuda:NUMBER."""
    import torch  # not above: not every command computes, and torch takes seconds to load

    try:
        asked = torch.device(device)
    except RuntimeError as error:
        raise DisentrecError(f"there is no device {device!r}", how="Use cpu, cuda or cuda:NUMBER") from error
    if asked.type not in ("cpu", "cuda"):
        raise DisentrecError(f"nothing is computed on {asked.type!r} here", how="Use cpu, cuda or cuda:NUMBER")
    if asked.type == "cuda" and (asked.index or 0) >= torch.cuda.device_count():
        raise DisentrecError(
            f"PyTorch finds no GPU {device!r}, only {torch.cuda.device_count()} of them",
            how="Look at `disentrec doctor`, or use --device cpu",
        )


def check_precision(precision: str, device: str) -> None:
    """Raises DisentrecError if nothing can be multiplied in `precision`, one of PRECISIONS, on `device`."""
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if precision == "tf32" and not device.startswith("cuda"):
        raise DisentrecError(f"tf32 is a number of NVIDIA's GPUs, not of {device!r}", how="Use bf16, or --device cuda")


@contextmanager
def trained_in(precision: str) -> Iterator[None]:
    """Within the block products on a GPU are of tf32, if that is the precision, and of float32 if not."""
    import torch

    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def mixed(device: str, precision: str) -> torch.autocast:
    """Returns the context of a forward pass: torch's automatic mixed precision with bf16, nothing without."""
    import torch

    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")


def moved(found: Any, device: torch.device | str) -> Any:
    """Returns `found` with all that it holds on `device`: tensors, what has a `to` of its own, tuples and lists."""
    if hasattr(found, "to"):
        return found.to(device)
    if isinstance(found, tuple) and hasattr(found, "_fields"):
        return type(found)(*(moved(part, device) for part in found))
    if isinstance(found, tuple | list):
        return type(found)(moved(part, device) for part in found)
    return found


def choose_device(device: str | None) -> str:
    """Returns `device`, or cuda where there is one, if none is given; raises DisentrecError as check_device does."""
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    check_device(device)
    return device
