"""Made-up pairs of tiles, for the project `tiles`: do two tiles of a picture overlap, judged by their figures alone?

Each row compares two tiles of a made-up picture, as the page of the project does with an uploaded one. The same
arguments give the same bytes.

    python data/tiles.py --out data/generated/tiles --rows 1500 --days 4 --per-day 200 --seed 7
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "projects" / "tiles" / "app"))
from figures import compare, overlap  # of the project: rows are measured as the page measures

START = datetime(2026, 3, 1, tzinfo=UTC)
SIDE, TILE = 96, 32  # pixels of a picture and of a tile
FIGURES = ("accuracy", "precision", "recall", "f1", "kappa", "mse", "psnr_db", "ssim", "correlation")


def picture(chance: np.random.Generator) -> np.ndarray:
    """Grey levels of a landscape of hills and grain, uint8, shape (96, 96)."""
    coarse = Image.fromarray(chance.integers(0, 256, (chance.integers(3, 9),) * 2, dtype=np.uint8))
    hills = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float64)
    grain = chance.normal(0, chance.uniform(1, 12), (SIDE, SIDE))
    return np.clip(hills + grain, 0, 255).astype(np.uint8)


def pair(chance: np.random.Generator) -> dict[str, object]:
    """The figures of two tiles, and whether they overlap; every second pair is drawn near each other."""
    grey = picture(chance)
    left, top = chance.integers(0, SIDE - TILE + 1, 2)
    if chance.random() < 0.5:
        near = np.array([left, top]) + chance.integers(-TILE // 2, TILE // 2 + 1, 2)
        right, low = np.clip(near, 0, SIDE - TILE)
    else:
        right, low = chance.integers(0, SIDE - TILE + 1, 2)
    bins = int(chance.choice([4, 8, 16]))
    tiles = [grey[y : y + TILE, x : x + TILE] for x, y in ((left, top), (right, low))]
    found = compare(*tiles, bins)
    shared = overlap((left, top, left + TILE, top + TILE), (right, low, right + TILE, low + TILE))
    row: dict[str, object] = {"bins": bins, **{name: found[name] for name in FIGURES}}
    return {**row, "overlaps": "yes" if shared["overlaps"] else "no"}


def table(rows: int, seed: int, first: datetime, step: timedelta, name: str) -> pa.Table:
    """So many pairs, labelled, one every `step` from `first` on."""
    chance = np.random.default_rng(seed)
    pairs = [pair(chance) for _ in range(rows)]
    ids = pa.array([f"{name}-{i:05d}" for i in range(rows)])
    times = pa.array([first + i * step for i in range(rows)], pa.timestamp("us", "UTC"))
    columns = {key: [one[key] for one in pairs] for key in pairs[0]}
    return pa.table({"pair_id": ids, "compared_at": times, **columns})


def generate(out: Path, *, rows: int, days: int, per_day: int, seed: int) -> None:
    """Write batches and labels, and the history last: where it is, all of it is whole."""
    for folder in ("batches", "labels"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for day in range(days):
        at = START + timedelta(days=day)
        made = table(per_day, seed + 1 + day, at, timedelta(days=1) / per_day, f"{at:%Y%m%d}")
        pq.write_table(made.drop_columns(["overlaps"]), out / "batches" / f"{at:%Y-%m-%d}.parquet")
        pq.write_table(made.select(["pair_id", "overlaps"]), out / "labels" / f"{at:%Y-%m-%d}.parquet")
    history = table(rows, seed, START - timedelta(days=30), timedelta(days=30) / rows, "past")
    pq.write_table(history, out / "history.parquet.part")
    (out / "history.parquet.part").replace(out / "history.parquet")


def main() -> None:
    """Read the arguments, and say what was made."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("data/generated/tiles"))
    parser.add_argument("--rows", type=int, default=1500, help="labelled rows of the history")
    parser.add_argument("--days", type=int, default=4, help="batches after it")
    parser.add_argument("--per-day", type=int, default=200, help="rows of a batch")
    parser.add_argument("--seed", type=int, default=7)
    wanted = vars(parser.parse_args())
    generate(**wanted)
    said = f"{wanted['rows']:,} rows of history and {wanted['days']} batches of {wanted['per_day']}"
    print(f"{said} are in {wanted['out']}")


if __name__ == "__main__":
    main()
