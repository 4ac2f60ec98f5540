"""Plain FastAPI and pandas, as most people write it: a pydantic model of a record, a frame, predict_proba.

With BENCH_HOOKS, the path of a predict.py, its `preprocess` and `predict` stand between the frame and the answer.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import create_model
from rows import COLUMNS, NUMBERS, TEXTS, frame, model

fields: dict[str, Any] = dict.fromkeys(NUMBERS, (float | None, None)) | dict.fromkeys(TEXTS, (str | None, None))
Record = create_model("Record", **fields)
app = FastAPI()
artifacts = {"model": model()}
hooks: Any = None
if "BENCH_HOOKS" in os.environ:
    spec = importlib.util.spec_from_file_location("hooks", os.environ["BENCH_HOOKS"])
    assert spec is not None and spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)


@app.post("/predict")
async def predict(records: list[Record] | Record) -> dict[str, list[float]]:  # type: ignore[valid-type]
    rows = records if isinstance(records, list) else [records]
    data = frame({name: [getattr(row, name) for row in rows] for name in COLUMNS})
    if hooks is None:
        scores = artifacts["model"].predict_proba(data)[:, 1]
    else:
        scores = hooks.predict(hooks.preprocess(data, artifacts), artifacts)
    return {"predictions": scores.tolist()}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False, loop="uvloop", http="httptools")
