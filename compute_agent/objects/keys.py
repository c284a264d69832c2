"""Where objects lie: keys by convention, and whose they are."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from compute_agent.attempts import Attempt

SCHEME = "s3://"
MAX_KEY_BYTES = 1024  # S3's limit
MAX_NAME_BYTES = 255  # a file's name nearly everywhere

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class BadPlace(ValueError):
    """No name of an object; the message says what one looks like, and quotes nothing."""


@dataclass(frozen=True, slots=True)
class Place:
    """One object, or a prefix of several."""

    bucket: str
    key: str

    @property
    def uri(self) -> str:
        """As flyte writes it: `s3://bucket/key`."""
        return f"{SCHEME}{self.bucket}/{self.key}"

    @classmethod
    def parse(cls, uri: str) -> Place:
        """Read `s3://bucket/key`.

        Raises:
            BadPlace: it is none, or could be read in two ways.
        """
        bucket, slash, key = uri.removeprefix(SCHEME).partition("/")
        if not uri.startswith(SCHEME) or not slash or not _BUCKET.fullmatch(bucket):
            raise BadPlace("an object's URI is s3://bucket/key")
        check_key(key)
        return cls(bucket, key)


def check_key(key: str) -> None:
    """Make sure that a key is one path that nobody resolves differently.

    Raises:
        BadPlace: empty segments, `.` or `..`, control characters, or too long.
    """
    if any(segment in ("", ".", "..") for segment in key.split("/")) or _CONTROL.search(key):
        raise BadPlace("an object's key has no empty or dotted segments and no control characters")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise BadPlace("an object's key must be text") from None
    if size > MAX_KEY_BYTES:
        raise BadPlace(f"an object's key has at most {MAX_KEY_BYTES} bytes")


def check_name(name: str) -> None:
    """Make sure that a file's name is one segment of a key.

    Raises:
        BadPlace
    """
    check_key(name)
    if "/" in name or len(name.encode()) > MAX_NAME_BYTES:
        raise BadPlace(f"a file's name has no '/' and at most {MAX_NAME_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class Workspace:
    """What one org calls its own in one project and domain; all its keys begin with it."""

    org: str
    project: str
    domain: str

    @classmethod
    def of(cls, attempt: Attempt) -> Workspace:
        """Return the workspace that an attempt belongs to."""
        return cls(attempt.org, attempt.project, attempt.domain)

    @property
    def prefix(self) -> str:
        """The beginning of its keys, with the slash."""
        return f"{self.org}/{self.project}/{self.domain}/"


@dataclass(frozen=True, slots=True)
class Layout:
    """Names of objects in a store.

    Args:
        metadata: bucket of inputs, outputs, reports.
        bundles: bucket of fast registration.
    """

    metadata: str
    bundles: str

    def owns(self, workspace: Workspace, place: Place) -> bool:
        """Whether an object is in the workspace and in a bucket that is ours."""
        ours = place.bucket in (self.metadata, self.bundles)
        return ours and place.key.startswith(workspace.prefix)

    def run(self, attempt: Attempt) -> Place:
        """Return the prefix of a run; flyte's runtime appends `/{action}/{attempt}`."""
        return Place(self.metadata, f"{Workspace.of(attempt).prefix}{attempt.run}")

    def of(self, attempt: Attempt, name: str) -> Place:
        """Return an object, or a prefix, of an attempt."""
        run = self.run(attempt)
        return Place(run.bucket, f"{run.key}/{attempt.action}/{attempt.attempt}/{name}")

    def inputs(self, workspace: Workspace, name: str) -> Place:
        """Return where inputs go before their run exists."""
        return Place(self.metadata, f"{workspace.prefix}inputs/{name}/inputs.pb")

    def upload(self, workspace: Workspace, root: str, filename: str) -> Place:
        """Return where a code bundle goes; `root` is its digest unless the client names one.

        Raises:
            BadPlace: the names cannot be used.
        """
        check_name(filename)
        key = f"{workspace.prefix}{root}/{filename}"
        check_key(key)
        return Place(self.bundles, key)

    def staged(self, bundle: Place) -> Place:
        """Return where a code bundle is staged for pods, which may read this bucket alone."""
        org, project, domain, rest = bundle.key.split("/", 3)
        return Place(self.metadata, f"{org}/{project}/{domain}/bundles/{rest}")

    def task(self, workspace: Workspace, name: str, version: str) -> Place:
        """Return the record of a task's version; names of tasks may hold any character."""
        digest = hashlib.sha256(f"{name}\0{version}".encode()).hexdigest()
        return Place(self.metadata, f"{workspace.prefix}tasks/{digest}.json")
