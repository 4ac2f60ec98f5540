from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from fuseline import records as r
from fuseline.figures import ProjectFacts, cost_said, fit_said


def test_the_charts_show_the_metric_its_reference_and_its_limit(lore: Any, made: dict[str, str]) -> None:
    part = lore.section(made["index.html"], "charts")
    assert part.count('class="dot" cx') == 17
    assert part.count('class="reference" x1') == 2  # a step for each of two champions
    assert part.count('class="limit" x1') == 3  # likewise, and the one of harm
    assert "2026-02-11: 0.905 ± 0.011 on 900 labelled rows" in part


def test_without_labels_the_chart_says_how_to_bring_them(lore: Any) -> None:
    s = lore.Story()
    s.train("v0001", 0.912)
    s.champion("v0001", None)
    s.publish("2026-02-11", "v0001", lore.PASS)
    assert "labels/bookings/" in lore.section(s.pages()["index.html"], "charts")


def test_the_limit_of_a_regression_is_above_its_reference(lore: Any) -> None:
    s = lore.Story()
    s.say(r.Registered("v0001", "d" * 64, {"rmse": 100.0, "se": 2.0}))
    s.champion("v0001", None)
    batch = s.publish("2026-02-11", "v0001", lore.PASS)
    s.labels([batch], "v0001", 110.0)
    made = s.pages(ProjectFacts("cost", "rmse", 0.05, 24.0))
    part = lore.section(made["index.html"], "charts")
    levels = {
        k: float(y) for k, y in re.findall(r'class="(reference|limit)" x1="0%" x2="100%" y1="([\d.]+)"', part)[:2]
    }
    assert levels["limit"] < levels["reference"]  # pixels count from the top
    assert "share of RMSE gained" in made["index.html"]
    assert "share of RMSE gained" in made[f"batches/{batch}.html"]


def test_the_cost_of_a_world_is_in_the_metric_of_the_version(lore: Any) -> None:
    halt = replace(lore.HALT, worlds=lore.WORLDS)
    assert "RMSE 18.3 % higher" in lore.words(lore.page_of(halt, ProjectFacts("cost", "rmse", 0.05, 24.0)))
    assert "AUC 0.183 lost" in lore.words(lore.page_of(halt, None))
    assert (cost_said(0.1834, None), cost_said(-0.02, "rmse")) == ("metric 0.183 lost", "RMSE 2.0 % lower")
    assert fit_said(3.0, 0.0) == "—"
