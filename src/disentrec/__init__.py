"""Reproduces, audits and extends four papers on disentangled multimodal recommendation."""

__version__ = "0.4.0"
