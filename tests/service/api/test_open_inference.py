"""The Open Inference Protocol V2 and KServe V1, driven by the clients of Triton and KServe as they are."""

import asyncio

import httpx
import numpy as np
import orjson
import pytest
import tritonclient.http as triton
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from running import PACKAGE, ROOT
from tritonclient.utils import InferenceServerException

from service.api.openinference.tensors import JSON_LENGTH
from service.inference.engine import Engine

MODEL = "mnist-3v5"
INFER = f"/v2/models/{MODEL}/infer"


@pytest.fixture(scope="module")
def offline(package) -> Engine:
    return Engine(package)


@pytest.fixture(scope="module")
def triton_client(client):
    with triton.InferenceServerClient(client.base_url.netloc.decode()) as found:
        yield found


def image_input(images: np.ndarray, datatype: str = "FP32", binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput("image", [len(images), 1, 28, 28], datatype)
    tensor.set_data_from_numpy(images[:, None], binary_data=binary)
    return tensor


def test_triton_reads_metadata_and_readiness(triton_client):
    assert triton_client.is_server_live()
    assert triton_client.is_server_ready()
    assert triton_client.is_model_ready(MODEL)
    assert triton_client.is_model_ready(MODEL, PACKAGE.name)
    assert not triton_client.is_model_ready("mnist-99")
    assert not triton_client.is_model_ready(MODEL, "99")
    assert "binary_tensor_data" in triton_client.get_server_metadata()["extensions"]
    metadata = triton_client.get_model_metadata(MODEL)
    assert metadata["platform"] == "onnx_onnxv1"
    assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 28, 28]}]
    assert {"label", "logits", "probabilities", "shapes"} <= {one["name"] for one in metadata["outputs"]}


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_triton_infers_in_json_and_binary(triton_client, offline, digits, binary_in, binary_out):
    images = digits[0][:20]
    outputs = [triton.InferRequestedOutput(name, binary_out) for name in ("logits", "label", "shapes")]
    found = triton_client.infer(
        MODEL, [image_input(images, binary=binary_in)], request_id="q-1", outputs=outputs
    )
    logits = offline.predict(images).logits
    np.testing.assert_allclose(found.as_numpy("logits"), logits, atol=1e-5)
    np.testing.assert_array_equal(found.as_numpy("label"), np.array(offline.labels)[logits.argmax(axis=1)])
    np.testing.assert_allclose(found.as_numpy("shapes"), offline.explain(images)["shapes"], atol=1e-5)
    assert found.get_response()["id"] == "q-1"


@pytest.mark.parametrize(("datatype", "kind"), [("FP16", np.float16), ("FP64", np.float64)])
def test_an_image_comes_in_any_float_type(triton_client, offline, digits, datatype, kind):
    images = digits[0][:3].astype(kind)
    found = triton_client.infer(MODEL, [image_input(images, datatype)])
    logits = offline.predict(images.astype(np.float32)).logits
    np.testing.assert_allclose(found.as_numpy("logits"), logits, atol=1e-5)


@pytest.mark.parametrize("binary", [True, False])
def test_uint8_is_0_to_255_as_in_files(triton_client, offline, digits, binary):
    pixels = (digits[0][:3] * 255).round().astype(np.uint8)
    found = triton_client.infer(MODEL, [image_input(pixels, "UINT8", binary)])
    logits = offline.predict(pixels.astype(np.float32) / 255).logits
    np.testing.assert_allclose(found.as_numpy("logits"), logits, atol=1e-5)


def test_every_tensor_of_the_explanation_can_be_asked_for(triton_client, offline, digits):
    images = digits[0][:2]
    expected = offline.explain(images)
    outputs = [triton.InferRequestedOutput(name) for name in expected]
    found = triton_client.infer(MODEL, [image_input(images)], outputs=outputs)
    for name, values in expected.items():
        np.testing.assert_allclose(found.as_numpy(name), values, atol=1e-4, err_msg=name)


def test_triton_learns_what_is_wrong(triton_client, digits):
    tensor = triton.InferInput("pixels", [1, 1, 28, 28], "FP32")
    tensor.set_data_from_numpy(digits[0][:1, None])
    with pytest.raises(InferenceServerException, match="takes one input, 'image'"):
        triton_client.infer(MODEL, [tensor])
    with pytest.raises(InferenceServerException, match="no model 'mnist-99'"):
        triton_client.infer("mnist-99", [image_input(digits[0][:1])])
    with pytest.raises(InferenceServerException, match=r"not all in \[0, 1\]"):
        triton_client.infer(MODEL, [image_input(digits[0][:1] * 2)])


def test_triton_drives_the_model_repository(triton_client):
    index = triton_client.get_model_repository_index()
    assert {"name": MODEL, "version": PACKAGE.name, "state": "READY", "reason": ""} in index
    triton_client.load_model("mnist-10")
    with pytest.raises(InferenceServerException, match="no model 'mnist-99'"):
        triton_client.load_model("mnist-99")
    with pytest.raises(InferenceServerException, match="not from here"):
        triton_client.load_model("mnist-10", config="{}")


def body(**changes: object) -> dict:
    image = {"name": "image", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": [0.0, 1.0] * 392}
    return {"inputs": [{**image, **changes}]}


BAD = {
    "no inputs": ({"inputs": []}, "inputs"),
    "two inputs": ({"inputs": body()["inputs"] * 2}, "takes one input"),
    "unknown datatype": (body(datatype="BF16"), "BF16"),
    "another shape": (body(shape=[1, 784]), "shape"),
    "no images": (body(shape=[0, 1, 28, 28], data=[]), "shape"),
    "a negative shape": (body(shape=[-1, 1, 28, 28]), "shape"),
    "too little data": (body(data=[0.0] * 783), "783 numbers"),
    "ragged data": (body(data=[[0.0] * 28, [0.0]]), "differ in length"),
    "another nesting": (body(data=[[0.0] * 784]), "nested as"),
    "a string": (body(data=["0"] * 784), "numbers"),
    "truth values": (body(data=[True] * 784), "numbers"),
    "above 1": (body(data=[1.5] * 784), r"not all in [0, 1]"),
    "UINT8 above 255": (body(datatype="UINT8", data=[256] * 784), "0 to 255"),
    "UINT8 as fractions": (body(datatype="UINT8", data=[0.5] * 784), "whole numbers"),
    "no data": (body(data=None), "neither data nor binary_data_size"),
    "data twice": (body(parameters={"binary_data_size": 3136}), "too"),
    "bytes that are not there": (body(data=None, parameters={"binary_data_size": 3136}), "0 bytes"),
    "too many images": (body(shape=[257, 1, 28, 28], data=[0.0] * 784 * 257), "too many"),
    "unknown output": ({**body(), "outputs": [{"name": "poetry"}]}, "poetry"),
    "classification": (
        {**body(), "outputs": [{"name": "logits", "parameters": {"classification": 2}}]}, "classification"
    ),
    "NaN": (orjson.dumps(body()).replace(b"[0.0,", b"[NaN,"), ""),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_the_protocols_error(client, case):
    content, expected = BAD[case]
    raw = content if isinstance(content, bytes) else orjson.dumps(content)
    answer = client.post(INFER, content=raw)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error"]
    assert expected in answer.json()["error"]
    assert client.post(INFER, json=body()).status_code == 200


@pytest.mark.parametrize("length", ["abc", "-1", "999999", "1e3", "²"])
def test_a_wrong_json_length_is_refused(client, length):
    headers = [(JSON_LENGTH.encode(), length.encode())]
    assert client.post(INFER, content=orjson.dumps(body()), headers=headers).status_code == 400


def test_nested_and_flat_data_are_the_same(client, digits):
    image = digits[0][:1]
    nested = client.post(INFER, json=body(data=image[:, None].tolist())).json()
    flat = client.post(INFER, json=body(data=image.ravel().tolist())).json()
    without_channel = client.post(INFER, json=body(shape=[1, 28, 28], data=image.tolist())).json()
    assert nested["outputs"] == flat["outputs"] == without_channel["outputs"]
    assert [one["name"] for one in nested["outputs"]] == ["label", "logits", "probabilities"]
    assert nested["outputs"][0]["data"] == [3]


def kserve(client: httpx.Client, protocol: str, ask):
    async def run():
        found = InferenceRESTClient(RESTConfig(protocol=protocol, timeout=60))
        return await ask(found, str(client.base_url))

    return asyncio.run(run())


@pytest.mark.parametrize("binary", [True, False])
def test_kserves_client_infers_by_v2(client, offline, digits, binary):
    images = digits[0][:5]
    tensor = InferInput("image", [5, 1, 28, 28], "FP32")
    tensor.set_data_from_numpy(images[:, None], binary_data=binary)
    outputs = [RequestedOutput("logits", {"binary_data": binary})]

    async def ask(found, url):
        assert await found.is_server_live(url)
        assert await found.is_server_ready(url)
        assert await found.is_model_ready(url, MODEL)
        return await found.infer(url, InferRequest(MODEL, [tensor], "k-1", request_outputs=outputs), MODEL)

    answer = kserve(client, "v2", ask)
    assert answer.id == "k-1"
    np.testing.assert_allclose(answer.outputs[0].as_numpy(), offline.predict(images)[0], atol=1e-5)


def test_kserves_client_predicts_and_explains_by_v1(client, digits):
    instances = {"instances": digits[0][:2].tolist()}

    async def ask(found, url):
        assert await found.is_model_ready(url, MODEL)
        return (
            await found.infer(url, instances, MODEL),
            await found.explain(url, MODEL, instances),
        )

    predicted, explained = kserve(client, "v1", ask)
    own = client.post("/v1/predict", json={"images": instances["instances"]}).json()
    assert predicted["predictions"] == own["predictions"]
    for one, prediction in zip(explained["explanations"], own["predictions"], strict=True):
        assert one["label"] == prediction["label"]
        contributions = one["claims"]["3"]["contributions"]
        assert sum(contributions) == pytest.approx(one["logits"]["3"], abs=1e-4)


def test_v1_takes_png_and_tells_errors_in_its_own_form(client):
    import base64

    png = base64.b64encode((ROOT / "examples" / "three.png").read_bytes()).decode()
    path = f"/v1/models/{MODEL}:predict"
    assert client.post(path, json={"instances": [{"png": png}]}).json()["predictions"][0]["label"] == 3
    missing = client.post("/v1/models/mnist-99:predict", json={"instances": [{"png": png}]})
    assert missing.status_code == 404
    bad = client.post(path, json={"instances": [[[2.0] * 28] * 28]})
    assert bad.status_code == 400
    assert "instances.0.0.0" in bad.json()["error"]
