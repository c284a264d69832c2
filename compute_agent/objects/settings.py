"""What an operator may set of the agent's way to the customer's object store."""

from __future__ import annotations

from dataclasses import dataclass

from tunnel.settings import setting

MAX_URL_TTL_S = 3600.0  # the white paper's default and maximum of a presigned URL


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """Credentials of one service account (Appendix E).

    Args:
        access_key: its public half.
        secret_file: file of the secret half, read again when it changes.
    """

    access_key: str
    secret_file: str


@dataclass(frozen=True, slots=True)
class ObjectSettings:
    """The customer's object store.

    Args:
        endpoint_url: where the agent reaches the store.
        executor: signs uploads and code bundles, writes inputs; reads and writes both buckets.
        proxy_system: signs downloads of inputs, outputs and reports; reads the metadata bucket.
        public_url: where viewers reach the store, signed into URLs; `endpoint_url` if empty.
        ca_file: the CA of the store's certificate; the system's if empty.
        region, metadata_bucket, fast_registration_bucket: of the store.
    """

    endpoint_url: str
    executor: StoreIdentity
    proxy_system: StoreIdentity
    public_url: str = ""
    ca_file: str = ""
    region: str = "us-east-1"
    metadata_bucket: str = "planesplit-metadata"
    fast_registration_bucket: str = "planesplit-fast-registration"
    url_ttl_s: float = setting(
        MAX_URL_TTL_S, low=1.0, high=MAX_URL_TTL_S, why="the white paper's default and maximum: 1 h"
    )
    request_s: float = setting(
        10.0, low=0.1, high=120.0, why="one look at the store, or one small object read or written"
    )
    copy_s: float = setting(
        300.0,
        low=1.0,
        high=3600.0,
        why="staging of one code bundle: 1 GiB at 30 Mbit/s",
    )
    connections: int = setting(
        16, low=2, high=256, why="to the store at a time; a look takes milliseconds"
    )


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """What a task's container is told of its surroundings.

    Args:
        control_endpoint: where flyte's runtime in a pod would ask for further actions. Nothing is
            asked by a task that starts none; the default is an address where nobody listens.
    """

    control_endpoint: str = "localhost:9"
