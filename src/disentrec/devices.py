"""What to compute on: a processor, or one of its machine's GPUs."""

from __future__ import annotations

from disentrec.errors import DisentrecError


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


def choose_device(device: str | None) -> str:
    """Returns `device`, or cuda where there is one, if none is given; raises DisentrecError as check_device does."""
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    check_device(device)
    return device
