import json
from base64 import b64encode
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from service.errors import InvalidRequest
from service.images import Pixels
from service.masks.encoder import Mask
from service.tensors import InferRequest, read_request, write_answer

PIXELS = arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.just(3)))


def body(tensor: dict[str, Any], rest: bytes = b"", **more: Any) -> tuple[bytes, int | None]:  # noqa: ANN401  # JSON
    head = json.dumps({"inputs": [{"name": "image", **tensor}], **more}).encode()
    return head + rest, len(head) if rest else None


def framed(files: list[bytes]) -> bytes:
    return b"".join(len(file).to_bytes(4, "little") + file for file in files)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4))
def test_files_come_as_bytes_behind_the_json_or_as_base64_in_it(files: list[bytes]) -> None:
    rest = framed(files)
    bare = {"datatype": "BYTES", "shape": [len(files)]}

    _, behind = read_request(*body({**bare, "parameters": {"binary_data_size": len(rest)}}, rest))
    _, within = read_request(*body({**bare, "data": [b64encode(file).decode() for file in files]}))

    assert behind == within == files


@given(PIXELS)
def test_pixels_come_as_bytes_behind_the_json_or_as_numbers_in_it(images: Mask) -> None:
    bare = {"datatype": "UINT8", "shape": list(images.shape)}

    _, behind = read_request(*body({**bare, "parameters": {"binary_data_size": images.size}}, images.tobytes()))
    _, within = read_request(*body({**bare, "data": images.ravel().tolist()}))

    for found in (behind, within):
        assert all(isinstance(one, Pixels) for one in found)
        np.testing.assert_array_equal([one.values for one in found if isinstance(one, Pixels)], images)


def test_one_image_needs_no_number_of_images() -> None:
    _, found = read_request(*body({"datatype": "UINT8", "shape": [1, 2, 3], "data": list(range(6))}))

    assert [one.values.tolist() for one in found if isinstance(one, Pixels)] == [[[[0, 1, 2], [3, 4, 5]]]]


FILE = {"datatype": "BYTES", "shape": [1]}
RGB = {"datatype": "UINT8", "shape": [1, 2, 3]}


@pytest.mark.parametrize(
    ("tensor", "rest", "told"),
    [
        ({**FILE}, b"", "has neither data nor binary_data_size"),
        ({**FILE, "data": ["?"]}, b"", "element 0 of 'image' is no base64"),
        ({**FILE, "data": [[1]]}, b"", "element 0 of 'image' is no base64"),
        ({**FILE, "shape": [2], "data": [""]}, b"", "shape of 'image' is [2], it has 1 elements"),
        ({**FILE, "shape": [-1], "data": [""]}, b"", "shape of 'image' is [-1], it cannot be below 0"),
        ({**FILE, "parameters": {"binary_data_size": 9}}, b"12345678", "binary_data_size of 'image' is 9, 8 bytes"),
        ({**FILE, "parameters": {"binary_data_size": "x"}}, b"12345678", "binary_data_size of 'image' is 'x', 8 bytes"),
        ({**FILE, "parameters": {"binary_data_size": 6}}, b"\3\0\0\0ab", "ends at byte 7, 6 bytes follow the JSON"),
        ({**FILE, "parameters": {"binary_data_size": 2}}, b"\3\0", "ends at byte 7, 2 bytes follow the JSON"),
        ({**RGB, "datatype": "FP32", "data": [0]}, b"", "datatype of 'image' is 'FP32', allowed are BYTES and UINT8"),
        ({**RGB, "shape": [2, 3], "data": [0] * 6}, b"", "UINT8 has [H, W, 3] or [N, H, W, 3]"),
        ({**RGB, "shape": [1, 2, 4], "data": [0] * 8}, b"", "UINT8 has [H, W, 3] or [N, H, W, 3]"),
        ({**RGB, "shape": [0, 2, 3], "data": []}, b"", "UINT8 has [H, W, 3] or [N, H, W, 3]"),
        ({**RGB, "data": [0] * 5}, b"", "shape of 'image' is [1, 2, 3], 6 values, but 5 came"),
        ({**RGB, "data": [0, 0, 0, 0, 0, 256]}, b"", "not one flat list of whole numbers from 0 to 255"),
        ({**RGB, "data": [0, 0, 0, 0, 0, 0.5]}, b"", "not one flat list of whole numbers from 0 to 255"),
        ({**RGB, "data": [[0], [0], [0], [0], [0], [0]]}, b"", "not one flat list of whole numbers from 0 to 255"),
        ({**RGB, "name": "picture", "data": []}, b"", "the inputs are 'picture'; there has to be one, named 'image'"),
        ({**RGB, "shape": "x"}, b"", "the JSON is wrong in inputs.0.shape"),
        ({**RGB, "shape": [10**4000] * 2}, b"", "the JSON is wrong in inputs.0.shape.0"),
        ({**RGB, "shape": [1] * 500}, b"", "the JSON is wrong in inputs.0.shape"),
        ({**RGB, "data": [[]] * 2_000_001}, b"", "the JSON holds more than 2000000 values"),
        ({**RGB, "shape": [1 << 40, 1, 1, 3]}, b"", "has neither data nor binary_data_size"),
        ({**RGB, "shape": [1025, 1, 1, 3], "data": []}, b"", "at most 1024 images may come at once"),
        ({**FILE, "parameters": {"binary_data_size": 5000}}, bytes(5000), "more than 1024 elements of 'image' follow"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(tensor: dict[str, Any], rest: bytes, told: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        read_request(*body(tensor, rest))

    assert told in refusal.value.detail


@pytest.mark.parametrize(
    ("content", "length", "told"),
    [
        (b"", None, "the JSON is wrong in its syntax"),
        (b"{}", None, "the JSON is wrong in inputs"),
        (b'{"inputs":[]}', None, "the inputs are none"),
        (b"{}", 3, "Inference-Header-Content-Length is 3, the body has 2 bytes"),
        (b"{}", -1, "Inference-Header-Content-Length is -1, the body has 2 bytes"),
        (b'{"inputs":[{"name":"image","shape":[0],"datatype":"BYTES","data":[]}],"outputs":[{"name":"logits"}]}', None,
         "unknown output 'logits', there are mask, confidence"),
        (b'{"inputs":[],"sequence":1}', None, "the JSON is wrong in sequence"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused(content: bytes, length: int | None, told: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        read_request(content, length)

    assert told in refusal.value.detail


@given(arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=5)))
def test_an_answer_holds_its_tensors_in_json_or_behind_it(masks: Mask) -> None:
    asked = InferRequest.model_validate({"id": "7", "inputs": [], "outputs": [
        {"name": "confidence", "parameters": {"binary_data": True}}, {"name": "mask"},
    ]})  # fmt: skip

    written = write_answer(asked, {"mask": masks, "confidence": 255 - masks}, model="m", version="2")

    head = json.loads(written.content[: written.json_bytes])
    assert (head["model_name"], head["model_version"], head["id"]) == ("m", "2", "7")
    behind, within = head["outputs"]
    assert (behind["name"], behind["parameters"]) == ("confidence", {"binary_data_size": masks.size})
    assert written.content[written.json_bytes :] == (255 - masks).tobytes()
    np.testing.assert_array_equal(np.reshape(within["data"], within["shape"]), masks)


def test_who_names_no_output_may_still_want_bytes() -> None:
    masks = np.ones((1, 2, 2), np.uint8)

    plain = write_answer(InferRequest(inputs=[]), {"mask": masks}, model="m", version="1")
    binary = write_answer(
        InferRequest(inputs=[], parameters={"binary_data_output": True}), {"mask": masks}, model="m", version="1"
    )

    assert (plain.json_bytes, json.loads(plain.content)["outputs"][0]["data"]) == (None, [1, 1, 1, 1])
    assert binary.json_bytes is not None
    assert binary.content[binary.json_bytes :] == masks.tobytes()
