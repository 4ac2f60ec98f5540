from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from fuseline.projects import read_project

ROOT = Path(__file__).resolve().parents[2]
START = date(2026, 3, 1)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bookings_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


g: Any = load(ROOT / "data" / "generate.py")
train: Callable[..., dict[str, Any]] = load(ROOT / "projects" / "bookings" / "train.py").train
p: Any = load(ROOT / "projects" / "bookings" / "predict.py")


def rows(day: date, n: int, seed: int = 7) -> tuple[pd.DataFrame, pd.Series]:
    """Features as a project gets them (float64 with NaN, text with None), and the outcomes."""
    hotels = g.make_hotels(seed)
    bookings = next(g.World(seed, START, True, hotels).bookings(day, n)).to_pandas()
    joined = bookings.merge(hotels.to_pandas(), on="hotel_id", how="left", validate="many_to_one")
    data = joined.drop(columns=["booking_id", "booked_at", "hotel_id", "status"])
    for name in data:
        if data[name].dtype == object:
            data[name] = data[name].where(data[name].notna(), None)
        else:
            data[name] = data[name].astype("float64")
    return data, joined["status"]


def score(data: pd.DataFrame, artifacts: dict[str, Any]) -> np.ndarray:
    scores: np.ndarray = p.predict(p.preprocess(data, artifacts), artifacts)
    return scores


def auc(data: pd.DataFrame, status: pd.Series, artifacts: dict[str, Any]) -> float:
    return float(roc_auc_score(status == "cancelled", score(data, artifacts)))


@pytest.fixture(scope="module")
def old() -> dict[str, Any]:
    return train(*rows(date(2026, 2, 20), 9_000))


@pytest.fixture(scope="module")
def usual() -> tuple[pd.DataFrame, pd.Series]:
    return rows(date(2026, 3, 5), 10_000)


def test_the_project_can_be_read_and_names_what_the_data_has() -> None:
    project = read_project(ROOT / "projects", "bookings")
    config = project.config
    assert (config.target, config.positive, config.id, config.time) == (
        "status",
        "cancelled",
        "booking_id",
        "booked_at",
    )
    assert config.sources["hotels"].join == "hotel_id"
    assert config.gate.min == {"auc": 0.70}
    assert config.labels.min_rows == 1500
    assert set(config.business) == {"expected_revenue_eur_per_booking", "share_flagged"}


def test_three_parts_are_fitted_separately(old: dict[str, Any]) -> None:
    assert list(old) == ["imputer", "scaler", "model"]
    assert list(old["model"].classes_) == ["cancelled", "kept"]
    assert np.isfinite(old["scaler"].scale_).all()


def test_a_model_of_the_history_is_good_on_the_days_after(
    old: dict[str, Any], usual: tuple[pd.DataFrame, pd.Series]
) -> None:
    assert 0.79 < auc(*usual, old) < 0.86


def test_the_harmless_drift_does_not_hurt(usual: tuple[pd.DataFrame, pd.Series]) -> None:
    long_ago = train(*rows(date(2025, 12, 5), 9_000))
    assert auc(*usual, long_ago) > auc(*usual, train(*rows(date(2026, 3, 4), 9_000))) - 0.01


def test_a_price_in_cents_does_harm(old: dict[str, Any], usual: tuple[pd.DataFrame, pd.Series]) -> None:
    data, status = usual
    assert auc(data.assign(price_eur=data["price_eur"] * 100), status, old) < auc(data, status, old) - 0.05


def test_the_price_tells_much(old: dict[str, Any], usual: tuple[pd.DataFrame, pd.Series]) -> None:
    data, status = usual
    shuffled = data["price_eur"].sample(frac=1, random_state=0).to_numpy()
    assert auc(data.assign(price_eur=shuffled), status, old) < auc(data, status, old) - 0.04


def test_the_change_of_the_market_costs_more_each_day(old: dict[str, Any]) -> None:
    measured = [auc(*rows(date(2026, 3, day), 8_000), old) for day in (9, 10, 12, 14, 20)]
    before, first, third, fifth, last = measured
    assert before > first > third > fifth
    assert third < before - 0.07
    assert fifth < before - 0.15
    assert 0.55 < last < 0.68


def test_features_alone_look_the_same_in_both_markets(old: dict[str, Any]) -> None:
    before, after = (np.sort(score(rows(date(2026, 3, day), 10_000)[0], old)) for day in (9, 14))
    assert np.abs(before - after).max() < 0.05
    assert np.abs(before - after).mean() < 0.01


@pytest.mark.parametrize(("window", "new"), [(2_400, 800), (9_000, 3_000)])
def test_a_window_with_a_third_of_the_new_market_gives_a_better_model(
    old: dict[str, Any], window: int, new: int
) -> None:
    before, after = rows(date(2026, 2, 24), window - new), rows(date(2026, 3, 15), new)
    data = pd.concat([before[0], after[0]], ignore_index=True)
    challenger = train(data, pd.concat([before[1], after[1]], ignore_index=True))
    later = rows(date(2026, 3, 18), 10_000)
    assert auc(*later, challenger) > auc(*later, old) + 0.05


def test_a_model_of_the_new_market_is_good_there() -> None:
    assert auc(*rows(date(2026, 3, 18), 10_000), train(*rows(date(2026, 3, 16), 9_000))) > 0.75


def test_training_twice_gives_the_same_scores(usual: tuple[pd.DataFrame, pd.Series]) -> None:
    history = rows(date(2026, 2, 20), 2_000)
    a, b = (score(usual[0].head(500), train(*history)) for _ in range(2))
    assert np.array_equal(a, b)


def test_a_batch_gives_what_its_rows_give_one_by_one_in_any_order(
    old: dict[str, Any], usual: tuple[pd.DataFrame, pd.Series]
) -> None:
    data = usual[0].head(60)
    together = score(data, old)
    alone = np.concatenate([score(data.iloc[[i]], old) for i in range(len(data))])
    assert np.allclose(together, alone, rtol=0, atol=1e-12)
    assert np.allclose(score(data.iloc[::-1], old)[::-1], together, rtol=0, atol=1e-12)


def test_neither_training_nor_scoring_changes_what_it_is_given(old: dict[str, Any]) -> None:
    data, status = rows(date(2026, 2, 21), 500)
    copy, outcomes = data.copy(deep=True), status.copy()
    train(data, status)
    p.postprocess(score(data, old), data)
    pd.testing.assert_frame_equal(data, copy)
    pd.testing.assert_series_equal(status, outcomes)


def test_an_unseen_category_and_nulls_everywhere_are_scored(
    old: dict[str, Any], usual: tuple[pd.DataFrame, pd.Series]
) -> None:
    data = usual[0].head(4).copy()
    data.loc[0, "channel"] = "metaverse"
    data.loc[1, data.select_dtypes("number").columns] = np.nan
    data.loc[1, data.select_dtypes(object).columns] = None
    data["chain"] = np.array([None] * 4, dtype=object)
    data["price_eur"] = np.nan
    scores = score(data, old)
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1)).all()


def test_a_column_that_is_null_in_all_of_training_is_survived() -> None:
    data, status = rows(date(2026, 2, 22), 800)
    data["rating"] = np.nan
    data["board"] = np.array([None] * len(data), dtype=object)
    assert np.isfinite(score(data, train(data, status))).all()


def test_people_read_an_action_and_business_reads_means() -> None:
    data = pd.DataFrame({"price_eur": [100.0, 200.0, np.nan], "nights": [2.0, 1.0, 3.0]})
    read = p.postprocess(np.array([0.25, 0.5, 0.123456]), data)
    assert list(read["action"]) == ["confirm", "call_guest", "confirm"]
    assert list(read["cancel_probability"]) == [0.25, 0.5, 0.1235]
    assert read["expected_revenue_eur"].tolist()[:2] == [150.0, 100.0]
    assert np.isnan(read["expected_revenue_eur"][2])
    figures = p.metrics(read)
    assert figures == {"expected_revenue_eur_per_booking": 125.0, "share_flagged": pytest.approx(1 / 3)}
    assert all(type(figure) is float for figure in figures.values())


def test_the_business_figures_of_usual_days_are_within_their_bounds_and_cents_are_not(
    old: dict[str, Any], usual: tuple[pd.DataFrame, pd.Series]
) -> None:
    bounds = read_project(ROOT / "projects", "bookings").config.business

    def outside(data: pd.DataFrame) -> set[str]:
        figures = p.metrics(p.postprocess(score(data, old), data))
        return {name for name, b in bounds.items() if not (b.min or 0.0) <= figures[name] <= (b.max or np.inf)}

    data = usual[0]
    assert outside(data) == set()
    assert not any(outside(data.iloc[i : i + 200]) for i in range(0, 4_000, 200))
    assert outside(data.assign(price_eur=data["price_eur"] * 100)) == set(bounds)
