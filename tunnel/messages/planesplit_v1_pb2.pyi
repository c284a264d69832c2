import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ResultFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESULT_FORMAT_UNSPECIFIED: _ClassVar[ResultFormat]
    RESULT_FORMAT_JSON_EACH_ROW: _ClassVar[ResultFormat]
    RESULT_FORMAT_NATIVE: _ClassVar[ResultFormat]

class Artifact(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ARTIFACT_UNSPECIFIED: _ClassVar[Artifact]
    ARTIFACT_CODE_BUNDLE: _ClassVar[Artifact]
    ARTIFACT_REPORT: _ClassVar[Artifact]
RESULT_FORMAT_UNSPECIFIED: ResultFormat
RESULT_FORMAT_JSON_EACH_ROW: ResultFormat
RESULT_FORMAT_NATIVE: ResultFormat
ARTIFACT_UNSPECIFIED: Artifact
ARTIFACT_CODE_BUNDLE: Artifact
ARTIFACT_REPORT: Artifact

class Action(_message.Message):
    __slots__ = ("org", "project", "domain", "run", "action", "attempt")
    ORG_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    org: str
    project: str
    domain: str
    run: str
    action: str
    attempt: int
    def __init__(self, org: _Optional[str] = ..., project: _Optional[str] = ..., domain: _Optional[str] = ..., run: _Optional[str] = ..., action: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...

class Container(_message.Message):
    __slots__ = ("image", "command", "args", "env", "secrets", "requests")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class RequestsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    image: str
    command: _containers.RepeatedScalarFieldContainer[str]
    args: _containers.RepeatedScalarFieldContainer[str]
    env: _containers.ScalarMap[str, str]
    secrets: _containers.RepeatedCompositeFieldContainer[SecretMount]
    requests: _containers.ScalarMap[str, str]
    def __init__(self, image: _Optional[str] = ..., command: _Optional[_Iterable[str]] = ..., args: _Optional[_Iterable[str]] = ..., env: _Optional[_Mapping[str, str]] = ..., secrets: _Optional[_Iterable[_Union[SecretMount, _Mapping]]] = ..., requests: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SecretMount(_message.Message):
    __slots__ = ("key", "env_var", "mount_path")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ENV_VAR_FIELD_NUMBER: _ClassVar[int]
    MOUNT_PATH_FIELD_NUMBER: _ClassVar[int]
    key: str
    env_var: str
    mount_path: str
    def __init__(self, key: _Optional[str] = ..., env_var: _Optional[str] = ..., mount_path: _Optional[str] = ...) -> None: ...

class AssignRequest(_message.Message):
    __slots__ = ("action", "container", "inputs_uri", "created_at", "task_name", "task_version")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    INPUTS_URI_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    TASK_NAME_FIELD_NUMBER: _ClassVar[int]
    TASK_VERSION_FIELD_NUMBER: _ClassVar[int]
    action: Action
    container: Container
    inputs_uri: str
    created_at: _timestamp_pb2.Timestamp
    task_name: str
    task_version: str
    def __init__(self, action: _Optional[_Union[Action, _Mapping]] = ..., container: _Optional[_Union[Container, _Mapping]] = ..., inputs_uri: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., task_name: _Optional[str] = ..., task_version: _Optional[str] = ...) -> None: ...

class AssignResponse(_message.Message):
    __slots__ = ("pod", "already_assigned")
    POD_FIELD_NUMBER: _ClassVar[int]
    ALREADY_ASSIGNED_FIELD_NUMBER: _ClassVar[int]
    pod: str
    already_assigned: bool
    def __init__(self, pod: _Optional[str] = ..., already_assigned: _Optional[bool] = ...) -> None: ...

class AbortRequest(_message.Message):
    __slots__ = ("action", "reason")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    action: Action
    reason: str
    def __init__(self, action: _Optional[_Union[Action, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class AbortResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PhaseEvent(_message.Message):
    __slots__ = ("action", "phase", "at", "sequence", "exit_code", "pod", "has_exit_code")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    HAS_EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    action: Action
    phase: int
    at: _timestamp_pb2.Timestamp
    sequence: int
    exit_code: int
    pod: str
    has_exit_code: bool
    def __init__(self, action: _Optional[_Union[Action, _Mapping]] = ..., phase: _Optional[int] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sequence: _Optional[int] = ..., exit_code: _Optional[int] = ..., pod: _Optional[str] = ..., has_exit_code: _Optional[bool] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("org", "cluster", "phases", "healthy", "full")
    ORG_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    PHASES_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    org: str
    cluster: str
    phases: _containers.RepeatedCompositeFieldContainer[PhaseEvent]
    healthy: bool
    full: bool
    def __init__(self, org: _Optional[str] = ..., cluster: _Optional[str] = ..., phases: _Optional[_Iterable[_Union[PhaseEvent, _Mapping]]] = ..., healthy: _Optional[bool] = ..., full: _Optional[bool] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ("accepted",)
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    def __init__(self, accepted: _Optional[int] = ...) -> None: ...

class HealthRequest(_message.Message):
    __slots__ = ("org", "cluster", "healthy", "reasons", "usage", "data_url")
    ORG_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    DATA_URL_FIELD_NUMBER: _ClassVar[int]
    org: str
    cluster: str
    healthy: bool
    reasons: _containers.RepeatedScalarFieldContainer[str]
    usage: Usage
    data_url: str
    def __init__(self, org: _Optional[str] = ..., cluster: _Optional[str] = ..., healthy: _Optional[bool] = ..., reasons: _Optional[_Iterable[str]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., data_url: _Optional[str] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("nodes", "pods_running", "pods_pending", "cpu_cores", "cpu_used_cores", "memory_bytes", "memory_used_bytes")
    NODES_FIELD_NUMBER: _ClassVar[int]
    PODS_RUNNING_FIELD_NUMBER: _ClassVar[int]
    PODS_PENDING_FIELD_NUMBER: _ClassVar[int]
    CPU_CORES_FIELD_NUMBER: _ClassVar[int]
    CPU_USED_CORES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    nodes: int
    pods_running: int
    pods_pending: int
    cpu_cores: float
    cpu_used_cores: float
    memory_bytes: int
    memory_used_bytes: int
    def __init__(self, nodes: _Optional[int] = ..., pods_running: _Optional[int] = ..., pods_pending: _Optional[int] = ..., cpu_cores: _Optional[float] = ..., cpu_used_cores: _Optional[float] = ..., memory_bytes: _Optional[int] = ..., memory_used_bytes: _Optional[int] = ...) -> None: ...

class HealthResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Binding(_message.Message):
    __slots__ = ("subject", "role", "org", "project", "domain")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    ORG_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    subject: str
    role: str
    org: str
    project: str
    domain: str
    def __init__(self, subject: _Optional[str] = ..., role: _Optional[str] = ..., org: _Optional[str] = ..., project: _Optional[str] = ..., domain: _Optional[str] = ...) -> None: ...

class AccessRequest(_message.Message):
    __slots__ = ("version", "issuer", "jwks", "bindings", "revoked", "expires_s")
    class RevokedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    JWKS_FIELD_NUMBER: _ClassVar[int]
    BINDINGS_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_S_FIELD_NUMBER: _ClassVar[int]
    version: int
    issuer: str
    jwks: str
    bindings: _containers.RepeatedCompositeFieldContainer[Binding]
    revoked: _containers.ScalarMap[str, int]
    expires_s: int
    def __init__(self, version: _Optional[int] = ..., issuer: _Optional[str] = ..., jwks: _Optional[str] = ..., bindings: _Optional[_Iterable[_Union[Binding, _Mapping]]] = ..., revoked: _Optional[_Mapping[str, int]] = ..., expires_s: _Optional[int] = ...) -> None: ...

class AccessResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class RunScope(_message.Message):
    __slots__ = ("org", "project", "domain", "run")
    ORG_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    org: str
    project: str
    domain: str
    run: str
    def __init__(self, org: _Optional[str] = ..., project: _Optional[str] = ..., domain: _Optional[str] = ..., run: _Optional[str] = ...) -> None: ...

class QueryParameter(_message.Message):
    __slots__ = ("name", "type", "description", "default", "required")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    description: str
    default: str
    required: bool
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., description: _Optional[str] = ..., default: _Optional[str] = ..., required: _Optional[bool] = ...) -> None: ...

class QueryColumn(_message.Message):
    __slots__ = ("name", "type", "unit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    unit: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., unit: _Optional[str] = ...) -> None: ...

class NamedQuery(_message.Message):
    __slots__ = ("name", "description", "parameters", "columns")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    parameters: _containers.RepeatedCompositeFieldContainer[QueryParameter]
    columns: _containers.RepeatedCompositeFieldContainer[QueryColumn]
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., parameters: _Optional[_Iterable[_Union[QueryParameter, _Mapping]]] = ..., columns: _Optional[_Iterable[_Union[QueryColumn, _Mapping]]] = ...) -> None: ...

class ListQueriesRequest(_message.Message):
    __slots__ = ("org", "project", "domain")
    ORG_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    org: str
    project: str
    domain: str
    def __init__(self, org: _Optional[str] = ..., project: _Optional[str] = ..., domain: _Optional[str] = ...) -> None: ...

class ListQueriesResponse(_message.Message):
    __slots__ = ("queries",)
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    queries: _containers.RepeatedCompositeFieldContainer[NamedQuery]
    def __init__(self, queries: _Optional[_Iterable[_Union[NamedQuery, _Mapping]]] = ...) -> None: ...

class QueryRequest(_message.Message):
    __slots__ = ("name", "scope", "parameters", "format")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    name: str
    scope: RunScope
    parameters: _containers.ScalarMap[str, str]
    format: ResultFormat
    def __init__(self, name: _Optional[str] = ..., scope: _Optional[_Union[RunScope, _Mapping]] = ..., parameters: _Optional[_Mapping[str, str]] = ..., format: _Optional[_Union[ResultFormat, str]] = ...) -> None: ...

class QueryResponse(_message.Message):
    __slots__ = ("chunk",)
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    def __init__(self, chunk: _Optional[bytes] = ...) -> None: ...

class SignDownloadRequest(_message.Message):
    __slots__ = ("org", "project", "domain", "uri", "expires_in_s")
    ORG_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_S_FIELD_NUMBER: _ClassVar[int]
    org: str
    project: str
    domain: str
    uri: str
    expires_in_s: int
    def __init__(self, org: _Optional[str] = ..., project: _Optional[str] = ..., domain: _Optional[str] = ..., uri: _Optional[str] = ..., expires_in_s: _Optional[int] = ...) -> None: ...

class SignUploadRequest(_message.Message):
    __slots__ = ("org", "project", "domain", "uri", "expires_in_s", "content_md5", "content_length")
    ORG_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_S_FIELD_NUMBER: _ClassVar[int]
    CONTENT_MD5_FIELD_NUMBER: _ClassVar[int]
    CONTENT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    org: str
    project: str
    domain: str
    uri: str
    expires_in_s: int
    content_md5: bytes
    content_length: int
    def __init__(self, org: _Optional[str] = ..., project: _Optional[str] = ..., domain: _Optional[str] = ..., uri: _Optional[str] = ..., expires_in_s: _Optional[int] = ..., content_md5: _Optional[bytes] = ..., content_length: _Optional[int] = ...) -> None: ...

class SignedUrl(_message.Message):
    __slots__ = ("url", "expires_at", "headers")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    URL_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    url: str
    expires_at: _timestamp_pb2.Timestamp
    headers: _containers.ScalarMap[str, str]
    def __init__(self, url: _Optional[str] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., headers: _Optional[_Mapping[str, str]] = ...) -> None: ...

class DownloadLinkRequest(_message.Message):
    __slots__ = ("artifact", "action", "uri", "expires_in_s")
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_S_FIELD_NUMBER: _ClassVar[int]
    artifact: Artifact
    action: Action
    uri: str
    expires_in_s: int
    def __init__(self, artifact: _Optional[_Union[Artifact, str]] = ..., action: _Optional[_Union[Action, _Mapping]] = ..., uri: _Optional[str] = ..., expires_in_s: _Optional[int] = ...) -> None: ...

class Cluster(_message.Message):
    __slots__ = ("org", "cluster", "enabled", "tunnel", "since", "healthy", "reasons", "heard_at", "usage", "rtt_ms")
    ORG_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    TUNNEL_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    HEARD_AT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    RTT_MS_FIELD_NUMBER: _ClassVar[int]
    org: str
    cluster: str
    enabled: bool
    tunnel: str
    since: _timestamp_pb2.Timestamp
    healthy: bool
    reasons: _containers.RepeatedScalarFieldContainer[str]
    heard_at: _timestamp_pb2.Timestamp
    usage: Usage
    rtt_ms: float
    def __init__(self, org: _Optional[str] = ..., cluster: _Optional[str] = ..., enabled: _Optional[bool] = ..., tunnel: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., healthy: _Optional[bool] = ..., reasons: _Optional[_Iterable[str]] = ..., heard_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., rtt_ms: _Optional[float] = ...) -> None: ...

class ListClustersRequest(_message.Message):
    __slots__ = ("org",)
    ORG_FIELD_NUMBER: _ClassVar[int]
    org: str
    def __init__(self, org: _Optional[str] = ...) -> None: ...

class ListClustersResponse(_message.Message):
    __slots__ = ("clusters",)
    CLUSTERS_FIELD_NUMBER: _ClassVar[int]
    clusters: _containers.RepeatedCompositeFieldContainer[Cluster]
    def __init__(self, clusters: _Optional[_Iterable[_Union[Cluster, _Mapping]]] = ...) -> None: ...

class SetClusterRequest(_message.Message):
    __slots__ = ("org", "cluster", "enabled")
    ORG_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    org: str
    cluster: str
    enabled: bool
    def __init__(self, org: _Optional[str] = ..., cluster: _Optional[str] = ..., enabled: _Optional[bool] = ...) -> None: ...

class SetClusterResponse(_message.Message):
    __slots__ = ("cluster",)
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    cluster: Cluster
    def __init__(self, cluster: _Optional[_Union[Cluster, _Mapping]] = ...) -> None: ...

class Principal(_message.Message):
    __slots__ = ("subject", "kind", "org", "bindings")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ORG_FIELD_NUMBER: _ClassVar[int]
    BINDINGS_FIELD_NUMBER: _ClassVar[int]
    subject: str
    kind: str
    org: str
    bindings: _containers.RepeatedCompositeFieldContainer[Binding]
    def __init__(self, subject: _Optional[str] = ..., kind: _Optional[str] = ..., org: _Optional[str] = ..., bindings: _Optional[_Iterable[_Union[Binding, _Mapping]]] = ...) -> None: ...

class ListPrincipalsRequest(_message.Message):
    __slots__ = ("org",)
    ORG_FIELD_NUMBER: _ClassVar[int]
    org: str
    def __init__(self, org: _Optional[str] = ...) -> None: ...

class ListPrincipalsResponse(_message.Message):
    __slots__ = ("principals",)
    PRINCIPALS_FIELD_NUMBER: _ClassVar[int]
    principals: _containers.RepeatedCompositeFieldContainer[Principal]
    def __init__(self, principals: _Optional[_Iterable[_Union[Principal, _Mapping]]] = ...) -> None: ...

class BindRequest(_message.Message):
    __slots__ = ("binding",)
    BINDING_FIELD_NUMBER: _ClassVar[int]
    binding: Binding
    def __init__(self, binding: _Optional[_Union[Binding, _Mapping]] = ...) -> None: ...

class BindResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RevokeRequest(_message.Message):
    __slots__ = ("org", "subject", "hold", "release")
    ORG_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    org: str
    subject: str
    hold: bool
    release: bool
    def __init__(self, org: _Optional[str] = ..., subject: _Optional[str] = ..., hold: _Optional[bool] = ..., release: _Optional[bool] = ...) -> None: ...

class RevokeResponse(_message.Message):
    __slots__ = ("not_before",)
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    not_before: _timestamp_pb2.Timestamp
    def __init__(self, not_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
