from __future__ import annotations

import io
import json

from fuseline.serving.journal import Journal


def test_each_event_is_one_line_of_json_whatever_it_holds():
    out = io.BytesIO()
    journal = Journal(out, lambda: "2026-03-01T06:00:00.000+00:00")
    journal.info("request", path="/a\nb", status=200)
    journal.warning("trouble", error=ValueError("odd"))
    journal.error("request", ms=1.5)
    assert [json.loads(line) for line in out.getvalue().decode().splitlines()] == [
        {"at": "2026-03-01T06:00:00.000+00:00", "level": "info", "event": "request", "path": "/a\nb", "status": 200},
        {"at": "2026-03-01T06:00:00.000+00:00", "level": "warning", "event": "trouble", "error": "odd"},
        {"at": "2026-03-01T06:00:00.000+00:00", "level": "error", "event": "request", "ms": 1.5},
    ]
