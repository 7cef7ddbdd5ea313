"""The shop's pictures as a page draws them: silhouettes, colours, patterns and badges in a few bytes each.

What a sprite shows is what the picture of the item shows, from the same draws; clutter, sheen and tilt are left out.
"""

from __future__ import annotations

from typing import Any

from disentrec.data.bazaar.pictures import RGB, SHAPES, UNKNOWN, pictured
from disentrec.data.bazaar.shop import BRANDS, COLOURS, KINDS, PATTERNS
from disentrec.data.bazaar.truth import Truth
from disentrec.errors import unknown_name

#: What a picture may show, in the order of an item's codes.
SHOWN = {"kind": KINDS, "colour": COLOURS, "pattern": PATTERNS, "brand": BRANDS}
#: Edge of a sprite.
SIZE = 100
STROKE = 0.055 * SIZE
NEUTRAL = ("box", 0.2, 0.2, 0.8, 0.8, 0.28)


def codes(truth: Truth, item: int) -> list[int] | None:
    """Returns what an item's picture shows as indices into SHOWN, -1 where it is drawn neutrally; None: no picture."""
    seen, _ = pictured(truth.world.shop, truth.world.parameters, item)
    if seen is None:
        return None
    return [values.index(seen[name]) if name in seen else -1 for name, values in SHOWN.items()]


def sheet() -> dict[str, Any]:
    """Returns what the codes stand for: a silhouette per kind and a neutral one, and fills as hexadecimal colours."""
    return {
        "size": SIZE,
        "stroke": STROKE,
        "shapes": [silhouette(SHAPES[kind]) for kind in KINDS],
        "neutral": silhouette([NEUTRAL]),
        "colours": [_hex(RGB[colour]) for colour in COLOURS],
        "unknown": _hex(UNKNOWN),
        "patterns": list(PATTERNS),
    }


def silhouette(forms: list[tuple]) -> list[list[str]]:
    """Returns the forms of a silhouette as [what, path]: "fill", "hole" or "line"; they are drawn in this order."""
    return [_path(form.lstrip("-"), form.startswith("-"), [SIZE * n for n in numbers]) for form, *numbers in forms]


def _path(form: str, hole: bool, size: list[float]) -> list[str]:
    kind = "hole" if hole else "fill"
    match form:
        case "poly":
            points = zip(size[::2], size[1::2], strict=True)
            return [kind, "M" + "L".join(f"{x:.4g} {y:.4g}" for x, y in points) + "Z"]
        case "box":
            return [kind, _box(*size)]
        case "oval":
            return [kind, _arc(size[:4], 0, whole=True)]
        case "ring":
            return ["line", _arc(size[:4], STROKE / 2, whole=True)]
        case "pie":
            # PIL's angles run clockwise from three o'clock: from 0 the lower half, from 180 the upper one.
            return [kind, _arc(size[:4], 0, lower=size[4] == 0) + "Z"]
        case "arc":
            # The cable of a string light hangs, handles stand; see pictures._silhouette.
            return ["line", _arc(size[:4], STROKE / 2, lower=size[1] < 0)]
    raise unknown_name("form", form, ("poly", "box", "oval", "ring", "pie", "arc"), where="the shop's silhouettes")


def _box(left: float, top: float, right: float, low: float, radius: float) -> str:
    r = min(radius, (right - left) / 2, (low - top) / 2)
    if r == 0:
        return f"M{left:.4g} {top:.4g}H{right:.4g}V{low:.4g}H{left:.4g}Z"
    turn = f"a{r:.4g} {r:.4g} 0 0 1 "
    across, down = right - left - 2 * r, low - top - 2 * r
    return (
        f"M{left + r:.4g} {top:.4g}h{across:.4g}{turn}{r:.4g} {r:.4g}v{down:.4g}{turn}{-r:.4g} {r:.4g}"
        f"h{-across:.4g}{turn}{-r:.4g} {-r:.4g}v{-down:.4g}{turn}{r:.4g} {-r:.4g}Z"
    )


def _arc(box: list[float], inset: float, *, whole: bool = False, lower: bool = False) -> str:
    left, top, right, low = box[0] + inset, box[1] + inset, box[2] - inset, box[3] - inset
    rx, ry, middle = (right - left) / 2, (low - top) / 2, (top + low) / 2
    start = f"M{left:.4g} {middle:.4g}A{rx:.4g} {ry:.4g} 0 0 {0 if lower else 1} {right:.4g} {middle:.4g}"
    return start + f"A{rx:.4g} {ry:.4g} 0 0 1 {left:.4g} {middle:.4g}Z" if whole else start


def _hex(colour: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)
