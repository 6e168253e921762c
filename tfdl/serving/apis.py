"""The calls of TF Serving's services, apart from how they travel."""

from google.protobuf import any_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from tfdl.serving import status
from tfdl.serving.inference import Inference, fill_spec
from tfdl.serving.manager import Manager
from tfdl.serving.metrics import Metrics
from tfdl.serving.status import Code, StatusError

SIGNATURE_DEF = "signature_def"


class Apis:
    """Answers requests with the models of a manager.

    Args:
        manager: has the models.
        inference: runs them.
        metrics: counts.
    """

    def __init__(self, manager: Manager, inference: Inference, metrics: Metrics):
        self.manager, self.inference, self.metrics = manager, inference, metrics

    def predict(
        self, request: predict_pb2.PredictRequest
    ) -> predict_pb2.PredictResponse:
        """PredictionService.Predict."""
        _require_spec(request)
        with self.manager.borrow(request.model_spec) as servable:
            return self.inference.predict(servable, request)

    def classify(
        self, request: classification_pb2.ClassificationRequest
    ) -> classification_pb2.ClassificationResponse:
        """PredictionService.Classify."""
        _require_spec(request)
        with self.manager.borrow(request.model_spec) as servable:
            return self.inference.classify(servable, request)

    def regress(
        self, request: regression_pb2.RegressionRequest
    ) -> regression_pb2.RegressionResponse:
        """PredictionService.Regress."""
        _require_spec(request)
        with self.manager.borrow(request.model_spec) as servable:
            return self.inference.regress(servable, request)

    def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest
    ) -> inference_pb2.MultiInferenceResponse:
        """PredictionService.MultiInference: all tasks on the same model and input."""
        names = [task.model_spec.name for task in request.tasks]
        if not names:
            raise status.invalid("Inference request must have at least one task")
        if not all(names):
            raise status.invalid("Found ModelSpec with an empty model name.")
        if len(set(names)) > 1:
            raise status.invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the same model "
                "name."
            )
        with self.manager.borrow(request.tasks[0].model_spec) as servable:
            return self.inference.multi_inference(servable, request)

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """PredictionService.GetModelMetadata."""
        _require_spec(request)
        if not request.metadata_field:
            raise status.invalid(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                raise status.invalid(f"Metadata field {field} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with self.manager.borrow(request.model_spec) as servable:
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, definition in servable.definitions.items():
                signatures.signature_def[name].CopyFrom(definition)
            packed = any_pb2.Any()
            packed.Pack(signatures)
            response.metadata[SIGNATURE_DEF].CopyFrom(packed)
            fill_spec(response.model_spec, servable)
        return response

    def model_status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """ModelService.GetModelStatus."""
        _require_spec(request)
        name = request.model_spec.name
        found = self.manager.states(name)
        if request.model_spec.HasField("version"):
            version = request.model_spec.version.value
            found = [one for one in found if one[0] == version]
            if not found:
                raise StatusError(
                    Code.NOT_FOUND, f"Could not find version {version} of model {name}"
                )
        if not found:
            raise StatusError(
                Code.NOT_FOUND, f"Could not find any versions of model {name}"
            )
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, state, error in found:
            added = response.model_version_status.add(version=version, state=state)
            added.status.error_code = int(error.code) if error else 0
            added.status.error_message = error.message if error else ""
        return response

    def reload_config(
        self, request: model_management_pb2.ReloadConfigRequest
    ) -> model_management_pb2.ReloadConfigResponse:
        """ModelService.HandleReloadConfigRequest."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise status.invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        before = {name: self.metrics.by_name(name) for name in request.metric_names}
        self.manager.reload(list(request.config.model_config_list.config))
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = 0
        for name, value in before.items():
            increase = self.metrics.by_name(name) - value
            response.metric.add(name=name, int64_value_increase=increase)
        return response


def _require_spec(request) -> None:
    if not request.HasField("model_spec"):
        raise status.invalid("Missing ModelSpec")
