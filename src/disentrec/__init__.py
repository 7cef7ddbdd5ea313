"""Reproduces, audits and extends four papers on disentangled multimodal recommendation."""

from disentrec import processor

__version__ = "0.4.0"

processor.settle()  # before anything here loads NumPy
