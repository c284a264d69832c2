"""Answers of the object store in S3's XML."""

from __future__ import annotations

from email.utils import formatdate
from xml.sax.saxutils import escape

from customer_stub.asgi import Answer
from customer_stub.objects.errors import S3Error

XML = "application/xml"
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

# Children of an XML element: text, or elements in order.
Xml = str | int | list[tuple[str, "Xml"]]


def xml(name: str, children: Xml, *, status: int = 200, namespace: bool = True) -> Answer:
    """Return an answer that is an XML document."""
    attribute = f' xmlns="{NAMESPACE}"' if namespace else ""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}{attribute}>{_inner(children)}</{name}>'
    return Answer(status, {"content-type": XML}, text.encode())


def error(problem: S3Error, request_id: str) -> Answer:
    """Return S3's XML of an error; it repeats nothing of the request."""
    children: Xml = [
        ("Code", problem.code),
        ("Message", problem.message),
        ("RequestId", request_id),
    ]
    return xml("Error", children, status=problem.status, namespace=False)


def http_date(at_s: int) -> str:
    """Format seconds since the epoch for HTTP."""
    return formatdate(at_s, usegmt=True)


def _inner(children: Xml) -> str:
    if isinstance(children, list):
        return "".join(f"<{name}>{_inner(child)}</{name}>" for name, child in children)
    return escape(str(children))
