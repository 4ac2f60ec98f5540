"""MLServer: a runtime of its own that takes columns by the Open Inference Protocol, in the process of the server.

Its scikit-learn runtime gives the pipeline a frame whose nulls are of other types than in training, so this one makes
the frame itself. Run as `peer_mlserver.py FOLDER PORT`: it writes the settings that MLServer reads, and starts it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from rows import frame, model


class Peer(MLModel):
    async def load(self) -> bool:
        self.model = model()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        columns = {one.name: list(one.data) for one in payload.inputs}
        scores = self.model.predict_proba(frame(columns))[:, 1]
        output = ResponseOutput(name="score", shape=[len(scores)], datatype="FP64", data=scores.tolist())
        return InferenceResponse(model_name=self.name, outputs=[output])


if __name__ == "__main__":
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "http_port": port,
        "grpc_port": port + 1,
        "metrics_port": port + 2,
        "parallel_workers": 0,
        "debug": False,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps({"name": "peer", "implementation": "peer_mlserver.Peer"}))
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    os.execv(sys.executable, [sys.executable, "-m", "mlserver.cli.main", "start", str(folder)])
