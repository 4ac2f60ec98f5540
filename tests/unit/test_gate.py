"""What the promotion gate lets through, and what it says where it does not."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from fuseline.gate import decide


@dataclass(frozen=True)
class Bounds:
    min: dict[str, float] = field(default_factory=dict)
    max: dict[str, float] = field(default_factory=dict)
    margin: float = 0.0


def test_without_bounds_or_champion_a_version_that_works_is_promoted() -> None:
    decision = decide("binary", {"auc": 0.6}, Bounds())
    assert decision.promote
    assert decision.reasons == decision.checks == ()


def test_bounds_hold_and_say_why() -> None:
    bounds = Bounds(min={"auc": 0.75}, max={"log_loss": 0.5})
    decision = decide("binary", {"auc": 0.7132, "log_loss": 0.61}, bounds)
    assert not decision.promote
    assert decision.reasons == ("AUC 0.713 is under the gate's 0.75", "log_loss 0.61 is over the gate's 0.5")
    assert [c.fired for c in decision.checks] == [True, True]


def test_a_figure_on_its_bound_passes() -> None:
    decision = decide("regression", {"rmse": 900.0, "r2": 0.5}, Bounds(min={"r2": 0.5}, max={"rmse": 900.0}))
    assert decision.promote
    assert [c.fired for c in decision.checks] == [False, False]


def test_a_figure_just_under_its_bound_is_not_shown_as_equal() -> None:
    decision = decide("binary", {"auc": 0.74996}, Bounds(min={"auc": 0.75}))
    assert decision.reasons == ("AUC 0.74996 is under the gate's 0.75",)


def test_a_bound_on_an_unknown_metric_holds() -> None:
    decision = decide("binary", {"auc": 0.8}, Bounds(min={"acu": 0.7}))
    assert decision.reasons == ("the gate bounds 'acu', which is not measured; known are auc",)


def test_a_metric_that_is_no_number_holds() -> None:
    assert not decide("binary", {"auc": float("nan")}, Bounds(min={"auc": 0.7})).promote
    assert not decide("binary", {"auc": 0.8}, Bounds(), paired=(float("nan"), 0.01)).promote


@pytest.mark.parametrize(
    ("paired", "margin", "promote"),
    [
        ((0.01, 0.005), 0.0, True),  # better
        ((-0.01, 0.005), 0.0, False),  # worse, by two errors
        ((-0.005, 0.005), 0.0, True),  # worse, by no more than chance
        ((-0.01, 0.005), 0.02, True),  # worse, by less than the margin
        ((-0.03, 0.005), 0.02, False),
        ((0.0, 0.0), 0.0, True),  # the same model
    ],
)
def test_the_champion_holds_back_what_is_worse(paired: tuple[float, float], margin: float, promote: bool) -> None:
    decision = decide("binary", {"auc": 0.8}, Bounds(margin=margin), paired)
    assert decision.promote is promote
    assert decision.checks[-1].fired is not promote


def test_the_reason_says_how_much_worse_in_the_metrics_own_unit() -> None:
    assert decide("multiclass", {}, Bounds(), (-0.05, 0.01)).reasons == (
        "its AUC is 0.050 ± 0.010 below the champion's on the same rows",
    )
    assert decide("regression", {}, Bounds(margin=0.01), (-0.1, 0.02)).reasons == (
        "its RMSE is 10.0% ± 2.0% above the champion's on the same rows; the gate allows 0.01",
    )


def test_a_version_that_does_not_load_is_held_whatever_its_metric() -> None:
    decision = decide("binary", {"auc": 0.99}, Bounds(), (0.1, 0.01), fault="its golden rows score differently")
    assert decision.reasons == ("it does not work in a clean process: its golden rows score differently",)
