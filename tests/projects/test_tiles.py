from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from fuseline.bootstrap import Line
from fuseline.projects import load_module
from fuseline.serving.problem import Problem
from fuseline.serving.scored import Scored
from fuseline.serving.served import Asked, File
from fuseline.serving.target import open_target
from fuseline.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "projects" / "tiles" / "app" / "model.py"


@pytest.fixture(scope="module")
def app() -> Any:
    """The page's model as the server has it."""
    source = open_target(str(APP), Settings())
    source.look()
    assert source.standing.served is not None
    return source.standing.served


@pytest.fixture(scope="module")
def figures(app) -> Any:
    import sys

    return sys.modules["figures"]


@pytest.fixture(scope="module")
def line(played: Any, tmp_path_factory: pytest.TempPathFactory) -> Line:
    """The project trained, and its first day scored."""
    root = tmp_path_factory.mktemp("tiles")
    data = root / "data" / "generated" / "tiles"
    generator: Any = load_module(ROOT / "data" / "tiles.py", "tiles_data")
    generator.generate(data, rows=300, days=1, per_day=60, seed=7)
    return played("tiles", root, data / "batches" / "2026-03-01.parquet")


def test_pairs_of_tiles_are_trained_scored_and_answered_alike(line):
    state = line.ledger.state()
    assert state.champion == "v0001" and [b.status for b in state.batches.values()] == ["published"]
    (key,) = line.predictions.visible(state)
    published = {row["pair_id"]: row["score"] for row in pq.read_table(io.BytesIO(line.store.get(key))).to_pylist()}
    (batch,) = state.batches
    kept = pq.read_table(io.BytesIO(line.store.get(line.batches.input_key(batch, state.batches[batch].file))))
    rows = [{**row, "compared_at": None} for row in kept.to_pylist()]
    served = Scored(line.models.open("v0001"), line.project.config)
    served.warm_up()
    said = json.loads(served.answer(Asked(json.dumps(rows).encode())).body)["predictions"]
    assert [one["score"] for one in said] == pytest.approx([published[row["pair_id"]] for row in rows], abs=1e-12)


def test_the_same_seed_makes_the_same_pairs(tmp_path):
    generator: Any = load_module(ROOT / "data" / "tiles.py", "tiles_data")
    for name in ("one", "other"):
        generator.generate(tmp_path / name, rows=12, days=1, per_day=5, seed=3)
    for file in ("history.parquet", "batches/2026-03-01.parquet", "labels/2026-03-01.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def png(width: int = 120, height: int = 90, kind: str = "PNG", mode: str = "RGB") -> bytes:
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], -1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def ask(app: Any, image: bytes | None, **fields: Any) -> dict[str, Any]:
    form: dict[str, Any] = {name: str(value) for name, value in fields.items()}
    if image is not None:
        form["image"] = File(image, "picture", "image/png")
    found: dict[str, Any] = json.loads(app.answer(Asked(b"", "multipart/form-data", form=form)).body)
    return found["predictions"]


def refusal(app: Any, image: bytes | None, **fields: Any) -> str:
    with pytest.raises(Problem) as caught:
        ask(app, image, **fields)
    assert 400 <= caught.value.status < 500
    return caught.value.detail


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO"])
def test_the_usual_formats_are_read(app, kind):
    found = ask(app, png(64, 48, kind), width=80, height=60, tile_width=20, tile_height=16, seed=1)
    assert found["resized_size"] == [80, 60]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK", "I;16"])
def test_every_mode_of_pixels_is_read(app, mode):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    assert ask(app, png(32, 32, kind, mode), width=32, height=32, tile_width=8, tile_height=8)["accuracy"] <= 1


def test_a_seed_draws_the_same_tiles_again_and_none_draws_others(app):
    picture = png()
    first, again = (ask(app, picture, seed=5) for _ in range(2))
    assert first == again
    assert len({tuple(ask(app, picture)["truth"]) for _ in range(6)}) > 1


def test_tiles_that_coincide_are_alike_in_every_figure(app):
    found = ask(app, png(), width=100, height=80, tile_width=100, tile_height=80, bins=4)
    assert found["overlap_percent"] == 100 and found["overlaps"]
    assert [found[name] for name in ("accuracy", "precision", "recall", "f1", "kappa")] == pytest.approx([1] * 5)
    assert (found["mse"], found["psnr_db"]) == (0, None)
    assert [found["ssim"], found["correlation"]] == pytest.approx([1, 1])
    counts = np.array(found["confusion_matrix"])
    assert counts.sum() == 8000 and np.trace(counts) == 8000


def test_a_picture_of_one_colour_has_no_kappa_and_no_correlation(app):
    buffer = io.BytesIO()
    Image.new("L", (50, 50), 128).save(buffer, "PNG")
    found = ask(app, buffer.getvalue(), width=50, height=50, tile_width=10, tile_height=10)
    assert (found["kappa"], found["correlation"], found["accuracy"]) == (None, None, 1)


BOX = st.tuples(st.integers(0, 40), st.integers(0, 40))


@given(st.tuples(st.integers(1, 30), st.integers(1, 30)), BOX, BOX)
def test_the_overlap_is_the_share_of_pixels_that_both_have(figures, size, one, other):
    masks, boxes = [], []
    for left, top in (one, other):
        box = (left, top, left + size[0], top + size[1])
        mask = np.zeros((80, 80), dtype=bool)
        mask[box[1] : box[3], box[0] : box[2]] = True
        masks.append(mask)
        boxes.append(box)
    shared, found = int((masks[0] & masks[1]).sum()), figures.overlap(*boxes)
    assert found["shared_pixels"] == shared
    assert found["overlap_percent"] == 100 * shared / (size[0] * size[1])
    assert (found["overlap_percent"] == 100) == (one == other) and found["overlaps"] == (shared > 0)
    assert found == figures.overlap(*reversed(boxes))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 8, 256]))
def test_figures_agree_with_their_definitions(figures, seed, bins):
    chance = np.random.default_rng(seed)
    truth, test = chance.integers(0, 256, (2, 12, 10), dtype=np.uint8)
    found = figures.compare(truth, test, bins)
    counts = np.array(found["confusion_matrix"])
    assert found["accuracy"] == pytest.approx(np.trace(counts) / 120)
    agree, rows, columns = np.trace(counts) / 120, counts.sum(1) / 120, counts.sum(0) / 120
    assert found["kappa"] == pytest.approx((agree - rows @ columns) / (1 - rows @ columns))
    assert found["psnr_db"] == pytest.approx(peak_signal_noise_ratio(truth, test, data_range=255))


def header(width: int, height: int) -> bytes:
    """A PNG whose header says a size that its data has not."""
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + body + struct.pack(">I", zlib.crc32(b"IHDR" + body))
    data = zlib.compress(b"\0" * 100)
    pixels = struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    end = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + chunk + pixels + end


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (None, "image is missing"),
        (b"", "no image"),
        (b"%PDF-1.7 not at all", "no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "no image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image"),
        (png()[:150], "cannot be decoded"),
        (header(60_000, 60_000), "pixels"),
        (header(9_000, 9_000), "pixels"),
        (header(200, 200), "cannot be decoded"),
        (header(0, 10), "no image"),
    ],
)
def test_what_is_no_image_or_lies_about_its_size_is_refused(app, image, said):
    assert said in refusal(app, image)


OUTSIDE = {
    "width": ["0", "5000", "\uff11\uff12", "1e2"],
    "height": ["-3"],
    "bins": ["1", "257"],
    "seed": ["x", "9" * 5000],
    "tile_width": ["121"],
    "tile_height": ["3.5"],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in OUTSIDE.items() for value in values])
def test_a_field_that_is_out_of_its_range_is_named(app, field, value):
    said = refusal(app, png(), **{"width": "120", "height": "90", field: value})
    assert field in said and "expected a whole number" in said


def test_json_is_told_to_send_a_form(app):
    with pytest.raises(Problem, match="multipart/form-data"):
        app.answer(Asked(b'{"width": 3}'))
