"""Pictures of the shop's items, drawn with PIL: silhouette = kind, fill = colour and pattern, mark = brand.

An attribute is drawn with probability `image_visibility`; clutter behind the item varies its strength. Each item has
its own seed, so a picture does not depend on which others were drawn.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from disentrec.data.bazaar.parameters import BazaarParameters
from disentrec.data.bazaar.shop import BRANDS, COLOURS, KINDS, PATTERNS, Shop, attribute_words

SIZE, SCALE = 96, 3
FULL = SIZE * SCALE
RGB = dict(
    zip(
        COLOURS,
        ((198, 57, 57), (52, 102, 176), (72, 145, 86), (226, 184, 58), (52, 54, 60), (244, 241, 233),
         (222, 124, 52), (124, 84, 160), (226, 142, 168), (50, 150, 150), (128, 88, 60), (142, 148, 156)),
        strict=True,
    )
)  # fmt: skip
UNKNOWN = (186, 190, 196)
# Silhouettes in a unit square: polygons as points, ellipses and rounded boxes as boxes. "-" cuts a hole.
SHAPES: dict[str, list[tuple]] = {
    "mug": [("box", .22, .25, .68, .82, .08), ("ring", .60, .36, .86, .68)],
    "bowl": [("pie", .12, .02, .88, .86, 0, 180), ("box", .38, .82, .62, .88, .02)],
    "teapot": [("oval", .22, .34, .74, .84), ("poly", .70, .52, .92, .34, .95, .40, .74, .68), ("ring", .08, .42, .32, .72), ("oval", .43, .22, .53, .34)],
    "jar": [("box", .28, .28, .72, .86, .10), ("box", .32, .14, .68, .26, .03)],
    "planter": [("poly", .24, .46, .76, .46, .68, .88, .32, .88), ("oval", .30, .12, .50, .48), ("oval", .48, .08, .70, .48)],
    "lantern": [("box", .30, .32, .70, .82, .04), ("poly", .26, .32, .50, .12, .74, .32), ("ring", .42, .02, .58, .16)],
    "trowel": [("poly", .50, .06, .66, .30, .60, .52, .40, .52, .34, .30), ("box", .45, .50, .55, .94, .04)],
    "birdhouse": [("poly", .50, .08, .86, .40, .14, .40), ("box", .24, .38, .76, .86, .02), ("-oval", .42, .48, .58, .64)],
    "notebook": [("box", .24, .12, .78, .88, .04), ("-box", .30, .12, .32, .88, 0)],
    "lamp": [("poly", .36, .12, .64, .12, .78, .44, .22, .44), ("box", .47, .44, .53, .82, 0), ("box", .32, .82, .68, .88, .02)],
    "tray": [("box", .08, .40, .92, .66, .10), ("-box", .16, .47, .84, .59, .05)],
    "clock": [("oval", .14, .14, .86, .86), ("-box", .48, .26, .52, .52, 0), ("-box", .50, .48, .70, .52, 0)],
    "towel": [("box", .24, .10, .76, .90, .02), ("-box", .24, .70, .76, .74, 0)],
    "soap dish": [("oval", .10, .52, .90, .80), ("box", .30, .38, .70, .60, .09)],
    "basket": [("poly", .16, .42, .84, .42, .74, .86, .26, .86), ("arc", .24, .10, .76, .74)],
    "mirror": [("oval", .24, .06, .76, .70), ("-oval", .31, .13, .69, .63), ("box", .45, .68, .55, .94, .03)],
    "kite": [("poly", .50, .06, .80, .38, .50, .76, .20, .38), ("poly", .48, .74, .56, .84, .46, .90, .54, .97, .50, .97, .41, .90, .50, .83)],
    "blocks": [("box", .12, .52, .48, .88, .03), ("box", .52, .52, .88, .88, .03), ("box", .32, .12, .68, .48, .03)],
    "puppet": [("oval", .34, .08, .66, .40), ("poly", .50, .36, .86, .88, .14, .88), ("oval", .08, .44, .26, .60), ("oval", .74, .44, .92, .60)],
    "drum": [("oval", .16, .62, .84, .88), ("box", .16, .34, .84, .76, 0), ("oval", .16, .20, .84, .46)],
    "bag": [("box", .20, .34, .80, .88, .07), ("arc", .34, .12, .66, .58)],
    "bottle": [("box", .34, .34, .66, .92, .07), ("box", .43, .14, .57, .38, .02), ("box", .40, .07, .60, .15, .02)],
    "pouch": [("poly", .18, .36, .82, .36, .90, .80, .82, .88, .18, .88, .10, .80), ("box", .16, .28, .84, .36, .02)],
    "case": [("box", .10, .32, .90, .84, .06), ("arc", .38, .16, .62, .46), ("-box", .10, .56, .90, .59, 0)],
    "scarf": [("box", .18, .18, .82, .36, .08), ("box", .26, .28, .44, .90, .03), ("box", .56, .28, .74, .74, .03)],
    "hat": [("oval", .06, .58, .94, .80), ("pie", .24, .18, .76, 1.06, 180, 360)],
    "glove": [("box", .30, .40, .70, .90, .09), ("box", .30, .12, .39, .52, .04), ("box", .405, .08, .495, .52, .04), ("box", .51, .10, .60, .52, .04), ("box", .615, .16, .70, .52, .04), ("poly", .32, .62, .12, .44, .18, .38, .36, .50)],
    "sock": [("box", .36, .08, .64, .64, .03), ("poly", .36, .52, .64, .52, .64, .70, .84, .78, .86, .90, .50, .92, .36, .78)],
    "candle": [("box", .36, .38, .64, .90, .03), ("poly", .50, .08, .58, .24, .50, .36, .42, .24)],
    "string light": [("arc", .04, -.30, .96, .46), ("oval", .12, .34, .30, .60), ("oval", .41, .46, .59, .72), ("oval", .70, .34, .88, .60)],
    "shade": [("poly", .34, .16, .66, .16, .88, .74, .12, .74), ("oval", .44, .74, .56, .86)],
    "torch": [("poly", .28, .10, .72, .10, .62, .36, .38, .36), ("box", .40, .34, .60, .92, .04)],
}  # fmt: skip


def draw_pictures(shop: Shop, parameters: BazaarParameters) -> dict[int, bytes]:
    """Returns PNG bytes by item; items without a picture are left out."""
    pictures = {}
    for item in range(len(shop.attributes)):
        seen, rng = pictured(shop, parameters, item)
        if seen is not None:
            pictures[item] = draw(seen, rng, parameters.clutter)
    return pictures


def pictured(shop: Shop, parameters: BazaarParameters, item: int) -> tuple[dict[str, str] | None, np.random.Generator]:
    """Returns the words that an item's picture shows, None without a picture, and the generator that draws the rest."""
    rng = np.random.default_rng([parameters.seed, 5, item])
    if rng.random() < parameters.missing_image:
        return None, rng
    words = attribute_words(shop.attributes[item])
    return {name: word for name, word in words.items() if rng.random() < parameters.image_visibility}, rng


def draw_title(title: str, seed: int = 0) -> bytes:
    """Returns the picture of what a title says and of nothing else: the shop's own text-to-image generator."""
    said = {"kind": KINDS, "colour": COLOURS, "pattern": PATTERNS, "brand": BRANDS}
    words = {
        name: word
        for name, vocabulary in said.items()
        for word in sorted(vocabulary, key=len)  # the longest name that stands in the title wins
        if f" {word} " in f" {title} "
    }
    return draw(words, np.random.default_rng(seed), clutter=0.0)


def draw(words: Mapping[str, str], rng: np.random.Generator, clutter: float) -> bytes:
    """Returns one picture as PNG, 96 x 96; an attribute that is not named is drawn neutrally."""
    picture = _background(rng, clutter)
    shape = _silhouette(words.get("kind"), words.get("style"))
    angle, zoom = rng.normal(0, 3), rng.uniform(0.80, 0.92)
    shape = shape.rotate(angle, Image.Resampling.BICUBIC).resize((round(FULL * zoom),) * 2, Image.Resampling.LANCZOS)
    place = tuple(round((FULL - shape.width) / 2 + rng.normal(0, FULL * 0.012)) for _ in range(2))
    mask = Image.new("L", (FULL, FULL))
    mask.paste(shape, place)
    shadow = ImageChops.offset(mask, SCALE * 2, SCALE * 3).filter(ImageFilter.GaussianBlur(SCALE * 2.5))
    picture.paste((24, 28, 34), mask=shadow.point(lambda value: int(value * 0.35)))
    fill = _fill(words.get("colour"), words.get("pattern"), words.get("material"))
    picture.paste(fill, mask=mask)
    inner = mask.filter(ImageFilter.MinFilter(2 * SCALE - 1))
    edge = ImageChops.subtract(mask, inner)
    picture.paste((30, 34, 40), mask=edge.point(lambda value: int(value * 0.55)))
    _mark(picture, words.get("brand"))
    small = picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "PNG", optimize=False)
    return file.getvalue()


def _background(rng: np.random.Generator, clutter: float) -> Image.Image:
    warm = rng.integers(-6, 7)
    top, low = (
        (np.array([247, 246, 243]) + warm).clip(0, 255),
        (np.array([226, 227, 229]) + warm).clip(0, 255),
    )
    ramp = np.linspace(0, 1, FULL)[:, None, None]
    picture = Image.fromarray(np.broadcast_to(top * (1 - ramp) + low * ramp, (FULL, FULL, 3)).astype(np.uint8))
    strength = clutter * rng.random()
    pen = ImageDraw.Draw(picture, "RGBA")
    for _ in range(int(16 * strength)):
        x, y, size = [*rng.uniform(0, FULL, 2).tolist(), rng.uniform(0.06, 0.26) * FULL]
        colour = (*(int(c) for c in rng.integers(120, 225, 3)), int(70 + 80 * strength))
        box = (x - size, y - size * rng.uniform(0.4, 1), x + size, y + size * rng.uniform(0.4, 1))
        (pen.ellipse if rng.random() < 0.5 else pen.rectangle)(box, fill=colour)
    return picture.filter(ImageFilter.GaussianBlur(SCALE * 1.2)) if strength > 0 else picture


def _silhouette(kind: str | None, style: str | None) -> Image.Image:
    mask = Image.new("L", (FULL, FULL))
    pen = ImageDraw.Draw(mask)
    for form, *numbers in SHAPES.get(kind, [("box", .2, .2, .8, .8, .28)]):  # fmt: skip
        value = 0 if form.startswith("-") else 255
        size = [number * FULL for number in numbers]
        match form.lstrip("-"):
            case "box":
                # Modern things have sharper corners.
                radius = size[4] * (0.25 if style == "modern" else 1.0)
                pen.rounded_rectangle(size[:4], radius, fill=value)
            case "oval":
                pen.ellipse(size, fill=value)
            case "poly":
                pen.polygon(size, fill=value)
            case "ring":
                pen.ellipse(size, outline=value, width=int(0.055 * FULL))
            case "arc":
                pen.arc(size, 180, 360, fill=value, width=int(0.055 * FULL)) if kind != "string light" else pen.arc(
                    size, 0, 180, fill=value, width=int(0.025 * FULL)
                )
            case "pie":
                pen.pieslice(size[:4], numbers[4], numbers[5], fill=value)
    return mask


def _fill(colour: str | None, pattern: str | None, material: str | None) -> Image.Image:
    base = np.array(RGB.get(colour, UNKNOWN), dtype=float)
    light = base.mean() > 150
    accent = base * 0.62 if light else base + (255 - base) * 0.58
    y, x = np.mgrid[0:FULL, 0:FULL] / FULL
    ink = {
        "striped": np.sin(x * 2 * math.pi * 9) > 0.35,
        "dotted": ((x * 8 % 1 - 0.5) ** 2 + (y * 8 % 1 - 0.5) ** 2) < 0.075,
        "checked": ((x * 7).astype(int) + (y * 7).astype(int)) % 2 == 0,
        "wavy": np.sin((y + 0.035 * np.sin(x * 2 * math.pi * 4)) * 2 * math.pi * 8) > 0.4,
        "starred": (np.abs(x * 6 % 1 - 0.5) + np.abs(y * 6 % 1 - 0.5)) < 0.24,
    }.get(pattern, np.zeros_like(x, dtype=bool))
    # Materials differ by their sheen: glossy, matt or grained.
    sheen = {"ceramic": 0.30, "steel": 0.45, "glass": 0.50, "leather": 0.22}.get(material, 0.12)
    grain = {"wood": 0.06, "bamboo": 0.05, "cotton": 0.03, "felt": 0.05}.get(material, 0.0)
    shade = 1 + sheen * (0.5 - x) - 0.10 * y + grain * np.sin(y * 2 * math.pi * (40 if material == "wood" else 70))
    colours = np.where(ink[..., None], accent, base) * shade[..., None]
    return Image.fromarray(colours.clip(0, 255).astype(np.uint8))


def _mark(picture: Image.Image, brand: str | None) -> None:
    """Draws the brand's badge in the lower right corner: one of six forms in one of four colours."""
    if brand is None:
        return
    form, colour = divmod(BRANDS.index(brand), 4)
    ink = ((28, 32, 38), (176, 46, 46), (36, 84, 148), (42, 118, 74))[colour]
    centre, radius = FULL * 0.865, FULL * 0.085
    pen = ImageDraw.Draw(picture)
    outer = (centre - radius * 1.25, centre - radius * 1.25, centre + radius * 1.25, centre + radius * 1.25)
    pen.ellipse(outer, fill=(252, 252, 250), outline=ink, width=SCALE)
    corners = (3, 4, 5, 6, 8, 0)[form]
    if corners == 0:
        pen.ellipse(
            [centre - radius * 0.6, centre - radius * 0.6, centre + radius * 0.6, centre + radius * 0.6],
            fill=ink,
        )
    else:
        pen.regular_polygon((centre, centre, radius * 0.85), corners, fill=ink)
