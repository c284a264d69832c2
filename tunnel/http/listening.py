"""The certificate of a listener, as a process's settings name it."""

from __future__ import annotations

import ssl

from tunnel.settings import SettingError
from tunnel.tls import server_context


def listener_context(cert_file: str, key_file: str, setting: str = "tls") -> ssl.SSLContext:
    """Return the context of a listener that shows this certificate.

    Args:
        cert_file, key_file: PEM.
        setting: its name, for whoever has to put it right.

    Raises:
        SettingError: the files can't be read, or don't belong together.
    """
    try:
        return server_context(cert_file, key_file)
    except OSError:  # ssl.SSLError is one
        raise SettingError(
            f"setting '{setting}': cannot use '{cert_file}' with '{key_file}'; both must be "
            "readable PEM files that belong together"
        ) from None
