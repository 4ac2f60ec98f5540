"""Ten minutes with `Monitor`: `python docs/monitor.py`, or cell by cell."""

# %% [markdown]
# # Is this batch fit to be published? Ten minutes with `Monitor`
#
# You have a model. Every day a batch of rows comes, the model scores it, and people act on the scores. The labels come
# days later. Today you have to say: publish, or hold back?
#
# A drift test says whether a batch *differs*. Nearly every batch does, and most of it is harmless. `Monitor` says what
# the difference *costs the model*, before there is a label, and halts only for that. It works in four stages:
#
# 1. **detect**: can the batch be told from labelled reference rows, by more than chance?
# 2. **explain**: which simulated worlds look like it: another mix of rows, a column in another unit, a wrong join, …
# 3. **harm**: in a simulated world the labels are known, so what it costs can be read: AUC lost, or RMSE gained.
# 4. **decide**: harm halts, change without harm warns.
#
# It needs no store, no flow and no server: two arrays and a function. Run this file with `python docs/monitor.py`, or
# cell by cell in an editor that knows `# %%`. Lines that begin with an arrow are what a cell prints.

# %%
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fuseline import Monitor
from fuseline.profile import merge
from fuseline.records import Assessment

# %% [markdown]
# ## The data: hotel bookings, made up
#
# Each booking is joined with its hotel (`stars`, `rating`, `centre_km`). Will it be cancelled or kept?

# %%
HOTEL = ["stars", "rating", "centre_km"]


def bookings(rows: int, seed: int, mobile: float = 0.2, sure: float = 1.0) -> pd.DataFrame:
    """Bookings with outcomes. `mobile`: the share that comes by the app; `sure`: how well outcomes can be foreseen."""
    rng = np.random.default_rng(seed)
    stars = rng.integers(2, 6, rows).astype(float)
    rating = (5.4 + 0.7 * stars + rng.normal(0.0, 0.4, rows)).round(1)
    centre_km = (rng.exponential(1.0, rows) + 6.0 - stars).round(1)
    trip = rng.choice(["leisure", "business", "group"], rows, p=[0.6, 0.3, 0.1])
    business = trip == "business"
    lead_days = np.floor(rng.gamma(1.5, np.where(business, 10.0, 38.0)))
    nights = 1.0 + rng.poisson(np.where(business, 0.8, 3.0))
    channel = np.where(rng.random(rows) < mobile, "mobile", np.where(rng.random(rows) < 0.7, "web", "agency"))
    price_eur = (30.0 * stars * np.exp(0.2 * business - 0.04 * nights + rng.normal(0.0, 0.2, rows))).round(2)
    dear = np.log(price_eur / (30.0 * stars))  # for a hotel of its kind
    odds = -0.6 + 3.0 * dear + 0.02 * (lead_days - 40.0) + 0.8 * (channel == "agency") - 0.6 * (stars - 3.5)
    cancelled = rng.random(rows) < 1.0 / (1.0 + np.exp(-sure * odds))
    price_eur[rng.random(rows) < 0.03] = np.nan
    columns = dict(zip(HOTEL, (stars, rating, centre_km), strict=True))
    columns |= {"trip": trip, "lead_days": lead_days, "nights": nights, "channel": channel, "price_eur": price_eur}
    return pd.DataFrame(columns | {"status": np.where(cancelled, "cancelled", "kept")})


past, reference = bookings(6_000, seed=1), bookings(4_000, seed=2)

# %% [markdown]
# ## The model: any model
#
# Here it is a pipeline of scikit-learn. All that `Monitor` wants of it is a function: a frame of features in, one score
# per row out, or a probability for each class. `model.predict_proba` is such a function.

# %%
numbers = make_pipeline(SimpleImputer(), StandardScaler())
encoder = make_column_transformer(
    (numbers, make_column_selector(dtype_include="number")),
    (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
)
model = make_pipeline(encoder, LogisticRegression(max_iter=1_000))
model.fit(past.drop(columns="status"), past["status"])

# %% [markdown]
# ## Fit
#
# `fit` learns what normal means from labelled rows **that training never saw**. A few thousand are good.
#
# - `tolerance` is the loss that you accept: 0.02 of AUC if you say nothing, or 5 % of RMSE. An estimate has an error:
#   one of over 0.575 of the tolerance halts, which is 0.0115 of AUC.
# - `mean_batches_between_false_halts` is a promise: 1,000 if you say nothing.

# %%
monitor = Monitor.fit(reference, target="status", score=model.predict_proba, seed=0)
normal = monitor.measured
print(f"the model has AUC {normal.value:.3f} ± {normal.se:.3f} on {normal.rows:,} rows of the reference")


def tell(name: str, found: Assessment) -> Assessment:
    """Print a verdict with its main cause."""
    print(textwrap.fill(f"{name}: {found.verdict}. {found.sentence}", 100, subsequent_indent="    "))
    return found


def features(rows: pd.DataFrame) -> pd.DataFrame:
    """What is there before the labels come."""
    return rows.drop(columns="status")


# → the model has AUC 0.768 ± 0.008 on 4,000 rows of the reference

# %% [markdown]
# ## A clean batch
#
# `assess` asks the model for scores, and says `pass`, `warn`, `halt` or `inconclusive`. Publish `pass` and `warn`.

# %%
clean = tell("an ordinary day", monitor.assess(features(bookings(1_000, seed=10))))
assert clean.verdict == "pass" and clean.harm == 0.0 and not clean.causes

# → an ordinary day: pass.

# %% [markdown]
# ## A shift that is harmless
#
# A campaign brings in guests by the app. The batch differs, and any drift test would ring. The model copes with it.

# %%
campaign = tell("a campaign", monitor.assess(features(bookings(1_000, seed=20, mobile=0.5))))
assert campaign.verdict == "warn" and campaign.harm is not None and campaign.harm < 0.01
assert campaign.causes[0].column == "channel"

# → a campaign: warn. channel moved ('mobile' is 51 % of rows v. 21 %); it looks like another mix of the
# →     same kind of rows, and the model copes with that (estimated loss 0.000)

# %% [markdown]
# ## A shift that is not
#
# Nothing is broken here either: a fair fills the town with business guests. But they are the guests that this model
# ranks worst. The loss is close to what the labels will say of this batch.

# %%
many = bookings(40_000, seed=30)
fair = pd.concat([many[many["trip"] == "business"].head(950), many[many["trip"] != "business"].head(50)])
mix = tell("a fair", monitor.assess(features(fair)))
assert mix.verdict == "halt" and mix.causes[0].kind == "mix" and mix.harm is not None
lost = normal.value - roc_auc_score(fair["status"], model.predict_proba(features(fair))[:, 1])
print(f"estimated loss {mix.harm:.3f}; by its labels, days later: {lost:.3f}")
assert abs(mix.harm - lost) < 0.02

# → a fair: halt. trip, nights, lead_days … changed, as in another mix of the same kind of rows (by
# →     trip): AUC would fall from 0.768 to 0.744
# → estimated loss 0.024; by its labels, days later: 0.030

# %% [markdown]
# ## A column in another unit
#
# The source sends cents. Beside the causes there are the `worlds`: what may have happened, the most believed first. A
# world is the reference with something done to it. `distance` says how far it is from the batch, `chance` how far it
# would be by chance alone. What cannot be told apart (a factor? some values replaced?) stays side by side, and the harm
# is read off all of them.

# %%
cents = bookings(1_000, seed=41)
cents["price_eur"] *= 100
halted = tell("prices in cents", monitor.assess(features(cents)))
assert halted.verdict == "halt" and "multiplied by 100" in halted.sentence
broken = [world for world in halted.worlds if "price_eur" in world.columns]
belief, costs = sum(world.belief for world in broken), [world.harm for world in broken]
print(f"{belief:.0%} believed: price_eur is broken. In these worlds AUC falls by {min(costs):.2f} to {max(costs):.2f}")
assert belief > 0.9 and min(costs) > 0.1 and all(world.distance < 3.0 * world.chance for world in broken)

# → prices in cents: halt. price_eur looks multiplied by 100 (median 9,737 v. 94.4): AUC would fall from
# →     0.768 to 0.491
# → 100% believed: price_eur is broken. In these worlds AUC falls by 0.26 to 0.31

# %% [markdown]
# ## A wrong join
#
# Each booking gets the hotel of the booking before it. No column looks odd by itself, as its values are the same ones.
# They no longer go together.

# %%
shuffled = bookings(1_000, seed=52)
shuffled[HOTEL] = np.roll(shuffled[HOTEL].to_numpy(), 1, axis=0)
joined = tell("a join by the wrong key", monitor.assess(features(shuffled)))
assert joined.verdict == "halt" and set(HOTEL) <= set(joined.worlds[0].columns)

# → a join by the wrong key: halt. stars, rating, centre_km look joined to the wrong rows: AUC would
# →     fall from 0.768 to 0.572

# %% [markdown]
# ## What cannot be scored at all
#
# A missing column, an empty batch, text where numbers were, a model that fails: each is a verdict, never an exception.

# %%
gone = tell("a column is gone", monitor.assess(features(cents).drop(columns="nights")))
empty = tell("no rows", monitor.assess(features(cents).head(0)))
assert gone.verdict == "halt" and gone.harm is None
assert empty.verdict == "inconclusive"

# → a column is gone: halt. column nights is missing: no row can be scored as in training
# → no rows: inconclusive. the batch has no rows

# %% [markdown]
# ## A slow leak
#
# From day 9 on, 2.5 % of the prices get lost on the way. On no single day is that more than chance. The monitor
# remembers the last batches that it let pass, and looks at them together. Batches of under 200 rows are judged
# together, too.

# %%
first_noticed = 0
for day in range(1, 17):
    batch = bookings(1_000, seed=100 + day)
    if day >= 9:
        batch.loc[np.random.default_rng(day).random(1_000) < 0.025, "price_eur"] = np.nan
    found = monitor.assess(features(batch))
    if found.causes and not first_noticed:
        first_noticed = day
        tell(f"day {day}", found)
assert 9 < first_noticed <= 16

# → day 11: warn. the null share of price_eur creeps: 5.35% over the last 2 batches v. 3.33% before

# %% [markdown]
# ## A batch in parts
#
# Is the batch too large for one machine? Count each part where it is with `profile`, send the small profiles home, and
# `merge` them, in any order. The verdict is that of the whole batch. No row travels but a sample of 5,000.

# %%
big = bookings(30_000, seed=60)
big["price_eur"] *= 100
parts = [features(big.iloc[start : start + 10_000]) for start in (20_000, 0, 10_000)]
profiles = [monitor.profile(part, model.predict_proba(part)) for part in parts]
merged = tell("30,000 rows in three parts", monitor.assess(merge(profiles)))
whole = monitor.assess(features(big))
assert merged.verdict == whole.verdict == "halt" and merged.causes[0].column == whole.causes[0].column

# → 30,000 rows in three parts: halt. price_eur looks multiplied by 100 (median 9,484 v. 94.4): AUC
# →     would fall from 0.768 to 0.496

# %% [markdown]
# ## Save and load
#
# A monitor is two files: `monitor.json`, and the labelled rows in `reference-<digest>.parquet`. The model is not in
# them: keep it as you always do, and hand it over again. The loaded monitor gives the same verdicts; what it remembered
# of earlier batches is not saved. Save again into the same folder whenever you like: a save that is stopped halfway
# leaves the monitor that was there.

# %%
with tempfile.TemporaryDirectory() as folder:
    monitor.save(folder)
    print(", ".join(sorted(path.suffix for path in Path(folder).iterdir())))
    loaded = Monitor.load(folder, score=model.predict_proba)
assert loaded.assess(features(cents)).causes == monitor.assess(features(cents)).causes

# → .json, .parquet

# %% [markdown]
# ## Labels, when they come
#
# From day 4 on the same guests decide in another way, and not one column moves. No monitor can see that without labels.
# When they come, they are the authority: tell them to the monitor with `observe`. It holds the newest 1, 2, 4 and 8
# batches together against the reference, so that it also finds a loss that is too small to show in one of them.

# %%
for day in range(1, 8):
    batch = bookings(1_000, seed=200 + day, sure=1.0 if day <= 3 else 0.75)
    published = loaded.assess(features(batch))  # in the morning
    real = loaded.observe(batch["status"], model.predict_proba(features(batch)))  # days later
    assert published.verdict == "pass" and real.value is not None and real.pooled is not None
    pooled = f"{real.pooled:.3f} over the last {real.batches}, bound {real.bound:.3f}"
    print(f"day {day}: {published.verdict}; its labels say {real.verdict}: AUC {real.value:.3f}, {pooled}")
    assert real.verdict == "pass" or day > 3
assert real.verdict == "halt" and real.batches > 1

# → day 1: pass; its labels say pass: AUC 0.744, 0.744 over the last 1, bound 0.707
# → day 2: pass; its labels say pass: AUC 0.778, 0.778 over the last 1, bound 0.709
# → day 3: pass; its labels say pass: AUC 0.782, 0.782 over the last 1, bound 0.710
# → day 4: pass; its labels say pass: AUC 0.724, 0.724 over the last 1, bound 0.706
# → day 5: pass; its labels say halt: AUC 0.685, 0.685 over the last 1, bound 0.704
# → day 6: pass; its labels say halt: AUC 0.709, 0.698 over the last 2, bound 0.719
# → day 7: pass; its labels say halt: AUC 0.739, 0.715 over the last 4, bound 0.729

# %% [markdown]
# ## And then?
#
# That is the judgement. `fuseline infer` puts a line around it: it physically holds a bad batch back, tells people why,
# falls back or waits, asks for a new model, and tries again. README.md shows it.
