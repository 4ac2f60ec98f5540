"""What else could stand where the breaker stands: rules that people use, each asked whether it would halt a batch.

A rule is a measurement of the batch and a limit. Rules that share a measurement share its run. All of them see the
features, as the breaker does; NannyML sees the scores too, since it is made from them. None of them is tuned: limits
are the library's own, or the ones that textbooks give. Evidently and NannyML are in `requirements-peers.txt`; without
them their rules are left out, and `missing` says why.

Where the reference has values in a column and the batch has none, every rule on columns calls the column drifted. For
Evidently this is a choice, as it raises ValueError there: it is not given the column, and the column counts among the
drifted ones. This is what its rule would say if it did not crash, so the rule is compared and not the crash.
"""

from __future__ import annotations

import importlib
import logging
import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

Task = Literal["binary", "multiclass", "regression"]
Cost = Literal["cheap", "slow"]
LIBRARIES = {"Evidently": "evidently.presets", "NannyML": "nannyml"}
QUIET = {"DO_NOT_TRACK": "1", "ITERATIVE_DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}  # telemetry stays off
NULL = "\0"  # the level of nulls
P_VALUE = 0.05
PSI_LIMIT = 0.2
EVIDENTLY_SHARE = 0.5  # its default: with so many drifted columns the data set is drifted
BINS, FLOOR = 10, 1e-4  # of the PSI: quantile bins, and the least share of a bin
RMSE_SCALE = 0.4  # the scenarios' scale: 5 % of RMSE gained weighs as much as 0.02 of AUC lost


class Peer(Protocol):
    """Something that halts batches. A slow one is asked about a sample of the batches only."""

    @property
    def name(self) -> str: ...
    @property
    def cost(self) -> Cost: ...
    @property
    def ms(self) -> float: ...
    def fit(self, reference: pd.DataFrame, target: np.ndarray, scores: np.ndarray, task: Task) -> None: ...
    def halts(self, batch: pd.DataFrame, scores: np.ndarray) -> bool: ...


class Measurement(Protocol):
    """Compares a batch with the reference that it was given: an array of one figure, or of one for each column."""

    def fit(self, reference: pd.DataFrame, target: np.ndarray, scores: np.ndarray, task: Task) -> None: ...
    def of(self, batch: pd.DataFrame, scores: np.ndarray) -> np.ndarray: ...


@dataclass
class Once:
    """A measurement that is made once for several rules: what it was fitted on and the last batch are remembered.

    They are known by identity, so a batch must not be changed in place between two rules.

    Attributes:
        ms: milliseconds that the last measurement took.
    """

    measurement: Measurement
    ms: float = 0.0
    fitted: tuple[object, ...] = ()
    measured: tuple[object, ...] = ()
    figures: np.ndarray = field(default_factory=lambda: np.empty(0))

    def fit(self, reference: pd.DataFrame, target: np.ndarray, scores: np.ndarray, task: Task) -> None:
        if not _same(self.fitted, (reference, target, scores)):
            self.measurement.fit(reference, target, scores, task)
            self.fitted, self.measured = (reference, target, scores), ()

    def of(self, batch: pd.DataFrame, scores: np.ndarray) -> np.ndarray:
        if not _same(self.measured, (batch, scores)):
            began = time.perf_counter()
            self.figures = self.measurement.of(batch, scores)
            self.ms = (time.perf_counter() - began) * 1e3
            self.measured = (batch, scores)
        return self.figures


def _same(known: tuple[object, ...], new: tuple[object, ...]) -> bool:
    return len(known) == len(new) and all(a is b for a, b in zip(known, new, strict=True))


@dataclass
class Rule:
    """A measurement with the limit beyond which a batch is halted."""

    name: str
    cost: Cost
    measurement: Once
    beyond: Callable[[np.ndarray], Any]

    @property
    def ms(self) -> float:
        """Milliseconds that the last batch took, also where another rule had asked for its measurement before."""
        return self.measurement.ms

    def fit(self, reference: pd.DataFrame, target: np.ndarray, scores: np.ndarray, task: Task) -> None:
        self.measurement.fit(reference, target, scores, task)

    def halts(self, batch: pd.DataFrame, scores: np.ndarray) -> bool:
        return bool(self.beyond(self.measurement.of(batch, scores)))


def peers(tolerance: float) -> list[Peer]:
    """The rules whose libraries are there.

    Args:
        tolerance: the loss above which NannyML's estimate halts: AUC lost, or RMSE gained on the scenarios' scale.
    """
    tests, without = Once(ColumnTests()), missing()
    found: list[Peer] = [
        Rule("KS / chi², any p < 0.05", "cheap", tests, lambda p: p.min() < P_VALUE),
        Rule("KS / chi², Bonferroni", "cheap", tests, lambda p: p.min() < P_VALUE / len(p)),
        Rule("PSI, any > 0.2", "cheap", Once(StabilityIndex()), lambda psi: psi.max() > PSI_LIMIT),
    ]
    if "Evidently" not in without:
        drifted = Once(DriftPreset())
        found += [
            Rule("Evidently, half the columns", "slow", drifted, lambda share: share.max() >= EVIDENTLY_SHARE),
            Rule("Evidently, any column", "slow", drifted, lambda share: share.max() > 0.0),
        ]
    if "NannyML" not in without:
        found.append(Rule("NannyML CBPE / DLE", "cheap", Once(EstimatedLoss()), lambda lost: lost.max() > tolerance))
    return found


def missing() -> dict[str, str]:
    """The libraries that cannot be imported here, each with the reason."""
    found = {}
    for name, module in LIBRARIES.items():
        try:
            _library(module)
        except (ImportError, AttributeError) as error:  # the second where it does not fit a newer numpy or pandas
            found[name] = f"{type(error).__name__}: {error}"
    return found


def _library(module: str) -> Any:
    """A module of a library, its telemetry switched off: nothing else here imports one."""
    os.environ.update(QUIET)
    with warnings.catch_warnings(action="ignore"):
        return importlib.import_module(module)


# ── columns one by one ──────────────────────────────────────────────────────────────────────────


class ColumnTests:
    """The p-value of each column: two-sample Kolmogorov-Smirnov for numbers, chi-squared of homogeneity for text.

    Nulls are left out of the first, as is usual, and are a level of the second. Levels that are expected fewer than
    five times in a sample are pooled (Cochran 1954). The first is asymptotic, as exact p-values take seconds here.
    """

    def fit(self, reference: pd.DataFrame, target: np.ndarray, scores: np.ndarray, task: Task) -> None:
        self.reference = {c: _level_counts(v) if _is_text(v) else _known(v) for c, v in reference.items()}

    def of(self, batch: pd.DataFrame, scores: np.ndarray) -> np.ndarray:
        return np.array([_p_value(before, batch[name]) for name, before in self.reference.items()])


def _p_value(before: np.ndarray | pd.Series, column: pd.Series) -> float:
    from scipy.stats import chi2_contingency, ks_2samp

    if isinstance(before, pd.Series):
        table = _pooled(before, _level_counts(column))
        return float(chi2_contingency(table).pvalue) if table.shape[1] > 1 else 1.0
    after = _known(column)
    if not len(before) or not len(after):
        return 0.0 if len(before) else 1.0
    return float(ks_2samp(before, after, method="asymp").pvalue)


def _pooled(before: pd.Series, after: pd.Series, least: float = 5.0) -> np.ndarray:
    """Counts of both samples, shape (2, levels), with the rare levels in one column."""
    table = pd.concat([before, after], axis=1).fillna(0.0).to_numpy(dtype=np.float64).T
    expected = table.sum(axis=0) * (table.sum(axis=1) / table.sum()).min()
    rare = expected < least
    pooled = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    return pooled[:, pooled.sum(axis=0) > 0]


def _is_text(column: pd.Series) -> bool:
    return column.dtype == object


def _known(column: pd.Series) -> np.ndarray:
    return column.dropna().to_numpy()


def _level_counts(column: pd.Series) -> pd.Series:
    return column.where(column.notna(), NULL).value_counts()


class StabilityIndex:
    """The population stability index of each column: the sum over bins of (b - r) ln(b / r), r and b their shares.

    Numbers are in deciles of the reference, open at both ends; text, and numbers of at most ten values, are in a bin
    for each value. Nulls and values that the reference does not have are two bins more. No share is under 1e-4.
    """

    def fit(self, reference: pd.DataFrame, target: np.ndarray, scores: np.ndarray, task: Task) -> None:
        self.bins = {str(c): _bins_of(v) for c, v in reference.items()}
        self.reference = {name: bins(reference[name]) for name, bins in self.bins.items()}

    def of(self, batch: pd.DataFrame, scores: np.ndarray) -> np.ndarray:
        return np.array([_psi(self.reference[name], bins(batch[name])) for name, bins in self.bins.items()])


def _psi(before: np.ndarray, after: np.ndarray) -> float:
    before, after = np.maximum(before, FLOOR), np.maximum(after, FLOOR)
    return float(np.sum((after - before) * np.log(after / before)))


def _bins_of(column: pd.Series) -> Callable[[pd.Series], np.ndarray]:
    """A function that gives the shares of a column's rows in the bins of this one."""
    levels = pd.Index(column.dropna().unique())
    if _is_text(column) or len(levels) <= BINS:
        return lambda values: _shares(levels.get_indexer(pd.Index(values)), values, len(levels))
    edges = np.unique(np.quantile(_known(column), np.arange(1, BINS) / BINS))
    return lambda values: _shares(np.searchsorted(edges, values.to_numpy()), values, len(edges) + 1)


def _shares(place: np.ndarray, values: pd.Series, bins: int) -> np.ndarray:
    """Shares of so many bins, of unseen values (place -1) and of nulls, shape (bins + 2,)."""
    place = np.where(values.isna(), bins + 1, np.where(place < 0, bins, place))
    counts: np.ndarray = np.bincount(place, minlength=bins + 2)
    return counts / max(len(values), 1)


# ── libraries ───────────────────────────────────────────────────────────────────────────────────


class DriftPreset:
    """The share of columns that Evidently's DataDriftPreset calls drifted, by the methods and limits that it chooses.

    It is told which columns are numbers and which are text, and is not given the ones without any value.
    """

    def fit(self, reference: pd.DataFrame, target: np.ndarray, scores: np.ndarray, task: Task) -> None:
        self.reference = reference.loc[:, reference.notna().any()]

    def of(self, batch: pd.DataFrame, scores: np.ndarray) -> np.ndarray:
        columns = list(self.reference.columns)
        given = [c for c in columns if batch[c].notna().any()]
        drifted = len(columns) - len(given) + (self._drifted(batch[given]) if given else 0.0)
        return np.array([drifted / len(columns)])

    def _drifted(self, batch: pd.DataFrame) -> float:
        evidently, presets = _library("evidently"), _library("evidently.presets")
        reference = self.reference[list(batch.columns)]
        text = [c for c in reference if _is_text(reference[c])]
        kinds = evidently.DataDefinition(
            numerical_columns=[c for c in reference if c not in text], categorical_columns=text
        )
        before, after = (evidently.Dataset.from_pandas(frame, kinds) for frame in (reference, batch))
        with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
            made = evidently.Report([presets.DataDriftPreset(drift_share=EVIDENTLY_SHARE)]).run(after, before)
        counts = [m["value"] for m in made.dict()["metrics"] if isinstance(m["value"], Mapping)]
        return float(counts[0]["count"])


class EstimatedLoss:
    """What NannyML estimates that the model loses: of AUC by CBPE, of RMSE by DLE where the task is a regression.

    The batch is one chunk. The estimate for the batch is held against the estimate for the reference, so that a bias
    of the estimator cancels out, and the tolerance takes the place of NannyML's own limits, which need many chunks.
    CBPE is given the model's probabilities and calibrates them further where it finds that this helps. Where there is
    no estimate, nothing is lost, as NannyML gives no alert there.
    """

    def fit(self, reference: pd.DataFrame, target: np.ndarray, scores: np.ndarray, task: Task) -> None:
        logging.getLogger("nannyml").setLevel(logging.CRITICAL)
        self.task, self.kinds = task, np.unique(target).astype(str)
        frame = self._frame(reference, scores)
        if task == "binary":
            frame["truth"] = (target.astype(str) == self.kinds[-1]).astype(int)
        else:
            frame["truth"] = target.astype(str) if task == "multiclass" else target
        self.estimator = self._estimator(list(frame.columns[:-1]))
        with warnings.catch_warnings(action="ignore"):
            self.estimator.fit(frame)
        self.before = self._estimate(frame)

    def of(self, batch: pd.DataFrame, scores: np.ndarray) -> np.ndarray:
        after = self._estimate(self._frame(batch, scores))
        lost = (after / self.before - 1.0) * RMSE_SCALE if self.task == "regression" else self.before - after
        return np.array([0.0 if np.isnan(lost) else lost])

    def _frame(self, features: pd.DataFrame, scores: np.ndarray) -> pd.DataFrame:
        """What the estimator is given, under names of our own: features are needed for a regression only."""
        if self.task == "binary":
            return pd.DataFrame({"score": scores})
        if self.task == "multiclass":
            chances = {f"score{i}": scores[:, i] for i in range(len(self.kinds))}
            return pd.DataFrame({**chances, "guess": self.kinds[scores.argmax(axis=1)]})
        frame = features.set_axis([f"x{i}" for i in range(features.shape[1])], axis=1).reset_index(drop=True)
        return frame.assign(score=scores)

    def _estimator(self, columns: list[str]) -> Any:
        nannyml = _library("nannyml")
        common = {"y_true": "truth", "chunk_number": 1}
        if self.task == "regression":
            quiet = {"verbosity": -1}
            return nannyml.DLE(columns[:-1], "score", metrics=["rmse"], hyperparameters=quiet, **common)
        common |= {"problem_type": f"classification_{self.task}", "metrics": ["roc_auc"]}
        if self.task == "binary":
            return nannyml.CBPE(y_pred_proba="score", **common)
        chances = dict(zip(self.kinds.tolist(), columns, strict=False))
        return nannyml.CBPE(y_pred_proba=chances, y_pred="guess", **common)

    def _estimate(self, frame: pd.DataFrame) -> float:
        with warnings.catch_warnings(action="ignore"):
            made = self.estimator.estimate(frame.drop(columns="truth", errors="ignore")).filter(period="analysis")
        return float(made.data[("rmse" if self.task == "regression" else "roc_auc", "value")].iloc[0])
