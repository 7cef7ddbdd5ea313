"""How NumPy and SciPy multiply: alike on every x86-64 processor, so that data and features have the same bytes.

OpenBLAS, the library behind both, has kernels for every kind of processor, which add in different orders. By itself it
takes those of the processor at hand: a feature then differs in its last digits, with it the fingerprint of its data
set, and so the name of every run on that. torch brings other libraries (book/method.md says how far those agree).
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

#: OpenBLAS's kernels for AVX2, which most x86-64 processors have had since 2013; the published data were made by them.
KERNELS = {"OPENBLAS_CORETYPE": "Haswell"}
#: What holds the other libraries to AVX2, too, as far as they can be told: NumPy's own loops, torch's, oneDNN's, MKL's.
OLDER = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR", "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}  # fmt: skip


def settle() -> None:
    """Has NumPy multiply by KERNELS where the processor can, here if it is not loaded yet, and in processes begun here.

    A choice that the user has made stands.
    """
    if capable():
        for name, value in KERNELS.items():
            os.environ.setdefault(name, value)


@lru_cache(maxsize=1)
def capable() -> bool:
    """Returns whether this processor can use KERNELS; only Linux is asked."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return {"avx2", "fma"} <= set(flags)


def settled() -> bool:
    """Returns whether what is loaded here multiplies by KERNELS, or by no kernels that could be chosen."""
    from threadpoolctl import threadpool_info

    loaded = {library["architecture"] for library in threadpool_info() if library["internal_api"] == "openblas"}
    return not capable() or loaded <= set(KERNELS.values())
