"""Two tiles of an uploaded picture, compared. This file knows nothing of Fuseline: `fuseline serve` finds its hooks.

fuseline serve projects/tiles/app/model.py --port 8080
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import picture
from figures import WINDOW, compare, overlap
from PIL import Image


@dataclass(frozen=True)
class Wish:
    """What a request asks for; all in pixels but `bins` (grey levels of the confusion matrix) and `seed`."""

    image: Image.Image
    width: int
    height: int
    tile_width: int
    tile_height: int
    bins: int
    seed: int


def warm_up() -> None:
    """Compare once, so that the first visitor does not wait for libraries."""
    tile = np.arange(256, dtype=np.uint8).reshape(16, 16)
    compare(tile, tile, 8)


def preprocess(form: dict[str, Any]) -> Wish:
    """Read the form of the page. Raises ValueError that names the field."""
    if not isinstance(form, dict) or not isinstance(form.get("image"), bytes):
        raise ValueError("image is missing: send a form (multipart/form-data) with a file in the field `image`")
    width, height = number(form, "width", 320, WINDOW, 4096), number(form, "height", 240, WINDOW, 4096)
    chosen = int(np.random.default_rng().integers(2**32))
    return Wish(
        picture.read(form["image"]),
        width,
        height,
        number(form, "tile_width", min(96, width), WINDOW, width),
        number(form, "tile_height", min(96, height), WINDOW, height),
        number(form, "bins", 8, 2, 256),
        number(form, "seed", chosen, 0, 2**32 - 1),
    )


def predict(wish: Wish) -> dict[str, Any]:
    """Draw two rectangles, cut them out, and compare them."""
    resized = wish.image.resize((wish.width, wish.height), Image.Resampling.LANCZOS)
    chance = np.random.default_rng(wish.seed)
    truth, test = rectangle(wish, chance), rectangle(wish, chance)
    grey = picture.grey(resized)
    tiles = [grey[top:bottom, left:right] for left, top, right, bottom in (truth, test)]
    return {
        "seed": wish.seed,
        "original_size": wish.image.size,
        "resized_size": resized.size,
        "truth": truth,
        "test": test,
        **overlap(truth, test),
        **compare(*tiles, wish.bins),
        "pictures": {
            "original": picture.address(wish.image),
            "resized": picture.address(picture.with_boxes(resized, truth, test)),
            "truth": picture.address(resized.crop(truth)),
            "test": picture.address(resized.crop(test)),
        },
    }


def rectangle(wish: Wish, chance: np.random.Generator) -> picture.Box:
    """A place for a tile, each as likely as any other."""
    left = int(chance.integers(wish.width - wish.tile_width + 1))
    top = int(chance.integers(wish.height - wish.tile_height + 1))
    return left, top, left + wish.tile_width, top + wish.tile_height


def number(form: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    """A whole number of the form, or the default where the field is blank."""
    text = str(form.get(name, "")).strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not least <= int(text[:20]) <= most or len(text) > 20:
        raise ValueError(f"{name} is {text[:40]!r}: expected a whole number from {least:,} to {most:,}")
    return int(text)
