"""Where the page stands as its visitor sees it: under any path of any name, whatever the proxies in between tell.

Gradio works its address out from what a proxy may or may not pass on. The browser knows it: it is what was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

HERE = b'location.href.split(/[?#]/)[0].replace(/\\/+$/, "")'
SLASH = (
    b"<head><script>if (!location.pathname.endsWith('/')) "
    b"location.replace(location.pathname + '/' + location.search + location.hash);</script>"
)
MARK = b"</script><script>window.gradio_api_info"
_ROOT = re.compile(rb'const root = "[^"<>]*";')


def settled(page: bytes) -> bytes:
    """Gradio's page, which takes its address from the browser; anything else as it is."""
    if page.count(MARK) != 1:
        return page
    page = page.replace(MARK, b";window.gradio_config.root = " + HERE + MARK)
    page = _ROOT.sub(lambda found: b"const root = " + HERE + b";", page, count=1)
    page = page.replace(b'href="/manifest.json"', b'href="manifest.json"', 1)
    return page.replace(b"<head>", SLASH, 1)


def told(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A request's headers with the page that sent it as Gradio's address, from which its answers' addresses follow."""
    known: Mapping[bytes, bytes] = dict(headers)
    place = urlsplit(known.get(b"referer", b"").decode("latin-1"))
    if place.scheme not in ("http", "https") or not place.netloc:
        return list(headers)
    root = f"{place.scheme}://{place.netloc}{place.path.rstrip('/')}".encode("latin-1")
    kept = [pair for pair in headers if pair[0] not in (b"x-forwarded-host", b"x-gradio-server")]
    return [*kept, (b"x-gradio-server", root)]
