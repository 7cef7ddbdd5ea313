"""The shop: items with attributes and prices, what goes together, and what the text says of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from disentrec.data.bazaar.parameters import POPULARITY_EXPONENT, BazaarParameters

# Three levels of category: 8 departments, 4 kinds of thing in each, 2 styles of each kind.
DEPARTMENTS = {
    "Kitchen": ("mug", "bowl", "teapot", "jar"),
    "Garden": ("planter", "lantern", "trowel", "birdhouse"),
    "Desk": ("notebook", "lamp", "tray", "clock"),
    "Bath": ("towel", "soap dish", "basket", "mirror"),
    "Play": ("kite", "blocks", "puppet", "drum"),
    "Travel": ("bag", "bottle", "pouch", "case"),
    "Wear": ("scarf", "hat", "glove", "sock"),
    "Light": ("candle", "string light", "shade", "torch"),
}
STYLES = ("classic", "modern")
COLOURS = (
    "red",
    "blue",
    "green",
    "yellow",
    "black",
    "white",
    "orange",
    "purple",
    "pink",
    "teal",
    "brown",
    "grey",
)
PATTERNS = ("plain", "striped", "dotted", "checked", "wavy", "starred")
MATERIALS = ("ceramic", "wood", "steel", "cotton", "glass", "bamboo", "leather", "felt")
BRANDS = (
    "Aldero", "Brimlo", "Corvana", "Dusko", "Elvik", "Farrow & Pike", "Gantel", "Hollis", "Imbra", "Jorvik",
    "Kestrel", "Lumo", "Mardel", "Nordal", "Orrin", "Pavo", "Quill", "Rastel", "Sorrel", "Tindra",
    "Umbra Lane", "Vesper", "Wexley", "Yarrow",
)  # fmt: skip
NOISE = (
    "new", "great", "gift", "quality", "set", "for", "home", "best", "with", "free", "perfect", "season", "original",
    "value", "daily", "choice", "popular", "limited", "special", "edition",
)  # fmt: skip
KINDS = tuple(kind for kinds in DEPARTMENTS.values() for kind in kinds)
LEAVES = tuple(
    f"{department}|{kind}|{style}" for department, kinds in DEPARTMENTS.items() for kind in kinds for style in STYLES
)
ATTRIBUTES = ("category", "brand", "colour", "pattern", "material")
SIZES = (len(LEAVES), len(BRANDS), len(COLOURS), len(PATTERNS), len(MATERIALS))


@dataclass(frozen=True)
class Shop:
    """The items and what is true of them."""

    attributes: np.ndarray  # (n, 5) int16, values of ATTRIBUTES
    log_price: np.ndarray  # (n,) float64
    popularity: np.ndarray  # (n,) float64, sums to 1
    complements: sp.csr_matrix  # (n, n) float64, rows sum to 1
    cold: np.ndarray  # (n,) bool: on sale only when the test part begins


def make_shop(parameters: BazaarParameters) -> Shop:
    """Returns the shop drawn with `parameters.seed`."""
    rng = np.random.default_rng([parameters.seed, 1])
    n = parameters.n_items
    attributes = np.stack([_long_tail(rng, size, n) for size in SIZES], 1).astype(np.int16)
    base = rng.normal(2.5, 0.6, len(KINDS))
    tier = rng.normal(0.0, 0.4, len(BRANDS))
    log_price = base[attributes[:, 0] // 2] + tier[attributes[:, 1]] + rng.normal(0, 0.25, n)
    weights = np.arange(1, n + 1.0) ** -POPULARITY_EXPONENT
    popularity = rng.permutation(weights / weights.sum())
    cold = np.zeros(n, dtype=bool)
    cold[rng.permutation(n)[: round(parameters.cold_share * n)]] = True
    return Shop(attributes, log_price, popularity, _complements(rng, attributes, parameters), cold)


def one_hot(attributes: np.ndarray) -> sp.csr_matrix:
    """Returns attributes as indicators, (n, sum of SIZES)."""
    columns = attributes.astype(np.int64) + np.concatenate([[0], np.cumsum(SIZES)[:-1]])
    n, k = attributes.shape
    return sp.csr_matrix((np.ones(n * k), columns.ravel(), np.arange(0, n * k + 1, k)), shape=(n, sum(SIZES)))


def _long_tail(rng: np.random.Generator, size: int, n: int) -> np.ndarray:
    weights = rng.permutation(np.arange(1, size + 1.0) ** -0.7)
    return rng.choice(size, size=n, p=weights / weights.sum())


def _complements(rng: np.random.Generator, attributes: np.ndarray, parameters: BazaarParameters) -> sp.csr_matrix:
    """Returns weighted complements: uniform partners, replaced by similar ones with probability rho."""
    n, degree = len(attributes), parameters.complements
    partners = (np.arange(n)[:, None] + rng.integers(1, n, size=(n, degree))) % n
    if parameters.rho > 0:
        hot = one_hot(attributes)
        similar = rng.random((n, degree)) < parameters.rho
        for start in range(0, n, 1024):
            shared = (hot[start : start + 1024] @ hot.T).toarray() + rng.random((min(1024, n - start), n))
            shared[np.arange(len(shared)), np.arange(start, start + len(shared))] = -1
            nearest = np.argsort(-shared, axis=1)[:, :degree]
            block = slice(start, start + len(shared))
            partners[block] = np.where(similar[block], nearest, partners[block])
    weights = np.arange(1, degree + 1.0) ** -0.7
    rows = np.repeat(np.arange(n), degree)
    table = sp.coo_matrix((np.tile(weights, n), (rows, partners.ravel())), shape=(n, n)).tocsr()
    table = table + table.T  # to go together is mutual
    return sp.csr_matrix(sp.diags_array(1 / np.asarray(table.sum(1)).ravel()) @ table)


def write_texts(shop: Shop, parameters: BazaarParameters) -> tuple[list[str], list[str], list[str | None]]:
    """Returns titles, descriptions and the brand as listed (None where the text does not name it).

    Every attribute word is present with probability `text_visibility`, among words that say nothing.
    """
    rng = np.random.default_rng([parameters.seed, 2])
    titles, descriptions, brands = [], [], []
    for item, values in enumerate(shop.attributes):
        words = attribute_words(values)
        seen = rng.random(len(words)) < parameters.text_visibility
        noise = rng.choice(NOISE, size=6)
        blank = rng.random() < parameters.missing_text
        said = {name: word for (name, word), visible in zip(words.items(), seen, strict=True) if visible and not blank}
        title = [said.get("brand"), noise[0], said.get("colour"), said.get("pattern"), said.get("kind")]
        titles.append(" ".join(word for word in title if word) if said else f"Item {item}")
        rest = [noise[1], said.get("style"), said.get("material"), *noise[2:5], said.get("kind"), noise[5]]
        descriptions.append("" if blank else " ".join(word for word in rest if word))
        brands.append(said.get("brand"))
    return titles, descriptions, brands


def attribute_words(values: np.ndarray) -> dict[str, str]:
    """Returns the words of an item's attributes by name."""
    leaf, brand, colour, pattern, material = (int(value) for value in values)
    _, kind, style = LEAVES[leaf].split("|")
    return {
        "kind": kind,
        "style": style,
        "brand": BRANDS[brand],
        "colour": COLOURS[colour],
        "pattern": PATTERNS[pattern],
        "material": MATERIALS[material],
    }
