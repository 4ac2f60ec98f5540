"""`fuseline serve` asked by a public client of the Open Inference Protocol, unchanged: Triton's."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

ROWS = {
    "price": np.array([20.0, 250.0, np.nan, 90.0]),
    "age": np.array([31.0, 58.0, 44.0, np.nan]),
    "colour": np.array(["red", "blue", "green", "a colour that nobody saw"], dtype=object),
}


class Asker:
    """The client, with the key in each of its requests."""

    def __init__(self, client: triton.InferenceServerClient, key: str) -> None:
        self.client, self._key = client, key

    @property
    def headers(self) -> dict[str, str]:
        """New ones each time: the client writes into what it is given."""
        return {"Authorization": f"Bearer {self._key}"}

    def infer(self, columns: dict[str, np.ndarray], *, binary: bool, **more: object) -> triton.InferResult:
        """An inference of columns; by default the client sends and asks for bytes."""
        inputs = []
        for name, values in columns.items():
            datatype = "BYTES" if values.dtype == object else "FP64"
            inputs.append(triton.InferInput(name, list(values.shape), datatype))
            inputs[-1].set_data_from_numpy(values, binary_data=binary)
        outputs = None if binary else [triton.InferRequestedOutput("score", binary_data=False)]
        return self.client.infer("tiny", inputs, outputs=outputs, headers=self.headers, **more)


@pytest.fixture(scope="module")
def asker(served_project: tuple[str, str]) -> Iterator[Asker]:
    address, key = served_project
    with triton.InferenceServerClient(address.removeprefix("http://")) as client:
        yield Asker(client, key)


@pytest.fixture(scope="module")
def scores(served_project: tuple[str, str]) -> list[float]:
    """What POST /predict says of the same rows."""
    address, key = served_project
    columns = {name: [None if v != v else v for v in values] for name, values in ROWS.items()}
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    said = httpx.post(f"{address}/predict", json=records, headers={"X-API-Key": key}, trust_env=False).json()
    return [row["score"] for row in said["predictions"]]


def test_it_is_live_and_ready_without_a_key(asker):
    assert asker.client.is_server_live()
    assert asker.client.is_server_ready()


def test_it_says_what_it_is(asker):
    assert asker.client.get_server_metadata(asker.headers)["extensions"] == ["binary_tensor_data"]
    said = asker.client.get_model_metadata("tiny", headers=asker.headers)
    assert said == asker.client.get_model_metadata("tiny", "v0001", headers=asker.headers)
    assert [(i["name"], i["datatype"]) for i in said["inputs"]] == [
        ("price", "FP64"),
        ("age", "FP64"),
        ("colour", "BYTES"),
    ]
    assert said["outputs"] == [{"name": "score", "datatype": "FP64", "shape": [-1]}]


def test_the_model_is_ready_and_no_other_is(asker):
    assert asker.client.is_model_ready("tiny", headers=asker.headers)
    assert asker.client.is_model_ready("tiny", "v0001", headers=asker.headers)
    assert not asker.client.is_model_ready("other", headers=asker.headers)
    assert not asker.client.is_model_ready("tiny", "v0009", headers=asker.headers)


@pytest.mark.parametrize("binary", [True, False])
def test_an_inference_is_what_predict_says(asker, scores, binary):
    said = asker.infer(ROWS, binary=binary, request_id="seven")
    assert said.get_response()["id"] == "seven"
    assert said.get_response()["model_version"] == "v0001"
    np.testing.assert_allclose(said.as_numpy("score"), scores, rtol=1e-12)


def test_order_and_missing_columns_do_not_matter(asker, scores):
    turned = asker.infer(dict(reversed(ROWS.items())), binary=True)
    np.testing.assert_allclose(turned.as_numpy("score"), scores, rtol=1e-12)
    without = asker.infer({"colour": ROWS["colour"], "price": ROWS["price"]}, binary=True)
    assert without.as_numpy("score")[3] == turned.as_numpy("score")[3]


def test_a_column_may_be_one_wide_and_strangers_are_told(asker, scores):
    tall = {name: values.reshape(-1, 1) for name, values in ROWS.items()} | {"size": np.zeros(4)}
    said = asker.infer(tall, binary=True)
    assert said.get_response()["parameters"] == {"extra": "size"}
    np.testing.assert_allclose(said.as_numpy("score"), scores, rtol=1e-12)


def test_ten_thousand_rows_come_back_in_order(asker):
    price = np.linspace(0.0, 400.0, 10_000)
    found = asker.infer({"price": price, "age": np.full(10_000, 40.0)}, binary=True).as_numpy("score")
    assert found.shape == (10_000,)
    assert (np.diff(found) < 0).all()


def test_what_is_wrong_is_told_in_its_words(asker):
    with pytest.raises(InferenceServerException, match=r"there is no model 'other'") as caught:
        asker.client.infer("other", [], headers=asker.headers)
    assert caught.value.status() == "404"
    with pytest.raises(InferenceServerException, match="infinite") as caught:
        asker.infer({"price": np.array([np.inf])}, binary=True)
    assert caught.value.status() == "422"
    with pytest.raises(InferenceServerException, match="key") as caught:
        asker.client.get_model_metadata("tiny")
    assert caught.value.status() == "401"


def test_a_file_takes_any_tensor(served_file):
    with triton.InferenceServerClient(served_file.removeprefix("http://")) as client:
        image = triton.InferInput("image", [2, 3], "UINT8")
        image.set_data_from_numpy(np.zeros((2, 3), np.uint8))
        assert client.infer("count", [image]).as_numpy("values").tolist() == [1]
