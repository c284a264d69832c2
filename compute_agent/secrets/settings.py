"""Where the customer keeps secrets, and the bounds of writing them."""

from __future__ import annotations

from dataclasses import dataclass, field

from tunnel.settings import SettingError, setting

KUBERNETES, AWS = "kubernetes", "aws"


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """AWS Secrets Manager; the credentials' owner may create, describe, list, put and delete.

    Args:
        region: of the secrets.
        endpoint_url: instead of AWS; for tests.
        ca_file: CA of that endpoint; empty for the system's.
        access_key, secret_file: credentials; empty for boto3's own search (instance role ...).
        prefix: begins every name.
    """

    region: str = "us-east-1"
    endpoint_url: str = ""
    ca_file: str = ""
    access_key: str = ""
    secret_file: str = ""
    prefix: str = "planesplit"
    request_s: float = setting(10.0, low=0.1, high=120.0, why="one call; the client may try again")
    max_calls: int = setting(4, low=1, high=64, why="calls at once; each occupies a thread")


@dataclass(frozen=True, slots=True)
class SecretSettings:
    """The secrets backend.

    Args:
        backend: `kubernetes`, `aws`, or empty for none.
        namespace: where Kubernetes Secrets are kept (the white paper's, Appendix D).
        aws: see AwsSettings.
    """

    backend: str = ""
    namespace: str = "union"
    aws: AwsSettings = field(default_factory=AwsSettings)
    max_value_bytes: int = setting(
        65_536, low=1, high=786_432, why="quota of AWS Secrets Manager, so that both take the same"
    )
    page_size: int = setting(
        500,
        low=1,
        high=1000,
        why="secrets of a list's page at least: pages of several clusters come as one answer",
    )

    def check(self) -> SecretSettings:
        """Return self if the backend is known.

        Raises:
            SettingError: it is not.
        """
        if self.backend not in ("", KUBERNETES, AWS):
            raise SettingError("setting 'secrets.backend' must be 'kubernetes', 'aws' or empty")
        return self
