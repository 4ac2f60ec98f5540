from __future__ import annotations

from dataclasses import replace
from typing import Any

from fuseline import records as r
from fuseline.opinion import Column, Opinion
from fuseline.pages import Second


def test_the_page_of_a_halted_batch_says_why(lore: Any, told: Any, made: dict[str, str]) -> None:
    batch = next(b for b, k in told.state.batches.items() if k.status == "replaced")
    page = made[f"batches/{batch}.html"]
    said = lore.words(page)
    assert "Halted" in said
    assert "a repaired file took its place" in said
    assert "column price_eur observed 0.094 against 0.01 harm 0.094 to be mended the data" in said
    assert "112 rejected (2.33 %)" in said
    assert "expected_revenue_eur_per_booking 412 50 to 1,000" in said
    assert lore.section(page, "checks").index("beyond") < lore.section(page, "checks").index("within")
    assert "price_eur 0.47 ≤ 0.041" in lore.words(lore.section(page, "checks"))
    assert "is replaced by the repaired" in lore.words(lore.section(page, "history"))


def test_a_figure_below_its_bound_is_marked(lore: Any) -> None:
    s = lore.story()
    low = (r.Check("revenue", 10.0, 50.0, at_least=True), r.Check("share", 0.9, 0.6), r.Check("lost", None, 1.0))
    assessment = r.Assessment(
        "halt", None, (r.Cause("business", "revenue is 10"),), low, {"revenue": 10.0, "share": 0.9}
    )
    page = s.pages()
    batch = s.stop("2026-03-12", "v0003", assessment, None)
    page = s.pages(None)[f"batches/{batch}.html"]
    assert "revenue ■ 10 at least 50" in lore.words(lore.section(page, "business"))
    assert "share ■ 0.9 at most 0.6" in lore.words(lore.section(page, "business"))
    assert "lost — ≤ 1 ◆ not judged" in lore.words(lore.section(page, "checks"))
    assert "could not be estimated" in lore.words(page)


def test_what_may_have_happened_stands_with_its_belief_its_fit_and_its_cost(lore: Any) -> None:
    page = lore.page_of(replace(lore.HALT, worlds=lore.WORLDS))
    part = lore.section(page, "worlds")
    said = lore.words(part)
    assert "price_eur is rescaled or shifted believed to 62 % 62 % as near as chance AUC 0.183 lost" in said
    assert "some values of price_eur are replaced believed to under 1 %" in said
    assert "12 times further than chance nothing lost" in said
    assert 'class="fill" width="62%"' in part
    assert page.index('id="h-why"') < page.index('id="h-worlds"') < page.index('id="h-checks"')


def test_worlds_that_read_alike_are_one(lore: Any) -> None:
    said = lore.words(lore.section(lore.page_of(replace(lore.HALT, worlds=lore.WORLDS)), "worlds"))
    assert said.count("another mix of the same kind of rows (by price_eur)") == 1
    assert "believed to 34 % 34 % 1.6 times further than chance nothing lost" in said


def test_a_batch_without_worlds_has_no_section_of_them(made: dict[str, str]) -> None:
    assert not any('id="h-worlds"' in page for page in made.values())


def test_a_batch_that_nothing_explains_says_so(lore: Any) -> None:
    far = tuple(replace(w, distance=500.0) for w in lore.WORLDS)
    assert "No explanation that was tried comes near this batch" in lore.page_of(replace(lore.HALT, worlds=far))
    assert "No explanation that was tried" not in lore.page_of(replace(lore.HALT, worlds=lore.WORLDS))


def test_another_mix_of_rows_is_not_called_broken_data(lore: Any) -> None:
    cause = r.Cause("mix", "country changed, as in another mix of the same kind of rows", None, 0.05, 0.0115, 0.05)
    s = lore.story()
    batch = s.stop("2026-03-12", "v0003", r.Assessment("halt", 0.05, (cause,)), None)
    made = s.pages()
    page = lore.words(made[f"batches/{batch}.html"])
    assert "Nothing in the data looks broken: the model does worse on such rows" in page
    assert "to be mended nothing in the data" in page
    assert "--with" not in page
    quarantine = lore.words(lore.section(made["index.html"], "quarantine"))
    assert "Nothing in the data looks broken: the model does worse on such rows" in quarantine


def test_a_slow_leak_says_how_many_standard_errors_it_is(lore: Any) -> None:
    said = "the null share of price_eur creeps: 4.75% over the last 4 batches v. 3.31% before"
    leak = r.Cause("leak", said, "price_eur", 5.1, 4.4377, level="warn")
    page = lore.words(lore.page_of(r.Assessment("warn", 0.0, (leak,))))
    assert "slow leak, over several batches" in page
    assert "observed 5.1 against 4.44 standard errors" in page


def test_many_columns_that_warn_are_one_card(lore: Any) -> None:
    warns = tuple(replace(lore.WARN.causes[0], sentence=f"column {i} moved", column=f"c{i}") for i in range(4))
    page = lore.page_of(replace(lore.HALT, causes=(lore.HALT.causes[0], *warns)))
    why = lore.section(page, "why")
    assert why.count("<article") == 2
    assert "4 columns changed, too; taken alone" in lore.words(why) and "column 3 moved" in why
    assert lore.section(lore.page_of(replace(lore.WARN, causes=warns[:2])), "why").count("<article") == 2
    assert "4 columns changed; taken alone" in lore.words(
        lore.section(lore.page_of(replace(lore.WARN, causes=warns)), "why")
    )


def test_the_page_of_a_batch_shows_what_its_labels_said(lore: Any, told: Any, made: dict[str, str]) -> None:
    batch = next(e.event.batch for e in told.entries if isinstance(e.event, r.Published))
    said = lore.words(lore.section(made[f"batches/{batch}.html"], "labels"))
    assert "0.905 ± 0.011 on 900 labelled rows" in said
    assert "v0001 had AUC 0.912 ± 0.004" in said


def test_labels_that_are_too_few_are_said_to_be(lore: Any) -> None:
    s = lore.Story()
    s.train("v0001", 0.912)
    s.champion("v0001", None)
    batch = s.publish("2026-02-11", "v0001", lore.PASS)
    few = (r.BatchMeasured(batch, "v0001", 12, None, None),)
    s.say(r.Labelled({"l.csv": "f" * 64}, few, 0, "v0001", None, 0.912, None, "pass"))
    assert "Labels of 12 rows came" in lore.words(lore.section(s.pages()[f"batches/{batch}.html"], "labels"))


def test_a_batch_without_a_second_opinion_says_nothing_of_one(made: dict[str, str]) -> None:
    assert not any("Evidently" in page for page in made.values())


def test_the_figures_of_both_stand_side_by_side_with_a_sentence(lore: Any) -> None:
    page = lore.with_opinion(Second(lore.OPINION, "../evidently/b.a.html"))
    lore.Page(page)
    part = lore.section(page, "opinion")
    said = lore.words(part)
    assert "compares 5,000 rows with 1,303 rows of the reference" in said
    assert (
        f"Evidently calls 3 of 5 columns drifted, and so the whole data set; Fuseline halts: {lore.HALT.sentence}."
        in said
    )
    assert "Only Evidently calls country and score drifted." in said
    row = "price_eur triangular discrimination 0.47 , bound 0.041 ■ beyond 0.094 Wasserstein distance (normed) 253"
    assert f"{row} , drifts from 0.1 ▲ drifted" in said
    assert "country differ" in said and "K-S p-value 0.003 , drifts below 0.05 ▲ drifted" in said
    assert "children triangular discrimination 0.009 , bound 0.041 ● within left out: the batch has no value" in said
    assert "Jensen-Shannon distance — , drifts from 0.1 no figure" in said
    assert "2 columns on which both are quiet" in said
    assert '<a href="../evidently/b.a.html">' in part
    assert "nan" not in part.lower()
    assert page.index('id="h-opinion"') < page.index('id="h-checks"')


def test_a_sample_is_called_one(lore: Any) -> None:
    few = Opinion(lore.OPINION.columns, {}, 0.6, 1_000, 500)
    assert "compares a sample of 1,000 rows with 500 rows" in lore.words(
        lore.section(lore.with_opinion(Second(few)), "opinion")
    )


def test_a_second_opinion_whose_page_is_gone_has_no_link(lore: Any) -> None:
    part = lore.section(lore.with_opinion(Second(lore.OPINION)), "opinion")
    assert "no longer in the store" in part and "<a " not in part


def test_where_both_are_quiet_the_figures_are_open(lore: Any) -> None:
    quiet = Opinion((Column("adults", "Jensen-Shannon distance", 0.01, 0.1, False),), {}, 0.0, 100, 100)
    part = lore.section(lore.with_opinion(Second(quiet), lore.PASS), "opinion")
    assert "Both are quiet" in part and '<details id="quiet" open>' in part


def test_a_second_opinion_that_failed_says_so_and_no_more(lore: Any) -> None:
    part = lore.section(lore.with_opinion(Second(Opinion(error="it was stopped after 120 s"))), "opinion")
    assert "Evidently was asked: it was stopped after 120 s." in lore.words(part)
    assert "The verdict does not depend on it." in part
    assert "<table" not in part
