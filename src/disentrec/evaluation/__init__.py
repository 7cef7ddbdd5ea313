"""Ranks, metrics, significance, and measures of disentanglement: pure functions of arrays."""
