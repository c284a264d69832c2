import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

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
    __slots__ = ("image", "command", "args", "env")
    class EnvEntry(_message.Message):
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
    image: str
    command: _containers.RepeatedScalarFieldContainer[str]
    args: _containers.RepeatedScalarFieldContainer[str]
    env: _containers.ScalarMap[str, str]
    def __init__(self, image: _Optional[str] = ..., command: _Optional[_Iterable[str]] = ..., args: _Optional[_Iterable[str]] = ..., env: _Optional[_Mapping[str, str]] = ...) -> None: ...

class AssignRequest(_message.Message):
    __slots__ = ("action", "container")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    action: Action
    container: Container
    def __init__(self, action: _Optional[_Union[Action, _Mapping]] = ..., container: _Optional[_Union[Container, _Mapping]] = ...) -> None: ...

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
