"""Small XML documents in requests, and DeleteObjects."""

from __future__ import annotations

import hashlib
import html
import re

from customer_stub.asgi import Answer, Receive
from customer_stub.objects.answers import Xml, xml
from customer_stub.objects.disk import Bucket
from customer_stub.objects.errors import S3Error
from customer_stub.objects.request import S3Request
from customer_stub.objects.settings import ObjectsSettings
from customer_stub.objects.sigv4 import Signed
from customer_stub.objects.upload import Upload

MAX_XML_BYTES = 1_048_576  # CompleteMultipartUpload of 10,000 parts is about 1 MB
MAX_DELETES = 1000  # S3's
_KEY = re.compile(r"<Object>\s*<Key>(.{1,8192}?)</Key>", re.DOTALL)
_QUIET = re.compile(r"<Quiet>\s*true\s*</Quiet>")


class _Document:
    """Content in memory, as `Upload` fills it."""

    def __init__(self) -> None:
        self.data = bytearray()

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    @property
    def md5(self) -> str:
        return hashlib.md5(self.data, usedforsecurity=False).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def write(self, data: bytes) -> None:
        self.data += data
        if len(self.data) > MAX_XML_BYTES:
            raise S3Error("MalformedXML", f"The document has more than {MAX_XML_BYTES} bytes")


async def read_document(
    request: S3Request, receive: Receive, signed: Signed, settings: ObjectsSettings
) -> str:
    """Return a request's XML, checked like any upload.

    Raises:
        S3Error: it is too large, or not what the head promised.
    """
    document = _Document()
    await Upload(request, receive, signed, settings).into(document)
    return document.data.decode("utf-8", "replace")


def delete_objects(bucket: Bucket, document: str) -> Answer:
    """Answer DeleteObjects.

    Raises:
        S3Error: the document names no key, or too many.
    """
    keys = [html.unescape(key) for key in _KEY.findall(document)]
    if not 0 < len(keys) <= MAX_DELETES or len(keys) != document.count("<Object>"):
        raise S3Error("MalformedXML", f"A list of 1 to {MAX_DELETES} keys is needed")
    for key in keys:
        bucket.delete(key)
    gone: list[tuple[str, Xml]] = [("Deleted", [("Key", key)]) for key in keys]
    return xml("DeleteResult", [] if _QUIET.search(document) else gone)
