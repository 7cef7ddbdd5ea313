"""How separate are two sets of representations of the same cases, and what does each of them know?

Two sets: `linear_cka`, `hsic_test`, `distance_correlation`, `separability`. One set and labels: `probe`,
`probe_value`. Codes and the factors they should hold: `dci`, `dci_of_codes`, `mig`, `sap`. A map and the
numbers that keep the eye honest: `tsne_map`, `neighbourhood_preservation`, `silhouette`.
"""

from __future__ import annotations

import numpy as np
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.manifold import TSNE, trustworthiness
from sklearn.metrics import silhouette_score
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from disentrec.errors import DisentrecError

#: Cases that a kernel is approximated by.
LANDMARKS = 200


def linear_cka(X: np.ndarray, Y: np.ndarray, *, unbiased: bool = True) -> float:
    """Returns the linear CKA of two representations of the same cases (Kornblith et al. 2019).

    X: (cases, d1), Y: (cases, d2). 1: the same up to rotation and scale; about 0: unrelated. The unbiased
    estimate (Song et al. 2012) does not grow with the dimension, and may be slightly negative; the plain one
    does grow. A constant representation gives 0.
    """
    X, Y = _pair(X, Y)
    K, L = X @ X.T, Y @ Y.T
    if unbiased:
        return _correlation(K, L)
    scale = np.linalg.norm(K) * np.linalg.norm(L)
    return float((K * L).sum() / scale) if scale > 0 else 0.0


def distance_correlation(X: np.ndarray, Y: np.ndarray) -> float:
    """Returns the bias-corrected squared distance correlation (Szekely and Rizzo 2013).

    0 for independent representations on average, and only for those; 1 for the same up to rotation and scale.
    It may be slightly negative. Unlike CKA it sees any dependence, unlike HSIC it has no width to choose.
    """
    X, Y = _pair(X, Y)
    return _correlation(np.sqrt(_squared_distances(X)), np.sqrt(_squared_distances(Y)))


def hsic_test(X: np.ndarray, Y: np.ndarray, *, permutations: int = 200, seed: int = 0) -> tuple[float, float]:
    """Returns HSIC with Gaussian kernels of median width, and its permutation p (Gretton et al. 2005).

    A small p says that the two representations of a case are dependent.
    """
    X, Y = _pair(X, Y)
    rng = np.random.default_rng(seed)
    K, L = _centred(_gaussian(X)), _gaussian(Y)
    n = len(X)
    value = float((K * L).sum() / n**2)
    orders = (rng.permutation(n) for _ in range(permutations))
    null = np.asarray([(K * L[np.ix_(order, order)]).sum() / n**2 for order in orders])
    # Rounding alone must not make a constant representation look dependent.
    extreme = null >= value - 1e-12
    return value, (int(extreme.sum()) + 1) / (permutations + 1)


def probe(X: np.ndarray, labels: np.ndarray, *, seed: int = 0, folds: int = 5, kernel: bool = False) -> float:
    """Returns how much better than the majority a cross-validated linear probe reads `labels` off X.

    0: no better than naming the commonest label; 1: always right. Labels rarer than `folds` are left out. `kernel`: a
    ridge classifier on random features of a Gaussian kernel, which also reads what is not linear.
    """
    values, counts = np.unique(labels, return_counts=True)
    keep = np.isin(labels, values[counts >= folds])
    X, labels = X[keep], labels[keep]
    if len(np.unique(labels)) < 2:
        return 0.0
    majority = np.unique(labels, return_counts=True)[1].max() / len(labels)
    model = _kernel(X, seed) if kernel else _linear()
    scores = cross_val_score(model, X, labels, cv=StratifiedKFold(folds, shuffle=True, random_state=seed))
    return float((scores.mean() - majority) / (1 - majority))


def probe_guess(X: np.ndarray, labels: np.ndarray, *, seed: int = 0, folds: int = 5) -> np.ndarray:
    """Returns the label a held-out linear probe names for every case, (cases,); each occurs `folds` times at least."""
    return cross_val_predict(_linear(), X, labels, cv=StratifiedKFold(folds, shuffle=True, random_state=seed))


def probe_score(X: np.ndarray, labels: np.ndarray, *, seed: int = 0, folds: int = 5) -> np.ndarray:
    """Returns the held-out probability of the positive label from a linear probe, (cases,). labels: bool."""
    cv = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return cross_val_predict(_linear(), X, labels, cv=cv, method="predict_proba")[:, 1]


def probe_value(X: np.ndarray, values: np.ndarray, *, seed: int = 0, folds: int = 5) -> float:
    """Returns the held-out R2 of a ridge probe of a number such as a log-price; 0: nothing is read."""
    if np.ptp(values) == 0:
        return 0.0
    cv = KFold(folds, shuffle=True, random_state=seed)
    guess = cross_val_predict(make_pipeline(StandardScaler(), Ridge()), X, values, cv=cv)
    return float(1 - ((values - guess) ** 2).mean() / np.var(values))


def separability(X: np.ndarray, Y: np.ndarray, *, seed: int = 0, folds: int = 5) -> float:
    """Returns the held-out accuracy with which a linear probe tells rows of X from rows of Y, .5 = chance.

    X, Y: (cases, dim), both causes of the same cases; both rows of a case are held out together. Lengths are
    removed first. 1 says that the sets lie apart, not that they hold different things: two tables that were
    initialised apart are told apart at once, so print `hsic_test` beside it.
    """
    X, Y = _pair(X, Y, scaled=False)
    if X.shape[1] != Y.shape[1]:
        raise DisentrecError(f"a probe needs one space, not {X.shape[1]} and {Y.shape[1]} dimensions")
    rows = np.concatenate([X, Y])
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    side, case = np.repeat([0, 1], len(X)), np.tile(np.arange(len(X)), 2)
    cv = GroupKFold(folds, shuffle=True, random_state=seed)
    return float(cross_val_score(_linear(), rows, side, groups=case, cv=cv).mean())


def tsne_map(X: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, float]:
    """Returns a t-SNE map, (cases, 2) float32, and its trustworthiness: 1 if its neighbours are those of X.

    A map shows clusters that may not be there: never print one without the number beside it. On one thread,
    because sums in another order end in another map.
    """
    perplexity = min(30.0, (len(X) - 1) / 3)
    with threadpool_limits(1):
        model = TSNE(init="pca", perplexity=perplexity, random_state=seed, n_jobs=1)
        points = model.fit_transform(X.astype(np.float32))
    return points.astype(np.float32), float(trustworthiness(X, points, n_neighbors=min(10, len(X) // 3)))


def neighbourhood_preservation(X: np.ndarray, points: np.ndarray, *, neighbours: int = 10) -> float:
    """Returns the share of each case's nearest cases in X that are its nearest on the map, too; 1 is perfect.

    Chance is neighbours / (cases - 1).
    """
    near, kept = (
        NearestNeighbors(n_neighbors=neighbours).fit(rows).kneighbors(return_distance=False) for rows in (X, points)
    )
    return float((near[:, :, None] == kept[:, None]).any(2).mean())


def silhouette(X: np.ndarray, Y: np.ndarray) -> float:
    """Returns the mean silhouette of two sets of rows, (cases, dim) each: 1 apart, 0 mixed."""
    return float(silhouette_score(np.concatenate([X, Y]), np.repeat([0, 1], [len(X), len(Y)])))


def _linear():
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))


def _kernel(X: np.ndarray, seed: int):
    # A fold is fitted on more than half of the cases, and no more landmarks than cases can be drawn.
    landmarks = min(LANDMARKS, len(X) // 2)
    features = Nystroem(gamma=1 / (2 * X.shape[1]), n_components=landmarks, random_state=seed)
    return make_pipeline(StandardScaler(), features, RidgeClassifier())


def _pair(X: np.ndarray, Y: np.ndarray, *, scaled: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Returns both in float64, `scaled` to mean 0 and norm 1, which no measure of two sets depends on."""
    X, Y = np.asarray(X, dtype=np.float64), np.asarray(Y, dtype=np.float64)
    if len(X) != len(Y) or len(X) < 4:
        raise DisentrecError(f"{len(X)} and {len(Y)} cases: the same cases are compared, four at least")
    if not (np.isfinite(X).all() and np.isfinite(Y).all()):
        raise DisentrecError("a representation is not finite", how="Leave diverged runs out and say so")
    return (_scaled(X), _scaled(Y)) if scaled else (X, Y)


def _scaled(X: np.ndarray) -> np.ndarray:
    centred = X - X.mean(0)
    norm = np.linalg.norm(centred)
    # What is left of a constant is rounding: not to be blown up to norm 1.
    return centred / norm if norm > 1e-12 * np.linalg.norm(X) else np.zeros_like(X)


def _correlation(K: np.ndarray, L: np.ndarray) -> float:
    for matrix in (K, L):
        np.fill_diagonal(matrix, 0)
    scale = np.sqrt(max(_hsic_unbiased(K, K) * _hsic_unbiased(L, L), 0.0))
    return float(_hsic_unbiased(K, L) / scale) if scale > 0 else 0.0


def _hsic_unbiased(K: np.ndarray, L: np.ndarray) -> float:
    """Returns the unbiased HSIC of two Gram matrices with empty diagonals (Song et al. 2012, Eq. 5)."""
    n = len(K)
    means = K.sum() * L.sum() / ((n - 1) * (n - 2)) - 2 * (K.sum(0) @ L.sum(0)) / (n - 2)
    return float(((K * L).sum() + means) / (n * (n - 3)))


def _squared_distances(X: np.ndarray) -> np.ndarray:
    squares = (X**2).sum(1)
    distances = np.maximum(squares[:, None] + squares - 2 * X @ X.T, 0)
    np.fill_diagonal(distances, 0)
    return distances


def _gaussian(X: np.ndarray) -> np.ndarray:
    distances = _squared_distances(X)
    others = distances[np.triu_indices(len(X), 1)]
    width = np.median(others) or others.mean() or 1.0  # many equal rows have the median 0
    return np.exp(-distances / width)


def _centred(K: np.ndarray) -> np.ndarray:
    return K - K.mean(0) - K.mean(1)[:, None] + K.mean()
