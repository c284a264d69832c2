"""Where the customer's webhook looks for secrets."""

from __future__ import annotations

from dataclasses import dataclass

from tunnel.settings import SettingError, setting

KUBERNETES, AWS = "kubernetes", "aws"


@dataclass(frozen=True, slots=True)
class SecretsSettings:
    """The secrets that pods get.

    Args:
        backend: `kubernetes` (Secrets of one namespace) or `aws` (Secrets Manager).
        namespace: of the Kubernetes Secrets.
        aws_region, aws_endpoint_url, aws_ca_file: where AWS is; URL and CA only for tests.
        aws_access_key, aws_secret_file: credentials; empty for boto3's own search.
        aws_prefix: what the names begin with.
    """

    backend: str = KUBERNETES
    namespace: str = "union"
    aws_region: str = "us-east-1"
    aws_endpoint_url: str = ""
    aws_ca_file: str = ""
    aws_access_key: str = ""
    aws_secret_file: str = ""
    aws_prefix: str = "planesplit"
    wait_s: float = setting(
        30.0, low=0.0, high=3600.0, why="a pod waits so long for a missing secret, then it fails"
    )
    retry_s: float = setting(2.0, low=0.05, high=60.0, why="between looks for a missing secret")
    request_s: float = setting(10.0, low=0.1, high=120.0, why="one question to AWS")
    max_secrets: int = setting(50, low=1, high=1000, why="secrets of one pod")

    def check(self) -> SecretsSettings:
        """Return self if the backend is known.

        Raises:
            SettingError: it is not.
        """
        if self.backend not in (KUBERNETES, AWS):
            raise SettingError("setting 'secrets.backend' must be 'kubernetes' or 'aws'")
        return self
