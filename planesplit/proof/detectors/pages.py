"""Pages that operators and anybody may read: metrics, probes, versions, public keys."""

from __future__ import annotations

import ssl

import httpx

from planesplit.proof.detectors.base import Detector
from planesplit.proof.find import Find
from planesplit.proof.stage import Stage

OPS = ("metrics", "livez", "readyz", "version", "debug", "")
CONTROL = (
    "metrics",
    "livez",
    "readyz",
    ".well-known/jwks.json",
    ".well-known/openid-configuration",
    ".well-known/oauth-authorization-server",
    "",
)
PAGE_S = 5.0


class Pages(Detector):
    """Fetches every page without credentials; headers count too."""

    name = "pages"
    blind_to = "a page that nobody links and this list does not name"

    async def look(self, stage: Stage) -> list[Find]:
        """Scan heads and bodies."""
        urls = stage.split.ready.urls
        ca_file = stage.split.ready.ca_file
        verify = ssl.create_default_context(cafile=ca_file) if ca_file else False
        wanted = [(f"relay /{page}", f"{urls.ops}/{page}") for page in OPS]
        wanted += [(f"control plane /{page}", f"{urls.control}/{page}") for page in CONTROL]
        finds: list[Find] = []
        size = 0
        async with httpx.AsyncClient(verify=verify, trust_env=False, timeout=PAGE_S) as http:
            for place, url in wanted:
                try:
                    answer = await http.get(url)
                except httpx.HTTPError as error:
                    kind = type(error).__name__
                    finds.append(Find(self.name, place, f"does not answer ({kind})"))
                    continue
                data = repr(answer.headers.raw).encode() + answer.content
                size += len(data)
                finds += stage.canaries.scan(place, data, self.name)
        self.looked = f"{len(wanted)} pages, {size} bytes"
        return finds
