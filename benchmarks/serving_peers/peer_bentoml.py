"""BentoML: a service with one worker and one API, which takes records."""

from __future__ import annotations

from typing import Any

import bentoml
from rows import columns_of, frame, model


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Peer:
    def __init__(self) -> None:
        self.model = model()

    @bentoml.api(route="/predict")
    def predict(self, records: list[dict[str, Any]]) -> list[float]:
        return self.model.predict_proba(frame(columns_of(records)))[:, 1].tolist()
