from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "data" / "generate.py"
NULLABLE = {"children", "board", "guest_country", "price_eur", "discount_share", "special_requests"}


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"by_path_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


g: Any = load(SCRIPT)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return g.generate(tmp_path_factory.mktemp("small"), rows=200, days=15, history_days=20)


@pytest.fixture(scope="module")
def many() -> pd.DataFrame:
    world = g.World(3, date(2026, 3, 1), True, g.make_hotels(3))
    frame: pd.DataFrame = next(world.bookings(date(2026, 2, 20), 40_000)).to_pandas()
    return frame


def everything(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_arguments_give_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        g.generate(tmp_path / name, rows=30, days=9, history_days=3, seed=seed)
    a, b, c = (everything(tmp_path / name) for name in "abc")
    assert a == b
    assert a.keys() == c.keys()
    assert {name for name in a if a[name] == c[name]} == {"manifest.json"}


def test_a_batch_does_not_depend_on_the_days_around_it(tmp_path: Path) -> None:
    short = g.generate(tmp_path / "short", rows=50, days=2, history_days=1)
    long = g.generate(tmp_path / "long", rows=50, days=12, history_days=9, label_delay=7)
    for a, b in zip(short.days, long.days, strict=False):
        assert a.batch.read_bytes() == b.batch.read_bytes()
        assert a.labels.read_bytes() == b.labels.read_bytes()


def test_batches_have_the_columns_of_the_history_but_the_target(small: Any) -> None:
    history = pq.read_schema(small.history)
    assert len(small.days) == 15
    assert len(history.names) + len(pq.read_schema(small.hotels).names) - 1 == 27
    for day in small.days:
        schema = pq.read_schema(day.batch)
        assert list(schema) == list(history)[:-1]
        assert history.names[-1] == "status"


def test_the_history_ends_before_the_start_in_the_order_of_time(small: Any) -> None:
    times = pd.read_parquet(small.history)["booked_at"]
    assert len(times) == 20 * 200
    assert times.is_monotonic_increasing
    assert times.min().date() == date(2026, 2, 9)
    assert times.max().date() == date(2026, 2, 28)
    first = pd.read_parquet(small.days[0].batch)["booked_at"]
    assert set(first.dt.date) == {date(2026, 3, 1)}


def test_ids_are_unique_over_the_history_and_all_days(small: Any) -> None:
    files = [small.history, *(day.batch for day in small.days)]
    ids = np.concatenate([pq.read_table(f)["booking_id"].to_numpy() for f in files])
    assert len(np.unique(ids)) == len(ids)


def test_every_booking_has_its_hotel(small: Any) -> None:
    hotels = pd.read_parquet(small.hotels)
    assert hotels["hotel_id"].is_unique
    assert len(hotels) == 40
    assert set(pd.read_parquet(small.history)["hotel_id"]) <= set(hotels["hotel_id"])
    assert {name: int(n) for name, n in hotels.isna().sum().items() if n} == {
        "chain": 10,
        "distance_km": 3,
        "rating": 4,
    }


def test_nulls_come_at_the_rates_that_are_said(many: pd.DataFrame) -> None:
    rates = many.isna().mean()
    assert set(rates[rates > 0].index) == NULLABLE
    for name, rate in g.NULLS.items():
        assert rates[name] == pytest.approx(rate, abs=0.005)


def test_about_a_third_is_cancelled_in_both_markets() -> None:
    world = g.World(3, date(2026, 3, 1), True, g.make_hotels(3))
    for day in (date(2026, 2, 20), date(2026, 3, 12), date(2026, 3, 20)):
        table = next(world.bookings(day, 20_000)).to_pandas()
        assert 0.26 < (table["status"] == "cancelled").mean() < 0.35


def test_a_row_of_nulls_only_keeps_the_type_of_its_column(tmp_path: Path) -> None:
    tiny = g.generate(tmp_path, rows=1, days=60, history_days=1)
    schemas = {str(pq.read_schema(day.batch).remove_metadata()) for day in tiny.days}
    assert len(schemas) == 1
    assert pq.read_schema(tiny.history).field("board").type == pa.string()


def test_labels_hold_each_booking_of_their_day_and_are_due_after_the_delay(small: Any, tmp_path: Path) -> None:
    for day in small.days:
        labels = pd.read_parquet(day.labels)
        assert list(labels) == ["booking_id", "status"]
        assert labels["booking_id"].equals(pd.read_parquet(day.batch, columns=["booking_id"])["booking_id"])
        assert set(labels["status"]) == {"cancelled", "kept"}
        assert (day.labels_due - day.day).days == 3
    assert small.due(date(2026, 3, 5)) == (small.days[1],)
    assert small.due(date(2026, 3, 3)) == ()
    prompt = g.generate(tmp_path, rows=5, days=1, history_days=1, label_delay=0)
    assert prompt.days[0].labels_due == date(2026, 3, 1)


def test_only_the_price_of_day_8_arrives_in_cents_and_the_repaired_file_is_right(small: Any) -> None:
    assert [day.number for day in small.days if day.incident or day.repaired] == [8]
    day = small.days[7]
    arrived, repaired = pq.read_table(day.batch), pq.read_table(day.repaired)
    assert arrived.drop_columns(["price_eur"]).equals(repaired.drop_columns(["price_eur"]))
    cents, euros = (t["price_eur"].to_pandas() for t in (arrived, repaired))
    assert cents.isna().equals(euros.isna())
    assert np.allclose(cents.dropna(), 100 * euros.dropna(), atol=1e-6, rtol=0)
    assert 80 < euros.median() < 160


def test_without_incidents_the_days_before_are_the_same_and_nothing_is_repaired(small: Any, tmp_path: Path) -> None:
    clean = g.generate(tmp_path, rows=200, days=15, history_days=1, incidents=False)
    assert not any(day.incident or day.repaired for day in clean.days)
    assert not (tmp_path / "repaired").exists()
    assert clean.days[7].batch.read_bytes() == small.days[7].repaired.read_bytes()
    same = [a.labels.read_bytes() == b.labels.read_bytes() for a, b in zip(clean.days, small.days, strict=True)]
    assert same == [True] * 9 + [False] * 6


def test_the_change_of_the_market_touches_outcomes_and_no_feature(small: Any, tmp_path: Path) -> None:
    clean = g.generate(tmp_path, rows=200, days=15, history_days=1, incidents=False)
    assert all(
        a.batch.read_bytes() == b.batch.read_bytes() for a, b in zip(clean.days[9:], small.days[9:], strict=True)
    )


def test_the_market_turns_over_four_days() -> None:
    shares = [g.market_share(date(2026, 3, d), date(2026, 3, 1)) for d in range(8, 17)]
    assert shares == pytest.approx([0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1])
    world = g.World(0, date(2026, 3, 1), True, g.make_hotels(0))
    assert world.market(date(2026, 3, 9)) == g.OLD_MARKET
    assert world.market(date(2026, 3, 20)).non_refundable == pytest.approx(g.NEW_MARKET.non_refundable)


def test_mobile_slowly_takes_over_from_web_and_cancels_alike() -> None:
    world = g.World(5, date(2026, 3, 1), True, g.make_hotels(5))
    early = next(world.bookings(date(2025, 12, 1), 40_000)).to_pandas()["channel"].value_counts(normalize=True)
    late = next(world.bookings(date(2026, 3, 20), 40_000)).to_pandas()["channel"].value_counts(normalize=True)
    assert late["mobile"] - early["mobile"] == pytest.approx(109 * g.MOBILE_SHARE_PER_DAY, abs=0.02)
    assert late["mobile"] + late["web"] == pytest.approx(early["mobile"] + early["web"], abs=0.02)
    assert g.LEVEL_EFFECTS["channel"]["mobile"] == g.LEVEL_EFFECTS["channel"]["web"]


def test_summer_costs_more_than_winter() -> None:
    world = g.World(5, date(2026, 3, 1), False, g.make_hotels(5))
    january, july = (next(world.bookings(day, 40_000)).to_pandas() for day in (date(2026, 1, 15), date(2026, 7, 15)))
    assert july["price_eur"].mean() / january["price_eur"].mean() == pytest.approx(1.06 / 0.94, abs=0.02)
    assert july["lead_days"].mean() > january["lead_days"].mean() * 1.15


def test_a_large_day_is_written_in_row_groups_and_a_small_history_is_gathered(tmp_path: Path) -> None:
    written = g.generate(tmp_path, rows=150_000, days=1, history_days=7)
    assert groups(written.days[0].batch) == [65_536, 65_536, 18_928]
    assert groups(written.days[0].labels) == [65_536, 65_536, 18_928]
    assert groups(written.history) == [65_536, 70_000 - 65_536]  # 10,000 a day at most by default


def groups(path: Path) -> list[int]:
    meta = pq.ParquetFile(path).metadata
    return [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]


def test_chunks_of_a_day_follow_each_other_in_time_and_differ() -> None:
    world = g.World(1, date(2026, 3, 1), True, g.make_hotels(1))
    first, second = (t.to_pandas() for t in world.bookings(date(2026, 3, 2), 80_000))
    assert first["booked_at"].max() <= second["booked_at"].min()
    assert second["booked_at"].max().date() == date(2026, 3, 2)
    assert second["booking_id"].iloc[0] == first["booking_id"].iloc[-1] + 1
    assert (first["hotel_id"].head(1000).to_numpy() != second["hotel_id"].head(1000).to_numpy()).mean() > 0.9


def test_days_of_an_earlier_run_are_removed_and_other_files_stay(tmp_path: Path) -> None:
    g.generate(tmp_path, rows=5, days=9, history_days=1)
    mine = tmp_path / "batches" / "mine.parquet"
    mine.write_bytes(b"kept")
    g.generate(tmp_path, rows=5, days=2, history_days=1)
    assert sorted(p.stem for p in (tmp_path / "batches").iterdir()) == ["2026-03-01", "2026-03-02", "mine"]
    assert not list((tmp_path / "repaired").iterdir())
    assert len(list((tmp_path / "labels").iterdir())) == 2


def test_the_manifest_on_disk_says_the_same(small: Any) -> None:
    document = json.loads((small.history.parent / "manifest.json").read_text())
    assert (document["history"], document["hotels"]) == ("history.parquet", "hotels.parquet")
    assert document["days"][7] == {
        "day": "2026-03-08",
        "number": 8,
        "batch": "batches/2026-03-08.parquet",
        "labels": "labels/2026-03-08.parquet",
        "labels_due": "2026-03-11",
        "incident": "price_eur arrives in cents",
        "repaired": "repaired/2026-03-08.parquet",
    }


def test_a_failure_leaves_no_half_written_file(tmp_path: Path) -> None:
    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        g.generate(tmp_path, rows=5, days=1, history_days=2, progress=fail)
    assert [p.name for p in tmp_path.iterdir()] == ["hotels.parquet"]


def test_progress_counts_up_to_all_rows(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    g.generate(tmp_path, rows=10, days=2, history_days=3, history_rows=4, progress=lambda *n: seen.append(n))
    assert seen == [(4, 32), (8, 32), (12, 32), (22, 32), (32, 32)]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"rows": 0}, "--rows must be from 1 to 100,000,000, not 0"),
        ({"days": 0}, "--days must be from 1"),
        ({"history_days": 0}, "--history-days must be from 1"),
        ({"history_rows": -1}, "--history-rows must be from 1"),
        ({"seed": -1}, "--seed must be from 0"),
        ({"label_delay": -1}, "--label-delay must be from 0"),
        ({"start": "1 March"}, "--start must be a day such as 2026-03-01, not '1 March'"),
        ({"start": date(1066, 10, 14)}, "--start must be from 1990 to 2100"),
    ],
)
def test_a_silly_argument_is_named_before_anything_is_written(
    tmp_path: Path, argument: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        g.generate(tmp_path / "out", **argument)
    assert not (tmp_path / "out").exists()


def test_the_command_writes_the_files_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    g.main(["--out", str(tmp_path), "--rows", "5", "--days", "8", "--history-days", "1", "--no-incidents"])
    assert "8 batches from 2026-03-01 on" in capsys.readouterr().out
    assert not (tmp_path / "repaired").exists()


def test_the_command_refuses_with_exit_code_2_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        g.main(["--out", str(tmp_path), "--rows", "-5"])
    assert stopped.value.code == 2
    assert "--rows must be from 1 to 100,000,000, not -5" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    with pytest.raises(SystemExit) as stopped:
        g.main(["--out", str(taken), "--rows", "5", "--days", "1"])
    assert stopped.value.code == 1
    assert f"cannot write to {taken}" in capsys.readouterr().err


def test_it_runs_as_a_script_from_anywhere(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--out", "here", "--rows", "5", "--days", "1", "--history-days", "1"]
    done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=True)
    assert done.stdout == "here/history.parquet, here/hotels.parquet and 1 batches from 2026-03-01 on\n"
    assert done.stderr == ""
    assert (tmp_path / "here" / "batches" / "2026-03-01.parquet").exists()
