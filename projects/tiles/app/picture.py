"""An uploaded image as pixels: any format of Pillow, but nothing that is no image, too large, or cut off."""

from __future__ import annotations

import base64
import io
import warnings

import numpy as np
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError

PIXELS = 50_000_000  # of an upload, as its header says, before anything is decoded
SHOWN = 1024  # pixels of the longer side of a picture that is sent back
RUNS_PROGRAMS = {"EPS", "WMF"}  # formats that Pillow reads with the help of other programs

Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels


def read(data: bytes) -> Image.Image:
    """The first frame of an image, upright, RGB; what is transparent is white. Raises ValueError for anything else."""
    Image.init()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is lower
            picture = Image.open(io.BytesIO(data), formats=sorted(set(Image.OPEN) - RUNS_PROGRAMS))
            width, height = picture.size
            if width * height > PIXELS:
                raise ValueError(f"the image has {width:,} by {height:,} pixels: at most {PIXELS:,} are taken")
            picture.load()
    except UnidentifiedImageError as error:
        raise ValueError("the file is no image that can be read: send a PNG, JPEG, GIF, TIFF, WebP or BMP") from error
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"the image cannot be decoded: {error}") from error
    upright = ImageOps.exif_transpose(picture).convert("RGBA")
    white = Image.new("RGBA", upright.size, "white")
    return Image.alpha_composite(white, upright).convert("RGB")


def grey(picture: Image.Image) -> np.ndarray:
    """Grey levels 0 to 255, uint8, shape (height, width)."""
    return np.asarray(picture.convert("L"))


def with_boxes(picture: Image.Image, truth: Box, test: Box) -> Image.Image:
    """A copy on which both rectangles are drawn: truth in green, test in orange."""
    drawn = picture.copy()
    pen = ImageDraw.Draw(drawn)
    thick = max(2, min(picture.size) // 120)
    for (left, top, right, bottom), colour in ((truth, "#1a9850"), (test, "#f46d0e")):
        pen.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=thick)
    return drawn


def address(picture: Image.Image) -> str:
    """The picture as a `data:` address of a PNG, shrunk where it is large."""
    small = picture.copy()
    small.thumbnail((SHOWN, SHOWN))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
