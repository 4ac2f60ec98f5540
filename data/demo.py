"""The whole story on realistic input: train, score twenty daily batches, meet two incidents, recover.

    python data/demo.py [--store FOLDER] [--keep]

Every run is a real Metaflow run and every file is really there. Only the calendar is set: each command is told with
FUSELINE_NOW which day it is, so that a cool-down of a day does not take one.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import time
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fuseline import launch
from fuseline.batches import replay
from fuseline.bootstrap import Line, line
from fuseline.records import Entry, Held, Labelled, Published, Quarantined
from fuseline.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "bookings"
START = date(2026, 3, 1)
console = Console(highlight=False)
