"""What happened to a column, in words for people."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

FACTORS = {
    **{10.0**k: f"{10.0**k:,.10g}" for k in range(-9, 10) if k},
    60.0: "60 (hours to minutes, or minutes to seconds)",
    1 / 60: "1/60 (seconds to minutes, or minutes to hours)",
    24.0: "24 (days to hours)",
    1 / 24: "1/24 (hours to days)",
    3600.0: "3,600 (hours to seconds)",
    1 / 3600: "1/3,600 (seconds to hours)",
    0.3048: "0.3048 (feet to metres)",
    1 / 0.3048: "3.281 (metres to feet)",
    1.609344: "1.609 (miles to kilometres)",
    1 / 1.609344: "0.6214 (kilometres to miles)",
    0.45359237: "0.4536 (pounds to kilograms)",
    1 / 0.45359237: "2.205 (kilograms to pounds)",
}
LARGE = 10.0  # nothing but a factor moves a column tenfold, so that noise may be allowed
OFF_FACTOR = (0.05, 0.2)  # how far a ratio may be from a small or a large factor, as a share of it
APART = (1.3, 2.0)  # how many times the ratios of the quantiles may differ, for a small or a large factor
QUANTILES = np.linspace(0.1, 0.9, 9)


def describe(column: str, reference: np.ndarray | pd.Series, batch: np.ndarray | pd.Series) -> str:
    """A sentence for people of what seems to have happened to a column.

    Args:
        reference, batch: values of the column: float64, datetime64 or object with None. Not changed.

    >>> prices = np.linspace(50.0, 150.0, 1001)
    >>> describe("price_eur", prices, prices * 100)
    'price_eur looks multiplied by 100 (median 10,000 v. 100)'
    """
    import pandas as pd

    before, after = pd.Series(np.asarray(reference)), pd.Series(np.asarray(batch))
    if not len(before) or not len(after):
        return f"{column} has no rows to compare"
    was, now = float(before.isna().mean()), float(after.isna().mean())
    said = []
    if abs(now - was) > 0.002 + 3.0 * (was * (1.0 - was) * (1.0 / len(before) + 1.0 / len(after))) ** 0.5:
        said.append(f"is null in {_percent(now)} of rows ({_percent(was)} in the reference)")
    before, after = before.dropna(), after.dropna()
    if len(before) and len(after):
        what = _levels(before, after) if before.dtype == object else _numbers(before, after)
        said += [what] if what else []
    return f"{column} {' and '.join(said) or 'differs little from the reference'}"


def _levels(before: pd.Series, after: pd.Series) -> str:
    was, now = before.value_counts(normalize=True), after.value_counts(normalize=True)
    unseen = now[~now.index.isin(was.index)]
    if len(unseen) and unseen.sum() > 0.005:
        examples = ", ".join(repr(str(v)) for v in sorted(unseen.index, key=lambda v: (-unseen[v], str(v)))[:3])
        return f"has {_percent(float(unseen.sum()))} of values never seen (e.g. {examples})"
    change = now.sub(was, fill_value=0.0)
    most = max(change.index, key=lambda v: (round(abs(change[v]), 9), change[v], str(v)))
    pooled = (float(was.get(most, 0.0)) * len(before) + float(now.get(most, 0.0)) * len(after)) / (
        len(before) + len(after)
    )
    if abs(change[most]) <= 3.0 * (pooled * (1.0 - pooled) * (1.0 / len(before) + 1.0 / len(after))) ** 0.5:
        return ""  # no more than chance does
    return f"moved ({str(most)!r} is {_percent(now.get(most, 0.0))} of rows v. {_percent(was.get(most, 0.0))})"


@np.errstate(over="ignore", invalid="ignore")  # sums and differences of huge values
def _numbers(before: pd.Series, after: pd.Series) -> str:
    middle, was = after.median(), before.median()
    figures = f"median {_figure(middle)} v. {_figure(was)}"
    if after.nunique() == 1 and before.nunique() > 1:
        return f"is {_figure(after.iloc[0])} in every row ({before.nunique():,} values in the reference)"
    low, high = np.sort(before.to_numpy()), np.sort(after.to_numpy())
    if not _moved(low, high):
        return ""
    if low.dtype.kind != "f":
        return f"moved ({figures})"
    if (factor := _factor(low, high)) is not None:
        what = "to have its sign turned" if factor == -1.0 else f"multiplied by {FACTORS[factor]}"
        return f"looks {what} ({figures})"
    if (shift := _shift(low, high)) is not None:
        return f"looks shifted by {_figure(shift)} ({figures})"
    if middle == was:
        figures = f"mean {_figure(high.mean())} v. {_figure(low.mean())}"
    return f"moved ({figures})"


def _moved(low: np.ndarray, high: np.ndarray) -> bool:
    """The two-sample Kolmogorov-Smirnov test of sorted values at 1 % (Smirnov 1948): by more than chance does."""
    every = np.concatenate([low, high])
    apart = np.searchsorted(low, every, "right") / len(low) - np.searchsorted(high, every, "right") / len(high)
    return bool(np.abs(apart).max() > 1.63 * (1.0 / len(low) + 1.0 / len(high)) ** 0.5)


def _factor(before: np.ndarray, after: np.ndarray) -> float | None:
    """The well-known factor that turns the one into the other: the same at every quantile of what is not zero."""
    before, after = before[before != 0.0], after[after != 0.0]
    if min(len(before), len(after)) < 20:
        return None
    low, high = np.quantile(before, QUANTILES), np.quantile(after, QUANTILES)
    if _alike(high, low, APART[1]):
        ratio = float(np.median(high / low))
        nearest = min(FACTORS, key=lambda f: abs(np.log(ratio / f)))
        large = max(nearest, 1.0 / nearest) >= LARGE
        if abs(ratio / nearest - 1.0) <= OFF_FACTOR[large] and _alike(high, low, APART[large]):
            return nearest
        return None
    turned = -low[::-1]
    return -1.0 if _alike(high, turned, APART[0]) and abs(np.median(high / turned) - 1.0) <= 2 * OFF_FACTOR[0] else None


def _alike(high: np.ndarray, low: np.ndarray, most: float) -> bool:
    """Whether all ratios are positive and no two are further apart than `most` times."""
    with np.errstate(all="ignore"):
        ratios = high / low
    return bool(np.isfinite(ratios).all() and ratios.min() > 0.0 and ratios.max() <= most * ratios.min())


def _shift(before: np.ndarray, after: np.ndarray) -> float | None:
    """What was added to every value: the same at every quantile, and more than half of the middle half's width."""
    low, high = np.quantile(before, QUANTILES), np.quantile(after, QUANTILES)
    steps, width = high - low, float(np.subtract(*np.quantile(before, [0.75, 0.25])))
    middle = float(np.median(steps))
    like = np.abs(steps - middle).max() <= max(0.1 * width, 0.05 * abs(middle)) and abs(middle) > 0.5 * width
    return middle if like and width > 0.0 and isfinite(middle) else None


def _percent(share: Any) -> str:
    """A share as text; what is not nothing is not shown as nothing, nor what is not all as all.

    >>> _percent(0.5), _percent(0.123), _percent(0.0004), _percent(0.9996)
    ('50 %', '12 %', 'under 0.1 %', 'over 99.9 %')
    """
    percent = round(100.0 * float(share), 9)  # shares that were added up miss 1 by a little
    if 0.0 < percent < 0.1 or 99.9 < percent < 100.0:
        return "under 0.1 %" if percent < 50.0 else "over 99.9 %"
    return f"{percent:.1f} %" if 0.0 < percent < 10.0 or 99.0 <= percent < 100.0 else f"{percent:.0f} %"


def _figure(value: Any) -> str:
    """A number or a time as text.

    >>> _figure(9912.4), _figure(99.14), _figure(np.datetime64("2026-03-01T12:30"))
    ('9,912', '99.1', '2026-03-01')
    """
    import pandas as pd

    if isinstance(value, pd.Timestamp | np.datetime64):
        return str(pd.Timestamp(value).date())
    return f"{value:,.0f}" if 1000.0 <= abs(value) < 1e15 else f"{value:.3g}"
