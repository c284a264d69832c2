"""The object store as an ASGI application: who asks, what for, may they, the answer."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping

from customer_stub.asgi import Answer, Body, Receive, Scope, StoreApp
from customer_stub.objects.answers import error, xml
from customer_stub.objects.bulk import delete_objects, read_document
from customer_stub.objects.cors import Cors
from customer_stub.objects.errors import S3Error, not_implemented
from customer_stub.objects.iam import authorise
from customer_stub.objects.listing import list_objects
from customer_stub.objects.multipart import Multipart
from customer_stub.objects.request import S3Request
from customer_stub.objects.settings import Identity, ObjectsSettings
from customer_stub.objects.sigv4 import Signed, verify
from customer_stub.objects.store import ObjectStore
from customer_stub.objects.upload import Upload
from tunnel.journal import Journal

NOT_FOUND = 404
_QUERY = {
    "GET": {
        "list-type",
        "prefix",
        "delimiter",
        "continuation-token",
        "start-after",
        "max-keys",
        "encoding-type",
        "fetch-owner",
        "location",
        "response-content-type",
        "response-content-encoding",
        "response-content-disposition",
        "response-content-language",
        "response-cache-control",
        "response-expires",
    },
    "PUT": {"uploadId", "partNumber"},
    "POST": {"uploadId", "uploads", "delete"},
    "DELETE": {"uploadId"},
}
_HEADERS = {
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-decoded-content-length",
    "x-amz-trailer",
    "x-amz-user-agent",
    "x-amz-mp-object-size",
}
_HEADER_FAMILIES = ("x-amz-meta-", "x-amz-checksum-", "x-amz-sdk-")


class ObjectsApp(StoreApp):
    """Serves S3's path-style API over a store.

    Args:
        store: the objects.
        identities: who can sign, by access key.
        settings: buckets and limits.
        journal: told of refusals by code, and of our own failures.
        clock: wall clock, nanoseconds since the epoch.
    """

    def __init__(
        self,
        store: ObjectStore,
        identities: Mapping[str, Identity],
        settings: ObjectsSettings,
        *,
        journal: Journal,
        clock: Callable[[], int],
    ) -> None:
        super().__init__(settings.max_requests, journal)
        self._store, self._identities, self._settings = store, identities, settings
        self._clock = clock
        self._multipart = Multipart(store, settings)
        self._cors = Cors(settings.cors_origins)

    async def _answer(self, scope: Scope, body: Body) -> Answer:
        request_id = uuid.uuid4().hex
        try:
            answer = await self._accept(scope, body)
        except S3Error as problem:
            if problem.status != NOT_FOUND:  # to look for what isn't there is no offence
                self._journal.event("object_refused", code=problem.code, status=problem.status)
            answer = error(problem, request_id)
            await body.drain()
        answer.headers |= {"x-amz-request-id": request_id, **self._cors.headers(scope)}
        return answer

    async def _accept(self, scope: Scope, receive: Receive) -> Answer:
        if self._free < 0:
            raise S3Error("SlowDown", "Please reduce your request rate.")
        request = S3Request(scope)
        if request.method == "OPTIONS":
            return self._cors.preflight(scope)
        now_s = self._clock() / 1e9
        signed = verify(request, self._identities, self._settings, now_s=now_s)
        kind = self._settings.kind(request.bucket)
        # Before anything tells what exists.
        authorise(request, signed.identity.name, kind, presigned=signed.presigned)
        _only_known(request)
        return await self._route(request, receive, signed)

    async def _route(self, request: S3Request, receive: Receive, signed: Signed) -> Answer:
        if not request.key:
            return await self._bucket(request, receive, signed)
        request.check_key()
        match request.method:
            case "GET" | "HEAD":
                return self._store.read(request, head=request.method == "HEAD")
            case "PUT":
                return await self._put(request, receive, signed)
            case "POST":
                return await self._post(request, receive, signed)
        if request.parameter("uploadId") is not None:
            return self._multipart.abort(request, signed.identity.name)
        return self._store.delete(request)

    async def _bucket(self, request: S3Request, receive: Receive, signed: Signed) -> Answer:
        bucket = self._store.bucket(request.bucket)
        if request.method == "POST" and request.parameter("delete") is not None:
            document = await read_document(request, receive, signed, self._settings)
            return delete_objects(bucket, document)
        if request.method == "HEAD":
            return Answer(200, {"x-amz-bucket-region": self._settings.region})
        if request.method != "GET":
            raise S3Error("MethodNotAllowed", "Buckets are made by configuration.")
        if request.parameter("location") is not None:
            return xml("LocationConstraint", self._settings.region)
        return list_objects(request, bucket)

    async def _put(self, request: S3Request, receive: Receive, signed: Signed) -> Answer:
        upload = Upload(request, receive, signed, self._settings)
        if request.parameter("uploadId") is not None:
            return await self._multipart.part(request, upload, signed.identity.name)
        return await self._store.write(request, upload, once=self._once(request, signed))

    async def _post(self, request: S3Request, receive: Receive, signed: Signed) -> Answer:
        owner = signed.identity.name
        if request.parameter("uploads") is not None:
            return self._multipart.begin(request, owner)
        if request.parameter("uploadId") is None:
            raise not_implemented("POST of an object")
        document = await read_document(request, receive, signed, self._settings)
        return await self._multipart.complete(
            request, document, owner, once=self._once(request, signed)
        )

    def _once(self, request: S3Request, signed: Signed) -> bool:
        """Whether an object may not be replaced by other content.

        Bundles are named by their content, and a URL may have been passed on. What pods write
        themselves they may write again: attempts are repeated and checkpoints move on.
        """
        return signed.presigned or self._settings.kind(request.bucket) == "fast-registration"


def _only_known(request: S3Request) -> None:
    """Refuse what this stand-in does not have, instead of doing something else."""
    known = _QUERY.get("GET" if request.method == "HEAD" else request.method, set())
    for name, _ in request.query:
        lower = name.lower()
        if name not in known and not lower.startswith("x-amz-") and lower != "x-id":
            raise not_implemented("A part of the query")
    for name in request.header_names:
        if (
            name.startswith("x-amz-")
            and name not in _HEADERS
            and not name.startswith(_HEADER_FAMILIES)
        ):
            raise not_implemented("One of the x-amz- headers")
