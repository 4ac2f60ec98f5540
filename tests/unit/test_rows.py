from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseline import records
from fuseline.batches import identify
from fuseline.contract import learn
from fuseline.errors import ContractBroken, DataError, SettingsError
from fuseline.projects import Config
from fuseline.records import Assessment, Event, Published, Quarantined, Registered, Replayed, Started, Withdrawn
from fuseline.rows import (
    Labelled,
    Pinned,
    assemble,
    classes_of,
    labels_of,
    pin,
    positive_of,
    reference_table,
    scores_of,
    task_of,
)
from fuseline.storage import Store

if TYPE_CHECKING:
    from conftest import Tiny
    from fuseline.records import Task

# A change of these numbers would show held-out rows to training: the split of every version would be another one.
HASHES = [17321639128606363880, 762779378240958605, 2251281943349902955]
PLAIN = """
target = "y"
[sources.history]
path = "data/plain.parquet"
"""  # a project whose rows have no id


def pinned(tiny: Tiny) -> Pinned:
    line = tiny.line
    return pin(line.project, tiny.store, line.batches, line.ledger.state())


def read(tiny: Tiny) -> Labelled:
    return assemble(tiny.line.project, tiny.store, pinned(tiny))


def history(tiny: Tiny, rows: pd.DataFrame, name: str = "history") -> None:
    rows.to_parquet(tiny.folder.parent.parent / "data" / f"{name}.parquet", index=False)


def ids(labelled: Labelled) -> list[str]:
    return labelled.table.column(labelled.contract.id or "").cast("string").to_pylist()


class Scored:
    """A project whose batches were scored elsewhere: writes the entries and the labels that pinning looks at."""

    def __init__(self, tiny: Tiny) -> None:
        self.tiny, self.count = tiny, 0
        self.write(Registered("v0001", "", {}))

    def write(self, *events: Event) -> None:
        for event in events:
            self.tiny.line.ledger.append(lambda state, event=event: event)

    def batch(self, name: str, rows: pd.DataFrame, sources: dict[str, str] | None = None) -> str:
        """A published batch of these rows, without the target."""
        data = rows.drop(columns="bought", errors="ignore").to_parquet(index=False)
        batch, _ = identify(f"{name}.parquet", f"{self.count:012d}")
        self.count += 1
        batches = self.tiny.line.batches
        self.tiny.store.put(batches.input_key(batch, f"{name}.parquet"), data)
        at, file = self.tiny.clock(), f"{name}.parquet"
        self.write(
            Started(batch, name, file, "", "v0001", "champion", at, len(rows), sources or {}),
            Published(batch, "a1", "v0001", "champion", len(rows), 0, at, "", Assessment("pass")),
        )
        return batch

    def labels(self, file: str, batch: str, known: dict[str, Any]) -> None:
        """Outcomes of a batch, joined and recorded as feedback does."""
        buffer = io.BytesIO()
        pd.DataFrame({"id": list(known), "label": list(known.values()), "batch": batch}).to_parquet(buffer)
        self.tiny.store.put(f"tiny/feedback/{file}.parquet", buffer.getvalue())
        measured = records.BatchMeasured(batch, "v0001", len(known), None, None)
        self.write(records.Labelled({file: file}, (measured,), 0, "v0001", None, None, None, "pass"))


def outcomes(rows: pd.DataFrame) -> dict[str, str]:
    return dict(zip(rows["id"], rows["bought"], strict=True))


# ── what the labels look like ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["yes", "no", "no"], "binary"),
        ([True, False], "binary"),
        ([0, 1, 1], "binary"),
        ([0.0, 1.0], "binary"),
        ([1, 1], "binary"),
        ([0.5, 1.5], "regression"),
        ([0.5, 0.5], "regression"),
        (["a", "b", "c"], "multiclass"),
        ([1, 2, 3], "multiclass"),
        ([1.0, 2.0, 3.0], "multiclass"),
        (list(range(20)), "multiclass"),
        (list(range(21)), "regression"),
        ([float(i) for i in range(21)], "regression"),
        ([str(i) for i in range(30)], "multiclass"),
    ],
)
def test_the_task_is_found_from_the_labels(values: list[Any], task: Task) -> None:
    assert task_of(pa.array(values), None) == task


def test_a_task_that_is_set_is_taken() -> None:
    assert task_of(pa.array([1, 2, 3]), "regression") == "regression"


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["no", "yes", "no"], "binary", ("no", "yes")),
        (["b", "a", "c"], "multiclass", ("a", "b", "c")),
        ([10, 2, 2], "binary", ("2", "10")),
        ([True, False], "binary", ("False", "True")),
        ([1.0, 0.0], "binary", ("0.0", "1.0")),
        ([0.5, 1.5], "regression", ()),
    ],
)
def test_classes_are_text_in_the_order_of_their_values(values: list[Any], task: Task, classes: tuple[str, ...]) -> None:
    assert classes_of(pa.array(values), task) == classes


def test_the_classes_are_in_the_order_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    labels = [10, 2, 33, 2, 10, 33]
    model = LogisticRegression().fit(np.arange(6.0).reshape(-1, 1), labels)
    assert classes_of(pa.array(labels), "multiclass") == tuple(str(c) for c in model.classes_)


def test_the_positive_class_is_the_last_unless_it_is_set() -> None:
    assert positive_of(Config("y"), "binary", ("a", "b")) == "b"
    assert positive_of(Config("y", positive="a"), "binary", ("a", "b")) == "a"
    assert positive_of(Config("y", positive="a"), "multiclass", ("a", "b", "c")) == ""
    assert positive_of(Config("y"), "regression", ()) == ""


def test_a_positive_class_that_is_no_value_of_the_target_is_named() -> None:
    with pytest.raises(SettingsError, match=r"positive = 'yse' in project.toml is not a value of 'y': no, yes"):
        positive_of(Config("y", positive="yse"), "binary", ("no", "yes"))


@pytest.mark.parametrize("classes", [("a",), ("a", "b", "c")])
def test_a_binary_task_has_two_classes(classes: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=rf"the target 'y' has {len(classes)} classes: {', '.join(classes)}"):
        positive_of(Config("y"), "binary", classes)


@pytest.mark.parametrize("scores", [np.array([0.1, 0.2]), np.array([[0.1, 0.9, 0.0], [0.3, 0.3, 0.4]])])
def test_a_reference_gives_labels_and_scores_back(scores: np.ndarray) -> None:
    table = reference_table(pa.table({"x": [1.0, 2.0]}), pa.array(["a", "b"]), scores)
    assert table.column("x").to_pylist() == [1.0, 2.0]
    assert labels_of(table).tolist() == ["a", "b"]
    assert np.array_equal(scores_of(table), scores)


# ── the history ──────────────────────────────────────────────────────────────────────────────────


def test_the_history_is_read_with_its_labels_apart(tiny: Tiny) -> None:
    found = read(tiny)
    assert found.table.num_rows == len(found.label) == 1200
    assert found.contract.names == ("price", "age", "colour")
    assert "bought" not in found.table.column_names
    assert ids(found)[:2] == ["1-0", "1-1"]
    assert found.unlabelled == 0


def test_the_same_pin_gives_the_same_rows(tiny: Tiny) -> None:
    plan = pinned(tiny)
    one, two = (assemble(tiny.line.project, tiny.store, plan) for _ in range(2))
    assert one.table.equals(two.table) and one.label.equals(two.label)
    assert np.array_equal(one.held_out, two.held_out)


def test_a_history_that_changed_while_training_is_refused(tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]) -> None:
    plan = pinned(tiny)
    history(tiny, rows(100, 2))
    with pytest.raises(DataError, match=r"history.parquet changed while a version was trained on it: run the training"):
        assemble(tiny.line.project, tiny.store, plan)


def test_a_target_that_is_no_column_lists_the_columns(tiny: Tiny) -> None:
    tiny.write("project.toml", 'target = "bougth"\n[sources.history]\npath = "data/history.parquet"\n')
    with pytest.raises(DataError) as caught:
        read(tiny)
    assert "the target 'bougth' is not a column of data/history.parquet; it has: id, price, age" in str(caught.value)
    assert f"Set `target` in {tiny.folder / 'project.toml'}" in str(caught.value)


def test_rows_without_a_label_are_left_out_and_counted(tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]) -> None:
    labelled = rows(100, 2)
    labelled.loc[[3, 50], "bought"] = None
    history(tiny, labelled)
    found = read(tiny)
    assert (found.table.num_rows, len(found.label), found.unlabelled) == (98, 98, 2)
    assert "2-3" not in ids(found)


def test_a_number_that_is_none_is_no_label(tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]) -> None:
    values = [0.5, float("nan"), None, 1.5] * 25
    table = pa.Table.from_pandas(rows(100, 2).drop(columns="bought")).append_column("bought", pa.array(values))
    pq.write_table(table, tiny.folder.parent.parent / "data" / "history.parquet")
    found = read(tiny)
    assert found.unlabelled == 50
    assert set(found.label.to_pylist()) == {0.5, 1.5}


def test_a_history_without_any_label_is_refused(tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]) -> None:
    history(tiny, rows(100, 2).assign(bought=pd.Series([None] * 100, dtype="string")))
    with pytest.raises(DataError, match=r"no row of data/history.parquet has a value in the target 'bought'"):
        read(tiny)


def test_only_the_newest_rows_are_taken(tiny: Tiny) -> None:
    tiny.setting("[training]\nmax_rows = 100\n")
    assert ids(read(tiny)) == [f"1-{i}" for i in range(1100, 1200)]


def test_rows_without_an_id_column_are_named_by_their_place(tiny: Tiny) -> None:
    tiny.write("project.toml", PLAIN)
    history(tiny, pd.DataFrame({"x": np.arange(60.0), "y": [0, 1] * 30}), "plain")
    found = read(tiny)
    assert found.contract.id == "row_id" and found.contract.names == ("x",)
    assert ids(found)[:2] == ["history:0", "history:1"]
    assert found.window(pinned(tiny), "history").first == ""


def test_an_id_column_that_is_not_there_is_named(tiny: Tiny) -> None:
    tiny.write("project.toml", 'target = "bought"\nid = "ident"\n[sources.history]\npath = "data/history.parquet"\n')
    with pytest.raises(ContractBroken, match=r"project.toml names the column 'ident', but the rows have none"):
        read(tiny)


# ── the time column ──────────────────────────────────────────────────────────────────────────────


def timed(tiny: Tiny, rows: pd.DataFrame) -> None:
    text = 'target = "bought"\nid = "id"\ntime = "at"\n[sources.history]\npath = "data/history.parquet"\n'
    tiny.write("project.toml", text)
    history(tiny, rows)


def test_a_time_column_orders_rows_and_is_no_feature(tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]) -> None:
    days = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(100)[::-1], unit="D")
    timed(tiny, rows(100, 2).assign(at=days))
    found = read(tiny)
    assert ids(found)[0] == "2-99" and ids(found)[-1] == "2-0"
    assert "at" not in found.contract.names
    window = found.window(pinned(tiny), "history")
    assert datetime.fromisoformat(window.first) == datetime(2026, 1, 1)
    assert datetime.fromisoformat(window.last) == datetime(2026, 4, 10)


def test_rows_of_the_same_time_keep_their_order(tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]) -> None:
    at = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(100) // 50, unit="D")
    timed(tiny, rows(100, 2).assign(at=at))
    assert ids(read(tiny)) == [f"2-{i}" for i in range(100)]


def test_a_time_column_that_is_not_there_lists_the_columns(
    tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]
) -> None:
    timed(tiny, rows(100, 2))
    with pytest.raises(DataError, match="the time column 'at' is not in the rows; they have: id, price, age, colour"):
        read(tiny)


# ── what is held out ─────────────────────────────────────────────────────────────────────────────


def test_about_the_wanted_share_is_held_out(tiny: Tiny) -> None:
    assert 0.21 < read(tiny).held_out.mean() < 0.29
    tiny.setting("[training]\nholdout = 0.5\n")
    assert 0.45 < read(tiny).held_out.mean() < 0.55


def test_the_two_parts_are_all_rows_in_their_order(tiny: Tiny) -> None:
    found = read(tiny)
    (kept, kept_label), (held, held_label) = found.part(held_out=False), found.part(held_out=True)
    assert kept.num_rows + held.num_rows == 1200
    assert set(kept.column("id").to_pylist()).isdisjoint(held.column("id").to_pylist())
    label_of = dict(zip(ids(found), found.label.to_pylist(), strict=True))
    for table, label in ((kept, kept_label), (held, held_label)):
        names = table.column("id").cast("string").to_pylist()
        assert names == [i for i in ids(found) if i in set(names)]
        assert label.to_pylist() == [label_of[i] for i in names]


def test_a_row_is_held_out_by_its_id_whatever_else_is_there(
    tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]
) -> None:
    first = read(tiny)
    held = dict(zip(ids(first), first.held_out.tolist(), strict=True))
    history(tiny, pd.concat([rows(300, 5), rows(1200, 1).sample(frac=0.5, random_state=3).assign(price=1.0)]))
    second = read(tiny)
    again = dict(zip(ids(second), second.held_out.tolist(), strict=True))
    common = held.keys() & again.keys()
    assert len(common) == 600
    assert all(held[i] == again[i] for i in common)


def test_a_larger_share_holds_out_the_same_rows_and_more(tiny: Tiny) -> None:
    small = read(tiny).held_out
    tiny.setting("[training]\nholdout = 0.6\n")
    assert not (small & ~read(tiny).held_out).any()


def test_the_hash_of_an_id_is_this_number_for_ever() -> None:
    table = pa.table({"id": ["1-0", "booking 7", "é"], "x": [1.0, 2.0, 3.0]})
    found = Labelled(table, pa.array([1, 2, 3]), learn(table, id="id"), 0.25)
    assert [int(h) for h in found.hashes] == HASHES


@settings(max_examples=25, deadline=None)
@given(names=st.sets(st.text("abc0189", min_size=1, max_size=6), min_size=2, max_size=40), most=st.integers(1, 50))
def test_a_bounded_part_is_the_same_rows_whatever_their_order(names: set[str], most: int) -> None:
    def part(order: list[str]) -> set[str]:
        table = pa.table({"id": order, "x": [1.0] * len(order)})
        found = Labelled(table, pa.array(order), learn(table, id="id"), 0.5)
        chosen, label = found.part(held_out=True, most=most)
        assert chosen.column("id").to_pylist() == label.to_pylist()
        assert chosen.num_rows == min(most, int(found.held_out.sum()))
        return set(label.to_pylist())

    assert part(sorted(names)) == part(sorted(names, reverse=True))


# ── batches with labels ──────────────────────────────────────────────────────────────────────────


def test_the_labelled_rows_of_a_published_batch_come_after_the_history(
    tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]
) -> None:
    scored, fresh = Scored(tiny), rows(10, 7)
    batch = scored.batch("day", fresh)
    scored.labels("l1", batch, outcomes(fresh[:6]))
    found = read(tiny)
    assert ids(found)[1200:] == [f"7-{i}" for i in range(6)]
    assert found.label.to_pylist()[1200:] == list(fresh["bought"][:6])
    assert found.window(pinned(tiny), "history").batches == (batch,)


def test_a_target_that_came_with_the_batch_does_not_count(tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]) -> None:
    scored, fresh = Scored(tiny), rows(4, 7)
    batch = scored.batch("day", fresh)
    key = tiny.line.batches.input_key(batch, "day.parquet")
    tiny.store.put(key, fresh.assign(bought="maybe").to_parquet(index=False))
    scored.labels("l1", batch, dict.fromkeys(fresh["id"], "yes"))
    assert read(tiny).label.to_pylist()[1200:] == ["yes"] * 4


def test_batches_come_in_the_order_in_which_they_were_scored(
    tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]
) -> None:
    scored = Scored(tiny)
    made = {seed: scored.batch(name, rows(3, seed)) for name, seed in (("zz", 7), ("aa", 8))}
    for seed in (8, 7):
        scored.labels(f"l{seed}", made[seed], outcomes(rows(3, seed)))
    assert ids(read(tiny))[1200:] == ["7-0", "7-1", "7-2", "8-0", "8-1", "8-2"]


def test_the_newest_rows_are_those_of_the_newest_batches(tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]) -> None:
    tiny.setting("[training]\nmax_rows = 60\n")
    scored = Scored(tiny)
    scored.labels("l1", scored.batch("day", rows(10, 7)), outcomes(rows(10, 7)))
    assert ids(read(tiny)) == [f"1-{i}" for i in range(1150, 1200)] + [f"7-{i}" for i in range(10)]


def test_a_batch_without_labels_or_of_another_status_is_left_out(
    tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]
) -> None:
    scored = Scored(tiny)
    scored.batch("unlabelled", rows(3, 6))
    withdrawn = scored.batch("withdrawn", rows(3, 7))
    scored.labels("l7", withdrawn, outcomes(rows(3, 7)))
    waiting = scored.batch("waiting", rows(3, 8))
    scored.labels("l8", waiting, outcomes(rows(3, 8)))
    scored.write(Withdrawn(withdrawn, "wrong"), Withdrawn(waiting, "wrong"), Replayed(waiting, "again"))
    halt = Assessment("halt")
    scored.write(Quarantined("bad.000000000009", "bad", "bad.parquet", "a1", "v0001", "champion", 3, 0, halt))
    assert pinned(tiny).batches == () and pinned(tiny).labels == ()
    assert read(tiny).table.num_rows == 1200


def test_a_batch_whose_kept_copy_has_expired_is_left_out(tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]) -> None:
    scored = Scored(tiny)
    for name, seed in (("old", 7), ("new", 8)):
        scored.labels(f"l{seed}", scored.batch(name, rows(3, seed)), outcomes(rows(3, seed)))
    old = tiny.line.ledger.state().published_as("old") or ""
    tiny.store.delete(tiny.line.batches.input_key(old, "old.parquet"))
    assert [batch.name for batch in pinned(tiny).batches] == ["new"]
    assert ids(read(tiny))[1200:] == ["8-0", "8-1", "8-2"]


def test_where_a_label_came_twice_the_later_one_counts(tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]) -> None:
    scored, fresh = Scored(tiny), rows(4, 7)
    batch = scored.batch("day", fresh)
    scored.labels("2026-03-01", batch, dict.fromkeys(fresh["id"], "no"))
    scored.labels("2026-03-02", batch, {"7-1": "yes", "7-3": "yes"})
    assert read(tiny).label.to_pylist()[1200:] == ["no", "yes", "no", "yes"]


def test_labels_of_ids_that_are_in_no_batch_are_left_out(tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]) -> None:
    scored = Scored(tiny)
    batch = scored.batch("day", rows(3, 7))
    scored.labels("l1", batch, {"stranger": "yes"})
    assert read(tiny).table.num_rows == 1200


def test_rows_of_a_batch_that_break_the_contract_are_left_out(
    tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]
) -> None:
    scored, fresh = Scored(tiny), rows(4, 7)
    broken = fresh.assign(price=["1.5", "many", "2.5", None])
    scored.labels("l1", scored.batch("day", broken), outcomes(fresh))
    found = read(tiny)
    assert ids(found)[1200:] == ["7-0", "7-2"]
    assert found.label.to_pylist()[1200:] == [outcomes(fresh)[i] for i in ("7-0", "7-2")]


def test_rows_of_a_batch_without_an_id_column_are_named_by_the_batch(tiny: Tiny) -> None:
    tiny.write("project.toml", PLAIN)
    history(tiny, pd.DataFrame({"x": np.arange(60.0), "y": [0, 1] * 30}), "plain")
    scored = Scored(tiny)
    batch = scored.batch("day", pd.DataFrame({"x": [7.0, 8.0, 9.0]}))
    scored.labels("l1", batch, {"day:2": 1, "day:0": 0})
    found = read(tiny)
    assert ids(found)[60:] == ["day:0", "day:2"]
    assert found.label.to_pylist()[60:] == [0, 1]


# ── joined sources ───────────────────────────────────────────────────────────────────────────────


def joined(tiny: Tiny, shops: pd.DataFrame) -> None:
    tiny.setting('[sources.shops]\npath = "data/shops.parquet"\njoin = "colour"\n')
    history(tiny, shops, "shops")


def test_a_joined_source_gives_features(tiny: Tiny) -> None:
    joined(tiny, pd.DataFrame({"colour": ["red", "green"], "shelf": [1.0, 2.0]}))
    found = read(tiny)
    assert found.contract.names == ("price", "age", "colour", "shelf")
    by_colour = {"red": 1.0, "green": 2.0, "blue": None}
    colours, shelves = (found.table.column(c).to_pylist() for c in ("colour", "shelf"))
    assert shelves == [by_colour[c] for c in colours]
    window = found.window(pinned(tiny), "history")
    assert list(window.sources) == ["history", "shops"]


def test_a_batch_is_joined_with_the_copy_that_it_was_scored_with(
    tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]
) -> None:
    joined(tiny, pd.DataFrame({"colour": ["red", "green", "blue"], "shelf": [1.0, 1.0, 1.0]}))
    then = pinned(tiny).sources
    joined(tiny, pd.DataFrame({"colour": ["red", "green", "blue"], "shelf": [2.0, 2.0, 2.0]}))
    scored = Scored(tiny)
    batch = scored.batch("day", rows(3, 7), dict(then))
    scored.labels("l1", batch, outcomes(rows(3, 7)))
    shelves = read(tiny).table.column("shelf").to_pylist()
    assert (set(shelves[:1200]), shelves[1200:]) == ({2.0}, [1.0, 1.0, 1.0])


def test_the_history_may_be_in_the_store_as_text(tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]) -> None:
    store: Store = tiny.store
    store.put("shared/history.csv", rows(80, 3).to_csv(index=False).encode())
    text = (tiny.folder / "project.toml").read_text().replace("data/history.parquet", "store:shared/history.csv")
    tiny.write("project.toml", text)
    found = read(tiny)
    assert found.table.num_rows == 80
    kinds = {c.name: c.kind for c in found.contract.columns}
    assert kinds == {"price": "number", "age": "number", "colour": "text"}


def test_a_pin_names_everything_that_is_read(tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]) -> None:
    scored = Scored(tiny)
    batch = scored.batch("day", rows(3, 7))
    scored.labels("l1", batch, outcomes(rows(3, 7)))
    plan = pinned(tiny)
    scored.labels("l2", batch, dict.fromkeys(rows(3, 7)["id"], "no"))  # comes after the pin
    assert plan.labels == ("tiny/feedback/l1.parquet",)
    found = assemble(tiny.line.project, tiny.store, plan)
    assert found.label.to_pylist()[1200:] == list(rows(3, 7)["bought"])
