"""Why an exchange is not what it seems to be: one reason each, for the journal and the caller."""

from __future__ import annotations

import enum

from connectrpc.code import Code
from connectrpc.errors import ConnectError


class Flaw(enum.StrEnum):
    """What is wrong with the proof of an exchange."""

    MISSING = "no_proof"
    INVALID = "bad_proof"
    EXPIRED = "expired_proof"
    REVOKED = "revoked"
    OTHER_SUBJECT = "other_subject"
    OTHER_EXCHANGE = "other_exchange"
    ALTERED = "altered_body"
    REPLAYED = "replayed_proof"
    OTHER_START = "other_start"


_TEXTS = {
    Flaw.MISSING: "nobody proves who asks; relay or control plane may be of an earlier release",
    Flaw.INVALID: "the proof of who asks is not one of this org's issuer",
    Flaw.EXPIRED: "the proof of who asks has expired",
    Flaw.REVOKED: "the tokens of who asks were revoked",
    Flaw.OTHER_SUBJECT: "the relay names somebody else than the proof does",
    Flaw.OTHER_EXCHANGE: "the proof is of another exchange",
    Flaw.ALTERED: "the request is not the one that was signed",
    Flaw.REPLAYED: "the proof was used before",
    Flaw.OTHER_START: "the proof is for another start of this agent; sign again",
}
_ANONYMOUS = frozenset({Flaw.MISSING, Flaw.INVALID, Flaw.EXPIRED, Flaw.REVOKED})


class ProofRefused(ConnectError):
    """An exchange whose proof does not hold; `flaw` tells why."""

    def __init__(self, flaw: Flaw) -> None:
        self.flaw = flaw
        code = Code.UNAUTHENTICATED if flaw in _ANONYMOUS else Code.PERMISSION_DENIED
        if flaw is Flaw.OTHER_START:
            code = Code.UNAVAILABLE  # the control plane will hear of this one in a moment
        super().__init__(code, _TEXTS[flaw])
