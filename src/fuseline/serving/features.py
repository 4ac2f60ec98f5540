"""What the fitted steps of a pipeline make of single columns: features, each followed back to where it comes from.

A feature of a text column, and what a one-hot encoder makes of any column, takes one of a few values: a table. A
feature of a number is that number, scaled. `through` takes features through one step of scikit-learn, and raises
`Unknown` for a step, a setting or an attribute that it does not know exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

NAN = math.nan  # a missing number
REFUSED = math.inf  # a value for which some step raises; no later step mends it
SAME = object()  # what is not in a table stays as it is: the text, or the number
MISSING = object()  # as a category: NaN, which is not equal to itself

Test = Callable[[Any], bool]


class Unknown(Exception):
    """Something about the model is not known exactly."""


@dataclass(frozen=True)
class Scale:
    """What a scaler does to one feature: `((x - minus) / over) * times + plus`, then clipped to `low` and `high`."""

    minus: float = 0.0
    over: float = 1.0
    times: float = 1.0
    plus: float = 0.0
    low: float = -math.inf
    high: float = math.inf

    @property
    def clips(self) -> bool:
        """Whether it clips."""
        return (self.low, self.high) != (-math.inf, math.inf)

    def one(self, x: float) -> float:
        """Scale one number; what is not finite stays.

        >>> Scale(minus=10.0, over=2.0).one(13.0)
        1.5
        """
        if x - x != 0.0:
            return x
        return min(max((x - self.minus) / self.over * self.times + self.plus, self.low), self.high)

    def many(self, x: np.ndarray) -> np.ndarray:
        """Scale an array, shape (rows,), in the same way."""
        import numpy as np

        scaled = np.clip((x - self.minus) / self.over * self.times + self.plus, self.low, self.high)
        return np.where(np.isfinite(x), scaled, x)


@dataclass(frozen=True)
class Ramp:
    """A feature that is a number of a column, scaled.

    Attributes:
        source: place of the column in the contract.
        missing: what it is where the number is missing.
        scales: of a number that is there, in their order.
    """

    source: int
    missing: float = NAN
    scales: tuple[Scale, ...] = ()


@dataclass(frozen=True)
class Table:
    """A feature that takes one of a few values by what the column holds.

    Attributes:
        source: place of the column in the contract.
        special: values by what the column holds; the key None is a missing value.
        otherwise: of all else; `SAME` is what the column holds.
    """

    source: int
    special: Mapping[Any, Any]
    otherwise: Any

    @property
    def is_text(self) -> bool:
        """Whether some value is no number."""
        return self.otherwise is SAME or not all(isinstance(v, float) for v in (*self.special.values(), self.otherwise))

    def map(self, made: Callable[[Any], Any], keys: Iterable[Any] = (), otherwise: Any = None) -> Table:
        """A feature that is made of this one: of the values that it passes on, all but `keys` become `otherwise`."""
        special = {key: made(value) for key, value in self.special.items()}
        if self.otherwise is not SAME:
            return Table(self.source, special, made(self.otherwise))
        return Table(self.source, {key: made(key) for key in keys} | special, otherwise)


Feature = Ramp | Table | None  # None is of a datetime column: no step is known for it


@dataclass(frozen=True)
class Block:
    """What a step is given: its columns, and their names where it is given a frame."""

    features: tuple[Feature, ...]
    names: tuple[str, ...] | None = None


def name_of(estimator: Any) -> str:
    """Package and class in scikit-learn, e.g. `pipeline.Pipeline`; empty for anything else, subclasses too."""
    package, _, module = type(estimator).__module__.partition(".")
    return f"{module.partition('.')[0]}.{type(estimator).__qualname__}" if package == "sklearn" else ""


def steps_of(model: Any) -> list[Any]:
    """The steps of a pipeline in their order, those of pipelines in it too; anything else is one step."""
    if _is(model, "passthrough") or model is None:
        return []
    if name_of(model) != "pipeline.Pipeline":
        return [model]
    return [inner for _, step in model.steps for inner in steps_of(step)]


def through(step: Any, block: Block) -> Block:
    """The features behind a transformer. Raises Unknown."""
    if getattr(step, "_sklearn_output_config", {}).get("transform", "default") not in ("default", None):
        raise Unknown  # frames between steps are not followed
    name = name_of(step)
    if name == "compose.ColumnTransformer":
        return _selected(step, block)
    if name == "preprocessing.FunctionTransformer":  # what a ColumnTransformer makes of "passthrough"
        if step.func is not None or step.validate:
            raise Unknown
        return block
    check_names(step, block)
    if name == "impute.SimpleImputer":
        return Block(tuple(_imputed(step, block.features)))
    if name == "preprocessing.OneHotEncoder":
        return Block(tuple(_one_hot(step, block.features)))
    scales = _scales(name, step, len(block.features))
    return Block(tuple(_scaled(f, scale) for f, scale in zip(block.features, scales, strict=True)))


def check_names(step: Any, block: Block) -> None:
    """A step is given what it was fitted on, or Unknown is raised."""
    names = getattr(step, "feature_names_in_", None)
    if (None if names is None else tuple(names)) != block.names or step.n_features_in_ != len(block.features):
        raise Unknown


def _is(step: Any, word: str) -> bool:
    return isinstance(step, str) and step == word


def _selected(step: Any, block: Block) -> Block:
    """A ColumnTransformer selects by name from a frame, by place from an array."""
    named = block.names is not None
    if step.transformer_weights or hasattr(step, "feature_names_in_") != named:
        raise Unknown
    if not named and step.n_features_in_ != len(block.features):
        raise Unknown
    made: list[Feature] = []
    for name, transformer, columns in step.transformers_:
        if isinstance(columns, str) or hasattr(columns, "__index__"):
            raise Unknown  # one column as a series
        places = [int(i) for i in step._transformer_to_input_indices[name]]
        if not places or _is(transformer, "drop"):
            continue
        names = None
        if block.names is not None:
            names = tuple(step.feature_names_in_[places])
            places = [block.names.index(name) for name in names]
        part = Block(tuple(block.features[i] for i in places), names)
        for inner in steps_of(transformer):
            part = through(inner, part)
        made += part.features
    return Block(tuple(made))


# ── imputers ─────────────────────────────────────────────────────────────────────────────────────


def _imputed(step: Any, features: Sequence[Feature]) -> list[Feature]:
    """A SimpleImputer fills, drops columns that it never saw a value of, and adds its indicators at the end."""
    text = isinstance(features[0], Table) and features[0].is_text
    if str(step._fit_dtype) != ("object" if text else "float64"):
        raise Unknown
    is_missing, keys = _missing(step.missing_values, text)
    made: list[Feature] = []
    for feature, fill in zip(features, step.statistics_.tolist(), strict=True):
        if fill == fill:
            made.append(_filled(feature, fill, text, is_missing, keys))
        elif step.keep_empty_features:
            raise Unknown
    if step.add_indicator:
        if step.indicator_.features != "missing-only":
            raise Unknown
        made += [_flag(features[i], is_missing, keys) for i in step.indicator_.features_.tolist()]
    return made


def _missing(value: Any, text: bool) -> tuple[Test, tuple[Any, ...]]:
    """What an imputer takes for missing, and the texts for which that is so: to it None is not NaN."""
    if isinstance(value, float) and math.isnan(value):
        return lambda v: v != v, ()
    if text and (value is None or isinstance(value, str)):
        return lambda v: v == value, (value,)
    raise Unknown


def _filled(feature: Feature, fill: Any, text: bool, is_missing: Test, keys: tuple[Any, ...]) -> Feature:
    if isinstance(feature, Ramp) and not text:
        return replace(feature, missing=float(fill)) if is_missing(feature.missing) else feature
    if not isinstance(feature, Table) or feature.is_text != text or (keys and not isinstance(fill, str)):
        raise Unknown
    value = fill if text else float(fill)
    return feature.map(lambda v: value if is_missing(v) else v, keys, SAME)


def _flag(feature: Feature, is_missing: Test, keys: tuple[Any, ...]) -> Table:
    """1 where a value is missing, else 0."""
    if isinstance(feature, Ramp):
        return Table(feature.source, {None: float(is_missing(feature.missing))}, 0.0)
    if feature is None:
        raise Unknown
    return feature.map(lambda v: float(is_missing(v)), keys, 0.0)


# ── scalers ──────────────────────────────────────────────────────────────────────────────────────


def _scales(name: str, step: Any, count: int) -> list[Scale]:
    """What a scaler does to each of `count` features. Raises Unknown for any other step."""

    def each(array: Any, used: bool, neutral: float) -> list[float]:
        return [float(x) for x in array.tolist()] if used else [neutral] * count

    if name == "preprocessing.StandardScaler":
        minus, over = each(step.mean_, step.with_mean, 0.0), each(step.scale_, step.with_std, 1.0)
        return [Scale(*pair) for pair in zip(minus, over, strict=True)]
    if name == "preprocessing.RobustScaler":
        minus, over = each(step.center_, step.with_centering, 0.0), each(step.scale_, step.with_scaling, 1.0)
        return [Scale(*pair) for pair in zip(minus, over, strict=True)]
    if name == "preprocessing.MinMaxScaler":
        low, high = map(float, step.feature_range if step.clip else (-math.inf, math.inf))
        pairs = zip(each(step.scale_, True, 1.0), each(step.min_, True, 0.0), strict=True)
        return [Scale(times=times, plus=plus, low=low, high=high) for times, plus in pairs]
    if name == "preprocessing.MaxAbsScaler":
        most = 1.0 if getattr(step, "clip", False) else math.inf
        return [Scale(over=over, low=-most, high=most) for over in each(step.scale_, True, 1.0)]
    raise Unknown


def _scaled(feature: Feature, scale: Scale) -> Feature:
    if isinstance(feature, Ramp):
        return Ramp(feature.source, scale.one(feature.missing), (*feature.scales, scale))
    if feature is None or feature.is_text:
        raise Unknown
    return feature.map(scale.one)


# ── one-hot encoding ─────────────────────────────────────────────────────────────────────────────


def _one_hot(step: Any, features: Sequence[Feature]) -> list[Feature]:
    """A OneHotEncoder makes a feature of each category that it keeps."""
    if str(step.dtype) not in ("<class 'numpy.float64'>", "<class 'float'>", "float64"):
        raise Unknown
    drops = step._drop_idx_after_grouping
    made: list[Feature] = []
    for i, feature in enumerate(features):
        grouped = step._default_to_infrequent_mappings[i] if step._infrequent_enabled else None
        count = int(step._n_features_outs[i])
        if feature is None or count < 1:
            raise Unknown
        if isinstance(feature, Ramp):
            if feature.scales:
                raise Unknown
            feature, kinds = Table(feature.source, {None: feature.missing}, SAME), "fiu"
        else:
            kinds = "O" if feature.is_text else "Ofiub"
        if step.categories_[i].dtype.kind not in kinds:
            raise Unknown
        places, unknown = _places(step, step.categories_[i].tolist(), grouped, None if drops is None else drops[i])
        made += _encoded(feature, places, unknown, count)
    return made


def _places(step: Any, categories: list[Any], grouped: Any, drop: int | None) -> tuple[dict[Any, Any], Any]:
    """Category to the place of its feature, None for that of none; and the place of a level that it never saw.

    Args:
        grouped: index of a category to its index where the infrequent ones are one, the last; None without any.
        drop: index that gets no feature.
    """

    def place(index: int) -> int | None:
        if drop is None or index < drop:
            return index
        return None if index == drop else index - 1

    indices = list(range(len(categories))) if grouped is None else grouped.tolist()
    places = {MISSING if c != c else c: place(i) for c, i in zip(categories, indices, strict=True)}
    if step.handle_unknown == "error":
        return places, REFUSED
    if step.handle_unknown not in ("ignore", "infrequent_if_exist", "warn"):
        raise Unknown
    return places, None if grouped is None or step.handle_unknown == "ignore" else place(max(indices))


def _encoded(feature: Table, places: Mapping[Any, Any], unknown: Any, count: int) -> list[Table]:
    """One feature as `count` features: 1 at the place of its value, else 0."""

    def place(value: Any) -> Any:
        return REFUSED if value is REFUSED else places.get(MISSING if value != value else value, unknown)

    found = feature.map(place, [key for key in places if key is not MISSING], unknown)
    special: list[dict[Any, float]] = [{} for _ in range(count)]
    for key, at in found.special.items():
        if at is not None:
            special[0 if at is REFUSED else at][key] = REFUSED if at is REFUSED else 1.0
    tables = [Table(feature.source, values, 0.0) for values in special]
    if found.otherwise is not None:
        at, value = (0, REFUSED) if found.otherwise is REFUSED else (found.otherwise, 1.0)
        tables[at] = Table(feature.source, dict.fromkeys(found.special, 0.0) | special[at], value)
    return tables
