"""Every parameter of the embedded shop in one place, fixed before any model was run on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from disentrec.errors import DisentrecError, unknown_name

#: Mean session length of sessions_grocery (train); lengths are 2 plus a geometric tail of that mean.
SESSION_LENGTH_MEAN = 3.45
#: Zipf exponent of item popularity in online_retail, fitted between rank 10 and the median rank.
POPULARITY_EXPONENT = 0.77


@dataclass(frozen=True)
class BazaarParameters:
    """The shop and its customers. Shares are probabilities; weights are in units of logits."""

    n_items: int = 1500
    n_users: int = 2000
    n_sessions: int = 12_000
    seed: int = 0
    #: Why an item is chosen: it goes with an item of the session, it is to the customer's taste, it is popular.
    pi_id: float = 0.45
    pi_modality: float = 0.40
    pi_popularity: float = 0.15
    #: 0: which items go together is independent of what they are; 1: mostly similar items go together.
    rho: float = 0.0
    #: Items that an item goes with.
    complements: int = 8
    #: Kinds of customers; a finite number makes every posterior exact.
    n_types: int = 40
    #: Spread of a type's preference over the values of an attribute: category, brand, colour, pattern, material.
    taste: tuple[float, ...] = (1.6, 1.0, 1.0, 0.7, 0.7)
    #: Pull towards items that share attributes with those of the session.
    similarity: float = 3.0
    #: Share of types that look for a price range; the others take the cheapest that fits.
    range_share: float = 0.5
    #: Standard deviation, in log price, of a range buyer's range.
    price_width: float = 0.35
    #: Logits a point buyer loses per unit of log price above the cheapest of the same leaf category.
    thrift: float = 2.0
    #: Share of choices that take an item of the session again.
    repeat_rate: float = 0.10
    #: Share of items that appear only when the test part begins.
    cold_share: float = 0.03
    #: How likely an attribute is named in the text, and drawn in the picture.
    text_visibility: float = 0.8
    image_visibility: float = 0.9
    #: Share of the strongest background a picture may have.
    clutter: float = 0.5
    #: Share of items without a description and title words beyond their number, and without a picture.
    missing_text: float = 0.02
    missing_image: float = 0.05
    #: Draw pictures at all; without, only text is at hand.
    images: bool = True
    #: Shares of sessions, by time, of the last two parts.
    valid_share: float = 0.1
    test_share: float = 0.1
    max_length: int = 20

    def __post_init__(self) -> None:
        shares = (self.pi_id, self.pi_modality, self.pi_popularity)
        if min(shares) < 0 or not np.isclose(sum(shares), 1):
            raise DisentrecError(
                f"the shares of the causes are {shares}",
                how="Give pi_id, pi_modality and pi_popularity that sum to 1",
            )
        if self.n_items < 12 or self.complements >= self.n_items // 2:
            raise DisentrecError(
                f"{self.n_items} items with {self.complements} complements each",
                how="Use 12 items or more, and fewer complements than half of them",
            )

    @classmethod
    def preset(cls, scale: str, **knobs: Any) -> BazaarParameters:
        """Returns the parameters of a scale with some of them changed; unknown names list the valid ones."""
        if scale not in PRESETS:
            raise unknown_name("scale", scale, PRESETS, where="the embedded shop")
        valid = [field.name for field in fields(cls)]
        for name in knobs:
            if name not in valid:
                raise unknown_name("knob", name, valid, where="the embedded shop")
        return replace(cls(), **{**PRESETS[scale], **knobs})

    def to_json(self) -> dict[str, Any]:
        """Returns the parameters as kept in dataset.json and in the truth."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> BazaarParameters:
        """Returns the parameters that `to_json` wrote."""
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in content.items()})


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"n_items": 120, "n_users": 100, "n_sessions": 600, "n_types": 8, "complements": 4},
    "demo": {},
    "large": {"n_items": 20_000, "n_users": 50_000, "n_sessions": 300_000, "images": False},
}


def measure_constants(lengths: np.ndarray, item_counts: np.ndarray) -> tuple[float, float]:
    """Returns the two constants above, measured: mean session length, and the Zipf exponent of popularity.

    lengths: items per session, targets included; item_counts: occurrences per item, any order.
    """
    counts = np.sort(item_counts[item_counts > 0])[::-1]
    ranks = np.arange(1, len(counts) + 1)
    middle = slice(9, len(counts) // 2)
    slope = np.polyfit(np.log(ranks[middle]), np.log(counts[middle]), 1)[0]
    return float(np.mean(lengths)), float(-slope)
