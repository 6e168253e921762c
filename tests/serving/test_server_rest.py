"""REST as TF Serving's documents have it."""

import base64
import gzip
import json

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import servers
from tfdl.serving import json_tensor
from tfdl.serving.status import StatusError


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    base = tmp_path_factory.mktemp("m")
    servers.export(base, 3)
    labelled = servers.config("m", base, version_labels={"stable": 3})
    unready = {"allow_version_labels_for_unavailable_models": True}
    with servers.running(
        labelled,
        servers.config("a model", base),
        models=unready,
        max_request_bytes=1 << 20,
        rest_api_enable_cors_support=True,
    ) as made:
        yield made


def error(found, code, *texts):
    """Asserts that an answer is an error that says `texts`."""
    status, body = found
    assert status == code, body
    assert list(body) == ["error"]
    for text in texts:
        assert text in body["error"]


class TestPredict:
    def test_rows(self, client):
        assert client.post(":predict", {"instances": [1.0, 2, -5]}) == (
            200,
            {"predictions": [0.5, 1.0, -2.5]},
        )

    def test_integers(self, client):
        low = -(1 << 31)
        for value in (0, -3, low):
            body = {"signature_name": "slow", "instances": [value]}
            assert client.post(":predict", body) == (200, {"predictions": [value]})
        body["instances"] = [low - 1]
        error(client.post(":predict", body), 400, "not of expected type: int32")
        for dtype in (tf.int8, tf.int64, tf.uint8, tf.uint64):
            for value in (dtype.min, dtype.max):
                assert json_tensor._value(value, dtype) == value
            for value in (dtype.min - 1, dtype.max + 1):
                with pytest.raises(StatusError, match="is not of expected type"):
                    json_tensor._value(value, dtype)

    def test_columns(self, client):
        assert client.post(":predict", {"inputs": [1.0, 2]}) == (
            200,
            {"outputs": [0.5, 1.0]},
        )

    def test_named(self, client):
        rows = [{"a": 1, "b": 2}, {"b": 0.5, "a": 0.25}]
        body = {"signature_name": "two", "instances": rows}
        assert client.post(":predict", body)[1]["predictions"] == [
            {"sum": 2.0, "texts": "1.000000"},
            {"sum": 0.5, "texts": "0.250000"},
        ]
        columns = {"a": [1, 0.25], "b": [2, 0.5], "unused": [7]}
        body = {"signature_name": "two", "inputs": columns}
        assert client.post(":predict", body)[1]["outputs"] == {
            "sum": [2.0, 0.5],
            "texts": ["1.000000", "0.250000"],
        }

    def test_one_named_input(self, client):
        body = {"instances": [{"x": 3}]}
        assert client.post(":predict", body)[1] == {"predictions": [1.5]}
        body = {"inputs": {"x": [3]}}
        assert client.post(":predict", body)[1] == {"outputs": [1.5]}

    def test_nested(self, client):
        value = [[[1, 2], [3, 4]], [[5, 6], [7, 8.0]]]
        body = {"signature_name": "matrix", "instances": value}
        found = client.post(":predict", body)[1]["predictions"]
        np.testing.assert_array_equal(found, np.array(value) / 2)

    def test_bytes(self, client):
        raw = bytes(range(256))
        text = base64.b64encode(raw).decode()
        for value in ({"b64": text}, {"image_bytes": {"b64": text}}):
            body = {"signature_name": "picture", "instances": [value]}
            code, found = client.post(":predict", body)
            assert code == 200
            assert found["predictions"] == [{"copy_bytes": {"b64": text}, "size": 256}]
        body = {"signature_name": "picture", "inputs": ["ä", {"b64": "AA"}]}
        found = client.post(":predict", body)[1]["outputs"]
        assert found["copy_bytes"] == [{"b64": "w6Q="}, {"b64": "AA=="}]

    def test_text(self, client):
        texts = ["a b", 'Ω 😀 "\\\n']
        body = {"signature_name": "words", "instances": texts}
        found = client.post(":predict", body)[1]["predictions"]
        assert [one["text"] for one in found] == texts
        # What is no text comes back as bytes, not as something else.
        body["instances"] = [{"b64": "/w=="}]
        found = client.post(":predict", body)[1]["predictions"]
        assert found[0]["text"] == {"b64": "/w=="}

    def test_no_numbers(self, client):
        body = '{"instances": [NaN, Infinity, -Infinity, Inf, -Inf, 1]}'
        code, found = client.http("POST", "/v1/models/m:predict", body)
        assert code == 200
        expected = [np.nan, np.inf, -np.inf, np.inf, -np.inf, 0.5]
        np.testing.assert_array_equal(found["predictions"], expected)
        body = '{"signature_name": "words", "instances": ["NaN Inf \\" NaN"]}'
        code, found = client.http("POST", "/v1/models/m:predict", body)
        assert found["predictions"][0]["text"] == 'NaN Inf " NaN'

    def test_floats_are_short_and_exact(self, client):
        values = np.float32([0.1, 1e-30, 16777217, 3])
        body = json.dumps({"instances": (values.astype(float) * 2).tolist()})
        path = "/v1/models/m:predict"
        code, found = client.http("POST", path, body)
        assert (np.float32(found["predictions"]) == values).all()
        assert found["predictions"][0] == 0.1

    def test_versions_and_labels(self, client):
        for place in ("/versions/3", "/labels/stable"):
            assert client.post(f"{place}:predict", {"instances": [1]})[0] == 200
        found = client.post("/versions/4:predict", {"instances": [1]})
        error(found, 404, "Servable not found for request: Specific(m, 4)")
        found = client.post("/labels/canary:predict", {"instances": [1]})
        error(found, 400, "Unrecognized servable version label: canary")
        found = client.post(f"/versions/{'9' * 30}:predict", {"instances": [1]})
        error(found, 400, "Failed to convert version")

    def test_paths_are_escaped_and_any_case(self, client):
        found = client.http("POST", "/V1/Models/a%20model:PREDICT", {"instances": [2]})
        assert found == (200, {"predictions": [1.0]})

    def test_gzip(self, client):
        body = gzip.compress(b'{"instances": [2.0]}')
        headers = {"Content-Encoding": "gzip"}
        found = client.http("POST", "/v1/models/m:predict", body, headers)
        assert found == (200, {"predictions": [1.0]})
        bomb = gzip.compress(b" " * (4 << 20))
        assert client.http("POST", "/v1/models/m:predict", bomb, headers)[0] == 413


INSTANCES = "Failed to process element"


@pytest.mark.parametrize(
    "body, text",
    [
        ("", "JSON Parse error: The document is empty"),
        ('{"instances": [1}', "JSON Parse error"),
        ("\x00\xff", "JSON Parse error"),
        ("[1]", "Is not object"),
        ("[" * 5000, "JSON Parse error"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": [1], "inputs": [1]}, "expecting only one of"),
        ({"instances": 1}, "Expecting 'instances' to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": [1], "signature_name": 3}, "must be a string value"),
        ({"instances": [1], "signature_name": "no"}, '"no" not found in signature def'),
        ({"instances": ["a"]}, f"{INSTANCES}: 0 of 'instances' list. Error: INVALID_"),
        ({"instances": ["a"]}, "Type: String is not of expected type: float"),
        ({"instances": [1, True]}, "Type: True is not of expected type: float"),
        ({"instances": [None]}, "Type: Null is not"),
        ({"instances": [1, [2]]}, "Expecting shape [] but got: [1]"),
        ({"instances": [[1], [1, 2]]}, "Expecting shape [1] but got: [2]"),
        ({"instances": [1, {"x": 1}]}, "Expecting value/list but got object at item 1"),
        ({"instances": [{"x": 1}, 1]}, "Expecting object but got list at item 1"),
        ({"instances": [{"y": 1}]}, "keys must be equal to: x"),
        ({"instances": [{"x": 1, "y": 1}]}, "keys must be equal to: x"),
        ({"instances": [1], "signature_name": "two"}, "instances is a plain list, but"),
        ({"inputs": [1], "signature_name": "two"}, "inputs is a plain value/list, but"),
        ({"inputs": {"a": [1]}, "signature_name": "two"}, "Missing named input: b in"),
        ({"inputs": [[1], [1, 2]]}, "unexpected size: 2 at level: 1 expected size: 1"),
        ({"inputs": [[1], 2]}, "found at incorrect level: 2 in the JSON DOM"),
        ({"inputs": [1, [2]]}, "Encountered list at unexpected level: 1 expected < 1"),
        ({"inputs": 1}, 'input "x" to be float[?] but float[] is provided'),
        ({"inputs": [[1.5]]}, 'input "x" to be float[?] but float[1,1] is provided'),
        ({"instances": [1.5], "signature_name": "slow"}, "not of expected type: int32"),
        ({"instances": [1 << 31], "signature_name": "slow"}, "of expected type: int32"),
        ({"instances": [1], "signature_name": "words"}, "not of expected type: string"),
        ({"instances": [{"b64": "*"}], "signature_name": "picture"}, "base64 decode"),
        ({"instances": [[{"b": 1}]], "signature_name": "words"}, "for base64 data"),
        ({"instances": [-1], "signature_name": "strict"}, "assert"),
    ],
)
def test_what_is_wrong_is_told(client, body, text):
    body = body.encode("latin-1") if isinstance(body, str) else body
    error(client.post(":predict", body), 400, text)
    assert client.post(":predict", {"instances": [2]})[1] == {"predictions": [1.0]}


class TestExamples:
    def test_classify(self, client):
        body = {"signature_name": "classify", "examples": [{"x": 1.0}, {"x": [3.0]}]}
        assert client.post(":classify", body) == (
            200,
            {
                "results": [
                    [["low", -0.5], ["high", 0.5]],
                    [["low", -1.5], ["high", 1.5]],
                ]
            },
        )

    def test_regress(self, client):
        body = {"signature_name": "regress", "examples": [{"x": 1.0}, {}]}
        assert client.post(":regress", body) == (200, {"results": [0.5, 0.0]})

    def test_context(self, client):
        body = {"signature_name": "regress", "context": {"x": 4.0}, "examples": [{}]}
        assert client.post(":regress", body) == (200, {"results": [2.0]})

    @pytest.mark.parametrize(
        "body, text",
        [
            ({}, "key 'examples' is expected and was not found"),
            ({"examples": {}}, "Expecting 'examples' value to be an list/array"),
            ({"examples": []}, "'examples' value is an empty array"),
            ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
            ({"examples": [{"x": [1.5, "a"]}]}, "feature: x expecting type: float"),
            ({"examples": [{"x": None}]}, "unexpected JSON type: Null"),
            ({"examples": [{"x": [[1]]}]}, "unexpected JSON type: Array"),
            ({"examples": [{"x": 1 << 63}]}, "Only int64_t is supported"),
            ({"examples": [{"x": 1.0}], "signature_name": "no"}, "with the name: no"),
            ({"examples": [{"x": 1}]}, "Data types don't match"),
            ({"examples": [{"x": 1.0}], "signature_name": "two"}, "one input Tensor"),
        ],
    )
    def test_errors(self, client, body, text):
        body = {"signature_name": "regress", **body}
        error(client.post(":regress", body), 400, text)


class TestModels:
    def test_status(self, client):
        expected = {
            "model_version_status": [
                {
                    "version": "3",
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
            ]
        }
        for path in ("", "/versions/3", "/labels/stable"):
            assert client.http("GET", f"/v1/models/m{path}") == (200, expected)
        error(client.http("GET", "/v1/models/no"), 404, "any versions of model no")
        found = client.http("GET", "/v1/models/m/versions/1")
        error(found, 404, "Could not find version 1 of model m")
        error(client.http("GET", "/v1/models"), 400, "Missing model name in request.")

    def test_metadata(self, client):
        code, found = client.http("GET", "/v1/models/m/metadata")
        assert code == 200
        spec = {"name": "m", "signature_name": "", "version": "3"}
        assert found["model_spec"] == spec
        signatures = found["metadata"]["signature_def"]["signature_def"]
        assert set(servers.SIGNATURES) <= set(signatures)
        described = signatures["matrix"]["inputs"]["x"]
        assert described["dtype"] == "DT_FLOAT"
        sizes = [d["size"] for d in described["tensor_shape"]["dim"]]
        assert sizes == ["-1", "2", "2"]
        assert client.http("GET", "/v1/models/m/versions/3/metadata")[0] == 200
        error(client.http("GET", "/v1/models/no/metadata"), 404, "Latest(no)")

    @pytest.mark.parametrize(
        "method, path, code",
        [
            ("GET", "/v1/models/m:predict", 400),
            ("POST", "/v1/models/m", 400),
            ("POST", "/v1/models/m:explain", 400),
            ("PUT", "/v1/models/m:predict", 400),
            ("POST", "/v1/models/m/versions/x:predict", 400),
            ("POST", "/v1/models/../../etc/passwd:predict", 400),
            ("GET", "/v1/nothing", 400),
            ("GET", "/", 404),
            ("GET", "/etc/passwd", 404),
        ],
    )
    def test_other_paths(self, client, method, path, code):
        error(client.http(method, path, b"{}"), code, path.partition("?")[0])

    def test_names_stay_names(self, client):
        path = "/v1/models/..%2F..%2Fetc:predict"
        found = client.http("POST", path, {"instances": [1]})
        error(found, 404, "Servable not found for request: Latest(../../etc)")

    def test_cors(self, client):
        headers = {"Origin": "http://example.com"}
        assert client.http("OPTIONS", "/v1/models/m:predict", None, headers)[0] == 200
        assert client.http("OPTIONS", "/v1/models/m:predict")[0] == 400


def test_metrics(client):
    client.post(":predict", {"instances": [1]})
    client.post(":predict", {"instances": ["a"]})
    client.post(":predict", {"instances": ["a"]}, model="made-up")
    code, page = client.http("GET", "/monitoring/prometheus/metrics")
    assert code == 200
    lines = page.splitlines()
    assert "# TYPE :tensorflow:serving:request_count counter" in lines
    count = ':tensorflow:serving:request_count{model_name="m",status="OK"} '
    assert any(line.startswith(count) for line in lines)
    assert any('model_name="m",status="INVALID_ARGUMENT"' in line for line in lines)
    assert "made-up" not in page
    labels = 'model_name="m",API="predict",entrypoint="REST"'
    latency = f":tensorflow:serving:request_latency_bucket{{{labels},le="
    buckets = [line for line in lines if line.startswith(latency)]
    counts = [int(line.rsplit(" ", 1)[1]) for line in buckets]
    assert len(counts) == 34 and counts == sorted(counts) and counts[-1] >= 1
    total = next(line for line in lines if f"request_latency_count{{{labels}" in line)
    assert int(total.rsplit(" ", 1)[1]) == counts[-1]


def test_older_savedmodels(tmp_path):
    """A SavedModel of TensorFlow 1: a graph, fed by name."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        weight = tf.compat.v1.get_variable("w", initializer=3.0, use_resource=False)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(
            session, str(tmp_path / "1"), {"x": x}, {"y": x * weight}
        )
    with servers.running(servers.config("m", tmp_path)) as client:
        assert client.post(":predict", {"instances": [2]})[1] == {"predictions": [6.0]}
