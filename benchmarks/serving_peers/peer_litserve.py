"""LitServe: an API class with the stages that it knows, one worker and one API process."""

import sys

import litserve
import numpy as np
import pandas as pd
from rows import columns_of, frame, model


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = model()

    def decode_request(self, request) -> pd.DataFrame:  # an annotation would be checked by pydantic once more
        return frame(columns_of(request if isinstance(request, list) else [request]))

    def predict(self, x: pd.DataFrame) -> np.ndarray:
        return self.model.predict_proba(x)[:, 1]

    def encode_response(self, output: np.ndarray):
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", devices=1, workers_per_device=1, timeout=60)
    server.run(port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning")
