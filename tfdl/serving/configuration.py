"""The files beside the versions of an export that run the real TF Serving on it."""

import hashlib
import importlib.metadata
import pathlib
import re

from tfdl.engine import errors, files

# What a model may be called: the name is part of URLs, paths and service names.
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_MARK = "# Written by tfdl export, checksum "

MODELS = """\
# The models that TF Serving serves (--model_config_file). The path is the one in the
# container; on a bare machine write this folder's absolute path.
# To serve two versions side by side, with labels that clients can ask for:
#   model_version_policy { specific { versions: 1 versions: 2 } }
#   version_labels { key: "stable" value: 1 }
#   version_labels { key: "canary" value: 2 }
model_config_list {
  config {
    name: "@NAME@"
    base_path: "/models/@NAME@"
    model_platform: "tensorflow"
    model_version_policy { latest { num_versions: 1 } }
  }
}
"""

BATCHING = """\
# How requests are joined into batches (--enable_batching --batching_parameters_file).
# Requests of one batch need the same shape but for the first dimension: strings and
# encoded images have it; clients of `ids` pad to one length. Leave
# pad_variable_length_inputs off: it pads with a tensor's first element.
max_batch_size { value: 32 }
# 0 never waits: while a batch is computed the next one fills up. A machine with a GPU
# gains from waiting 1000 to 5000.
batch_timeout_micros { value: 0 }
# Batches computed at a time; the cores of the machine are a good choice.
num_batch_threads { value: 4 }
# More batches waiting than this, and requests are refused as UNAVAILABLE.
max_enqueued_batches { value: 1000 }
"""

MONITORING = """\
# Metrics for Prometheus (--monitoring_config_file), on the REST port.
prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""

_FLAGS = """\
--model_config_file=/models/@NAME@/models.config
--model_config_file_poll_wait_seconds=30
--enable_batching=true
--batching_parameters_file=/models/@NAME@/batching_parameters.txt
--monitoring_config_file=/models/@NAME@/monitoring.config
--allow_version_labels_for_unavailable_models=true
"""

COMPOSE = """\
# docker compose up -d, in this folder; then
#   curl http://localhost:8501/v1/models/@NAME@
# A new version folder is served as soon as `tfdl export` has written it.
services:
  tf-serving:
    image: ${TF_SERVING_IMAGE:-@IMAGE@}
    command:
@COMPOSE_FLAGS@
    volumes:
      - .:/models/@NAME@:ro
    ports:
      - "8500:8500"  # gRPC
      - "8501:8501"  # REST
    restart: unless-stopped
    healthcheck:
      # The image has no curl.
      test:
        - CMD
        - bash
        - -c
        - >-
          exec 3<>/dev/tcp/127.0.0.1/8501 &&
          printf 'GET /v1/models/@NAME@ HTTP/1.0\\r\\n\\r\\n' >&3 &&
          grep -q AVAILABLE <&3
      interval: 10s
      timeout: 5s
      start_period: 60s
"""

KUBERNETES = """\
# kubectl apply -f kubernetes.yaml, once the claim below holds this folder: versions,
# models.config, batching_parameters.txt and monitoring.config. From this folder:
#   kubectl apply -f kubernetes.yaml
#   POD=$(kubectl get pod -l app=@SERVICE@ -o name | head -1)
#   tar -cf - [0-9]* *.txt monitoring.config models.config |
#     kubectl exec -i $POD -c wait -- tar -xf - -C /models/@NAME@
# models.config is the last file: the server starts when it is there. Copy a later
# version under a name that is no number, then rename it: it has to appear whole.
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: @SERVICE@-model
spec:
  accessModes: [ReadWriteOnce]
  resources:
    requests:
      storage: @STORAGE@
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: @SERVICE@
  labels: {app: @SERVICE@}
spec:
  replicas: 1
  selector:
    matchLabels: {app: @SERVICE@}
  strategy:
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  template:
    metadata:
      labels: {app: @SERVICE@}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "8501"
        prometheus.io/path: /monitoring/prometheus/metrics
    spec:
      terminationGracePeriodSeconds: 60
      initContainers:
        - name: wait
          image: busybox:1.36
          command: [sh, -c, "until [ -f $0 ]; do sleep 2; done", @CONFIG@]
          volumeMounts:
            - {name: model, mountPath: /models/@NAME@}
      containers:
        - name: tf-serving
          image: @IMAGE@
          args:
@KUBERNETES_FLAGS@
          ports:
            - {name: grpc, containerPort: 8500}
            - {name: rest, containerPort: 8501}
          # The REST port answers once the models are loaded and warmed up.
          startupProbe:
            httpGet: {path: /v1/models/@NAME@, port: rest}
            periodSeconds: 5
            failureThreshold: 120
          readinessProbe:
            httpGet: {path: /v1/models/@NAME@, port: rest}
            periodSeconds: 5
          livenessProbe:
            tcpSocket: {port: grpc}
            periodSeconds: 15
            failureThreshold: 4
          lifecycle:
            preStop:
              exec: {command: [sleep, "10"]}  # until no new requests arrive
          resources:
            requests: {cpu: "2", memory: @MEMORY@}
            limits: {memory: @MEMORY@}
          volumeMounts:
            - {name: model, mountPath: /models/@NAME@, readOnly: true}
      volumes:
        - name: model
          persistentVolumeClaim: {claimName: @SERVICE@-model}
---
apiVersion: v1
kind: Service
metadata:
  name: @SERVICE@
spec:
  selector: {app: @SERVICE@}
  ports:
    - {name: grpc, port: 8500, targetPort: grpc}
    - {name: rest, port: 8501, targetPort: rest}
"""

TEMPLATES = {
    "models.config": MODELS,
    "batching_parameters.txt": BATCHING,
    "monitoring.config": MONITORING,
    "docker-compose.yml": COMPOSE,
    "kubernetes.yaml": KUBERNETES,
}


def model_name(base: files.PathLike) -> str:
    """Returns the name that a model is served under: that of its folder.

    Raises:
        UserError: the name is of no use in a URL.
    """
    name = pathlib.Path(base).absolute().name
    if not NAME.fullmatch(name):
        raise errors.UserError(
            f"{base}: the folder's name becomes the model's name in URLs; use up to 63 "
            "letters, digits, '.', '_' and '-', with a letter or digit at both ends"
        )
    return name


def write(base: files.PathLike, size: int) -> list[str]:
    """Writes the files beside the versions; those that a person edited stay.

    Args:
        base: the model's folder.
        size: bytes of one version, for the claims of memory and storage.

    Returns:
        The names of the files that were kept as they are.
    """
    base = pathlib.Path(base)
    kept = []
    for name, text in contents(model_name(base), size).items():
        path = base / name
        if path.exists() and not _untouched(path):
            kept.append(name)
        else:
            files.atomic_write(path, f"{_MARK}{_checksum(text)}\n{text}")
    return kept


def contents(name: str, size: int) -> dict[str, str]:
    """Returns the text of every file, without the line that marks it as ours."""
    flags = _FLAGS.replace("@NAME@", name).splitlines()
    gibibytes = -(-size // (1 << 30))
    values = {
        "NAME": name,
        "SERVICE": _service(name),
        "IMAGE": f"tensorflow/serving:{_serving_version()}",
        "CONFIG": f"/models/{name}/models.config",
        "COMPOSE_FLAGS": "\n".join(f"      - {flag}" for flag in flags),
        "KUBERNETES_FLAGS": "\n".join(f"            - {flag}" for flag in flags),
        "STORAGE": f"{5 * gibibytes}Gi",
        # The old version and the new are loaded together for a moment.
        "MEMORY": f"{1 + 3 * gibibytes}Gi",
    }
    return {
        file: re.sub("@([A-Z_]+)@", lambda match: values[match[1]], template)
        for file, template in TEMPLATES.items()
    }


def _service(name: str) -> str:
    """Returns a Kubernetes name: lower case, digits and '-', from a letter on."""
    service = re.sub("[^a-z0-9-]", "-", name.lower()).strip("-")[:50].strip("-")
    return service if service[0].isalpha() else f"model-{service}"


def _serving_version() -> str:
    return importlib.metadata.version("tensorflow-serving-api")


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _untouched(path: pathlib.Path) -> bool:
    """Returns whether a file is as an export wrote it."""
    try:
        first, _, rest = path.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return False
    return first == f"{_MARK}{_checksum(rest)}"
