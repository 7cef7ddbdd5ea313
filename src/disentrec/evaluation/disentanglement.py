"""How separate are two sets of representations of the same cases, and what does each of them know?"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE, trustworthiness
from sklearn.model_selection import StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def linear_cka(X: np.ndarray, Y: np.ndarray) -> float:
    """Returns the unbiased linear CKA of two representations of the same cases (Kornblith et al. 2019).

    X: (cases, d1), Y: (cases, d2). 1: the same up to rotation and scale; about 0: unrelated. The estimate without
    the diagonal (Song et al. 2012) does not grow with the dimension, and may be slightly negative.
    """
    K, L = _without_diagonal(X @ X.T), _without_diagonal(Y @ Y.T)
    scale = np.sqrt(_hsic_unbiased(K, K) * _hsic_unbiased(L, L))
    return float(_hsic_unbiased(K, L) / scale) if scale > 0 else 0.0


def hsic_test(X: np.ndarray, Y: np.ndarray, *, permutations: int = 200, seed: int = 0) -> tuple[float, float]:
    """Returns HSIC with Gaussian kernels of median width, and its permutation p (Gretton et al. 2005).

    A small p says that the two representations of a case are dependent.
    """
    rng = np.random.default_rng(seed)
    K, L = _centred(_gaussian(X)), _gaussian(Y)
    n = len(X)
    value = float((K * L).sum() / n**2)
    null = np.asarray(
        [(K * L[np.ix_(order, order)]).sum() / n**2 for order in (rng.permutation(n) for _ in range(permutations))]
    )
    return value, (int((null >= value).sum()) + 1) / (permutations + 1)


def probe(X: np.ndarray, labels: np.ndarray, *, seed: int = 0, folds: int = 5) -> float:
    """Returns how much better than the majority a cross-validated linear probe reads `labels` off X.

    0: no better than naming the commonest label; 1: always right. Labels rarer than `folds` are left out.
    """
    values, counts = np.unique(labels, return_counts=True)
    keep = np.isin(labels, values[counts >= folds])
    X, labels = X[keep], labels[keep]
    if len(np.unique(labels)) < 2:
        return 0.0
    majority = np.unique(labels, return_counts=True)[1].max() / len(labels)
    scores = cross_val_score(_linear(), X, labels, cv=StratifiedKFold(folds, shuffle=True, random_state=seed))
    return float((scores.mean() - majority) / (1 - majority))


def probe_score(X: np.ndarray, labels: np.ndarray, *, seed: int = 0, folds: int = 5) -> np.ndarray:
    """Returns the held-out probability of the positive label from a linear probe, (cases,). labels: bool."""
    cv = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return cross_val_predict(_linear(), X, labels, cv=cv, method="predict_proba")[:, 1]


def dci(importance: np.ndarray) -> tuple[float, float]:
    """Returns disentanglement and completeness from an importance matrix (Eastwood and Williams 2018).

    importance: (codes, factors) non-negative. Disentanglement: each code serves one factor; completeness: each
    factor is served by one code. 1 is perfect; rows and columns weigh by their share of importance.
    """
    importance = np.asarray(importance, dtype=np.float64)
    total = importance.sum()
    if total == 0:
        return 0.0, 0.0
    scores = []
    for table in (importance, importance.T):
        shares = table / np.maximum(table.sum(1, keepdims=True), 1e-12)
        entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum(1) / np.log(max(table.shape[1], 2))
        scores.append(float(((1 - entropy) * table.sum(1)).sum() / total))
    return scores[0], scores[1]


def tsne_map(X: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, float]:
    """Returns a t-SNE map, (cases, 2) float32, and its trustworthiness (1: every neighbour on the map is one in X).

    A map shows clusters that may not be there: never print one without the number beside it.
    """
    perplexity = min(30.0, (len(X) - 1) / 3)
    points = TSNE(init="pca", perplexity=perplexity, random_state=seed, n_jobs=1).fit_transform(X.astype(np.float32))
    return points.astype(np.float32), float(trustworthiness(X, points, n_neighbors=min(10, len(X) // 3)))


def _linear():
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))


def _without_diagonal(K: np.ndarray) -> np.ndarray:
    K = K.astype(np.float64, copy=True)
    np.fill_diagonal(K, 0)
    return K


def _hsic_unbiased(K: np.ndarray, L: np.ndarray) -> float:
    """Returns the unbiased HSIC of two Gram matrices with empty diagonals (Song et al. 2012, Eq. 5)."""
    n = len(K)
    cross = K.sum(0) @ L.sum(0)
    return float(((K * L).sum() + K.sum() * L.sum() / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)) / (n * (n - 3)))


def _gaussian(X: np.ndarray) -> np.ndarray:
    X = X.astype(np.float64)
    squares = (X**2).sum(1)
    distances = np.maximum(squares[:, None] + squares - 2 * X @ X.T, 0)
    return np.exp(-distances / np.median(distances[np.triu_indices(len(X), 1)]))


def _centred(K: np.ndarray) -> np.ndarray:
    return K - K.mean(0) - K.mean(1)[:, None] + K.mean()
