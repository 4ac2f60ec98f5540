from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fuseline.casts import to_kind
from fuseline.frames import to_frame
from fuseline.serving.problem import Problem
from fuseline.serving.scored import EQUAL, Scored
from fuseline.serving.served import Asked, Tensor

FEATURES = ["price", "age", "colour"]


def served(project: Any, version: str = "v0001", **options: Any) -> Scored:
    line = project.line
    made = Scored(line.models.open(version), line.project.config, **options)
    made.warm_up()
    return made


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(rows[FEATURES].to_json(orient="records"))


def ask(model: Scored, body: Any, **query: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(model.answer(Asked(json.dumps(body).encode(), query=query)).body)
    return found


def refusal(model: Scored, body: Any, **query: str) -> Problem:
    with pytest.raises(Problem) as caught:
        ask(model, body, **query)
    return caught.value


HOOKED = """
import numpy as np


def preprocess(data, artifacts):
    return data.assign(price=data["price"].clip(lower=0))


def postprocess(scores, data):
    return {"action": np.where(scores > 0.5, "call", "wait"), "price": data["price"]}
"""


@pytest.fixture
def model(trained) -> Scored:
    trained.recode(HOOKED)
    return served(trained)


@pytest.fixture
def bare(trained) -> Scored:
    """The same model without predict.py: nothing stands between rows and scores."""
    trained.recode("")
    return served(trained)


def in_batch(project: Any, rows: pd.DataFrame) -> np.ndarray:
    """The scores that a batch of these rows gets."""
    project.deliver("day", rows)
    project.infer()
    found = project.published()["day"].set_index("id")["score"]
    return np.asarray(found.loc[rows["id"]])


def test_a_row_gets_the_score_that_it_gets_in_a_batch(trained, rows, model):
    some = rows(60, 5)
    alone = [ask(model, record)["predictions"][0]["score"] for record in records(some)]
    together = [one["score"] for one in ask(model, records(some))["predictions"]]
    wanted = in_batch(trained, some)
    assert np.abs(np.array(alone) - wanted).max() <= EQUAL
    assert np.abs(np.array(together) - wanted).max() <= EQUAL


def test_a_pipeline_without_hooks_is_folded_and_says_the_same(trained, rows, bare):
    assert bare.quick
    some = rows(300, 6)
    scores = [one["score"] for one in ask(bare, records(some))["predictions"]]
    assert np.abs(np.array(scores) - in_batch(trained, some)).max() <= EQUAL


def test_hooks_take_the_general_path(model):
    assert not model.quick


def test_what_postprocess_adds_stands_beside_the_score(model, rows):
    said = ask(model, records(rows(3, 7)))
    assert said["model"] == "tiny" and said["version"] == "v0001" and said["mode"] == "champion"
    assert [one["index"] for one in said["predictions"]] == [0, 1, 2]
    assert list(said["predictions"][0]) == ["index", "score", "action", "price"]


def test_the_order_of_keys_does_not_matter(bare, rows):
    record = records(rows(1, 8))[0]
    turned = dict(reversed(record.items()))
    assert ask(bare, record) == ask(bare, turned)


def test_extra_columns_are_reported_and_not_used(bare, rows):
    record = records(rows(1, 8))[0]
    assert ask(bare, {**record, "shoe_size": 43}) == {**ask(bare, record), "extra": ["shoe_size"]}


def test_columns_of_the_project_that_are_no_features_are_not_extra(bare, rows):
    record = records(rows(1, 8))[0]
    assert ask(bare, {**record, "id": "7", "bought": "yes"}) == ask(bare, record)


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_a_column_that_is_missing_or_blank_is_imputed(bare, rows, blank):
    record = records(rows(1, 9))[0]
    without = {name: value for name, value in record.items() if name != "price"}
    assert ask(bare, {**record, "price": blank}) == ask(bare, without)


def test_an_unknown_category_is_handled_as_in_training(bare, rows):
    record = {**records(rows(1, 9))[0], "colour": "ultraviolet"}
    frame = pd.DataFrame([record])[FEATURES].astype({"price": float, "age": float})
    wanted = bare.model.predictor.scores(frame)[0]
    assert ask(bare, record)["predictions"][0]["score"] == pytest.approx(wanted, abs=EQUAL)


def test_text_that_is_a_number_is_one(bare, rows):
    record = records(rows(1, 9))[0]
    assert ask(bare, {**record, "price": str(record["price"])}) == ask(bare, record)


def test_a_threshold_keeps_the_rows_that_reach_it_with_their_index(bare, rows):
    some = records(rows(50, 10))
    whole = ask(bare, some)["predictions"]
    assert ask(bare, some, threshold="0.6")["predictions"] == [one for one in whole if one["score"] >= 0.6]


def test_the_projects_threshold_is_the_default(trained, rows):
    trained.recode("")
    trained.setting("[serve]\nthreshold = 0.6\n")
    model, some = served(trained), records(rows(50, 10))
    assert ask(model, some) == ask(model, some, threshold="0.6")
    assert len(ask(model, some, threshold="0")["predictions"]) == 50


@pytest.mark.parametrize("text", ["high", "nan", "inf", ""])
def test_a_threshold_that_is_no_number_is_refused(bare, text):
    assert refusal(bare, {"price": 1}, threshold=text).kind == "bad-request"


def test_bad_rows_are_listed_with_index_and_column(bare, rows):
    some = records(rows(3, 11))
    some[1]["price"] = "cheap"
    problem = refusal(bare, some)
    assert (problem.status, problem.kind) == (422, "bad-rows")
    assert [(f.row, f.column, f.reason) for f in problem.rows] == [(1, "price", "price: 'cheap' is no number")]


def test_partial_answers_the_good_rows_and_lists_the_bad(bare, rows):
    some = records(rows(3, 11))
    good = ask(bare, some)["predictions"]
    some[1]["price"] = [1]
    said = ask(bare, some, partial="true")
    assert said["predictions"] == [good[0], good[2]]
    assert [(one["row"], one["column"]) for one in said["rejected"]] == [(1, "price")]


def test_a_row_without_any_column_of_the_model_is_refused_with_a_hint(bare):
    problem = refusal(bare, {"prize": 10})
    assert "did you mean 'price'" in problem.rows[0].reason


def test_a_wrong_media_type_is_refused(bare):
    with pytest.raises(Problem) as caught:
        bare.answer(Asked(b"price=1", "application/x-www-form-urlencoded"))
    assert caught.value.status == 415


NOTHING = """
import pandas as pd


def postprocess(scores, data):
    at = pd.Series([pd.Timestamp("2026-03-01"), pd.NaT, pd.NA], dtype=object)
    return {"at": at.iloc[: len(data)], "seen": pd.to_datetime(["2026-03-01", None, None])[: len(data)]}
"""


def test_what_is_missing_in_a_column_of_postprocess_is_null(trained, rows):
    trained.recode(NOTHING)
    model = Scored(trained.line.models.open("v0001"), trained.line.project.config)
    said = ask(model, records(rows(3, 20)))["predictions"]
    assert [row["at"] for row in said] == ["2026-03-01T00:00:00", None, None]
    assert [row["seen"] for row in said] == ["2026-03-01T00:00:00", None, None]


PICKY = """
def preprocess(data, artifacts):
    if (data["price"] < 0).any():
        raise ZeroDivisionError("a price below 0")
    return data
"""


def test_a_row_that_the_model_fails_on_does_not_cost_the_others_their_answer(trained, rows):
    trained.recode(PICKY)
    model, some = served(trained), records(rows(20, 12))
    some[4]["price"] = -1.0
    assert [fault.row for fault in refusal(model, some).rows] == [4]
    said = ask(model, some, partial="true")
    assert len(said["predictions"]) == 19 and [one["row"] for one in said["rejected"]] == [4]
    assert "a price below 0" in said["rejected"][0]["reason"]


NEEDS = """
def preprocess(data, artifacts):
    if data["age"].isna().any():
        raise ValueError("no age")
    return data
"""


def test_a_column_that_the_model_cannot_do_without_is_found_when_it_is_warmed_up(trained, rows):
    trained.recode(NEEDS)
    model, record = served(trained), records(rows(1, 13))[0]
    assert model.reader.required == {"age"}
    problem = refusal(model, {**record, "age": None})
    assert [(fault.column, fault.row) for fault in problem.rows] == [("age", 0)]


DYING = """
import numpy as np

calls = []

def predict(data, artifacts):
    calls.append(1)
    if len(calls) > 1:
        raise RuntimeError("out of licences")
    return np.zeros(len(data))
"""


def test_a_model_that_has_stopped_working_is_a_failure_of_its_own(trained, rows):
    trained.recode(DYING)
    model = served(trained)
    problem = refusal(model, records(rows(4, 14)))
    assert (problem.status, problem.kind) == (500, "model-failed") and "out of licences" in problem.detail


def test_the_example_can_be_predicted(bare):
    assert ask(bare, bare.example())["predictions"][0]["index"] == 0


def test_named_columns_are_scored_like_records(bare, model, rows):
    some = rows(40, 15)
    tensors = [Tensor("price", some["price"].to_numpy()), Tensor("age", some["age"].to_numpy(float))]
    tensors.append(Tensor("colour", list(some["colour"])))
    for one in (bare, model):
        wanted = [row["score"] for row in ask(one, records(some))["predictions"]]
        outputs = {tensor.name: tensor.values for tensor in one.infer(tensors)}
        assert np.abs(np.asarray(outputs["score"]) - wanted).max() <= EQUAL
        assert [name for name, _ in one.outputs()] == list(outputs)


def test_the_hint_at_partial_stands_where_there_is_such_a_thing(bare):
    assert "?partial=true" in refusal(bare, [{"price": 1}, {"price": "cheap"}]).detail
    with pytest.raises(Problem) as caught:
        bare.infer([Tensor("price", ["1", "cheap"])])
    assert caught.value.kind == "bad-rows" and "partial" not in caught.value.detail


def test_the_frame_of_a_request_is_the_frame_of_a_batch(bare, rows):
    import pyarrow as pa

    some = rows(30, 16)
    table = pa.Table.from_pandas(some[FEATURES], preserve_index=False)
    arrays = [to_kind(table.column(c.name), c.kind)[0] for c in bare.contract.columns]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(bare.contract.names))
    asked = bare.reader.frame(bare.reader.read(json.dumps(records(some)).encode()))
    pd.testing.assert_frame_equal(asked, to_frame(batch, bare.contract))


def test_a_fallback_says_so_in_each_answer(trained, rows):
    model = served(trained, mode="fallback", reason="price in cents")
    said = ask(model, records(rows(1, 17)))
    assert said["mode"] == "fallback" and said["reason"] == "price in cents"


def test_joined_columns_are_looked_up_and_given_ones_come_first(with_shops, rows, sold):
    import pyarrow.parquet as pq

    with_shops.train()
    line = with_shops.line
    table = pq.read_table(with_shops.folder.parent.parent / "data" / "shops.parquet")
    model = Scored(line.models.open("v0001"), line.project.config, [(table, "shop")])
    model.warm_up()
    record = records(rows(1, 18))[0]
    scores = [
        ask(model, {**record, "shop": shop, **more})["predictions"][0]["score"]
        for shop, more in (("a", {}), ("c", {}), ("a", {"discount": 0.1}))
    ]
    assert scores == [0.25, 0.75, 0.1]


def same(answer: Any) -> Any:
    """What a client sees of an answer."""
    return answer.document() if isinstance(answer, Problem) else json.loads(answer.body)


@pytest.mark.parametrize("predict", ["", HOOKED, PICKY])
def test_requests_that_waited_together_are_answered_as_if_each_had_come_alone(trained, rows, predict):
    trained.recode(predict)
    model, some = served(trained), records(rows(9, 19))
    asked = [
        Asked(json.dumps(body).encode(), query=query)
        for body, query in [
            (some[0], {}),
            (some[1:4], {"threshold": "0.5"}),
            ([], {}),
            ([some[4], {"price": "cheap"}], {"partial": "true"}),
            ([some[5], {"price": "cheap"}], {}),
            ({**some[6], "price": -1.0}, {}),
            (some[7:], {}),
        ]
    ]
    alone = []
    for one in asked:
        try:
            alone.append(model.answer(one))
        except Problem as problem:
            alone.append(problem)
    together = model.answer_all(asked)
    assert list(map(type, together)) == list(map(type, alone))
    for mine, theirs in zip(map(same, together), map(same, alone), strict=True):
        scores = [[row.pop("score") for row in one.get("predictions", [])] for one in (mine, theirs)]
        assert scores[0] == pytest.approx(scores[1], abs=EQUAL)
        assert mine == theirs
