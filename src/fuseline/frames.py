"""Record batches as pandas frames of exactly the types that a model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fuseline.casts import plain

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from fuseline.contract import Contract


def to_frame(rows: pa.RecordBatch | pa.Table, contract: Contract) -> pd.DataFrame:
    """The features as a pandas frame, in the order and the types of training.

    Numbers and booleans are float64 (NaN for null), text is object (str, None for null), datetimes are
    datetime64[ns] (NaT for null). The arrays are the frame's own: writing to it changes nothing else.

    Args:
        rows: accepted rows, as `contract.check` gives them.
        contract: names the features.

    Returns:
        shape (rows, features), with a plain index from 0.
    """
    import pandas as pd

    names = contract.names
    data = {name: _pandas_values(rows.column(rows.schema.get_field_index(name))) for name in names}
    return pd.DataFrame(data, columns=list(names), index=pd.RangeIndex(rows.num_rows), copy=False)


def _pandas_values(column: pa.Array | pa.ChunkedArray) -> Any:
    import numpy as np
    import pyarrow as pa

    array = plain(column)
    if not pa.types.is_dictionary(array.type):
        return np.array(array.to_numpy(zero_copy_only=False))
    levels = np.empty(len(array.dictionary) + 1, dtype=object)
    levels[:-1] = array.dictionary.to_pylist()  # each text is made once and shared by its rows; the last is None
    codes = array.indices if array.null_count == 0 else array.indices.fill_null(len(array.dictionary))
    return levels[codes.to_numpy(zero_copy_only=False)]


def predictions_frame(data: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    """The features and the columns of the predictions side by side, for `metrics(predictions)` of predict.py.

    Args:
        data: the features, shape (rows, features); not changed.
        columns: name to values, shape (rows,); where a feature has the name too, the prediction's column is kept.
    """
    import pandas as pd

    made = pd.DataFrame(dict(columns), index=data.index)
    return pd.concat([data.drop(columns=[c for c in made.columns if c in data.columns]), made], axis=1)


def outcomes_frame(
    ids: tuple[str, Sequence[str]], columns: Mapping[str, Any], outcomes: tuple[str, Any]
) -> pd.DataFrame:
    """Predictions beside what came, for `outcomes(predictions)` of predict.py: the columns as they are published.

    Args:
        ids: name of the id column, and its values.
        columns: name to values, shape (rows,): the scores and what `postprocess` added.
        outcomes: name of the target column, and its values; where a prediction has that name too, the outcome is kept.
    """
    import pandas as pd

    return pd.DataFrame({**columns, ids[0]: ids[1], outcomes[0]: outcomes[1]})
