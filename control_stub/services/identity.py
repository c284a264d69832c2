"""IdentityService and AuthMetadataService: who the caller is, and how to become one."""

from __future__ import annotations

from flyteidl2.auth import auth_service_pb2, identity_pb2

from control_stub.issuer import VIEWER_AUDIENCE, VIEWER_SCOPE, Issuer
from control_stub.services.desk import Desk
from tunnel.messages.rpc import Context


class IdentityService:
    """Handles `flyteidl2.auth.IdentityService`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def user_info(
        self, request: identity_pb2.UserInfoRequest, ctx: Context
    ) -> identity_pb2.UserInfoResponse:
        """Return the caller's subject and org."""
        caller = self._desk.access.caller(ctx)
        answer = identity_pb2.UserInfoResponse(
            subject=caller.subject, name=caller.subject, preferred_username=caller.subject
        )
        answer.additional_claims.update({"org": caller.org})
        return answer


class AuthMetadataService:
    """Handles `flyteidl2.auth.AuthMetadataService`; public, as it precedes a login."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    async def get_o_auth2_metadata(
        self, request: auth_service_pb2.GetOAuth2MetadataRequest, ctx: Context
    ) -> auth_service_pb2.GetOAuth2MetadataResponse:
        """Return the issuer's endpoints."""
        metadata = self._issuer.metadata()
        known = auth_service_pb2.GetOAuth2MetadataResponse.DESCRIPTOR.fields_by_name
        return auth_service_pb2.GetOAuth2MetadataResponse(
            **{name: value for name, value in metadata.items() if name in known}
        )

    async def get_public_client_config(
        self, request: auth_service_pb2.GetPublicClientConfigRequest, ctx: Context
    ) -> auth_service_pb2.GetPublicClientConfigResponse:
        """Return what a client needs beside its own id and secret."""
        return auth_service_pb2.GetPublicClientConfigResponse(
            scopes=[VIEWER_SCOPE],
            audience=VIEWER_AUDIENCE,
            authorization_metadata_key="authorization",
            service_http_endpoint=self._issuer.url,
        )
