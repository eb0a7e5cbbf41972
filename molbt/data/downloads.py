"""Files from the network: https only, in bounded size, checked before anything opens them."""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from molbt.data.files import atomic_write
from molbt.errors import DataError

MAX_BYTES = 4_000_000_000
"""Largest file that is fetched unless told."""

_CHUNK = 1 << 20


def download(
    url: str,
    path: str | Path,
    *,
    sha256: str | None,
    max_bytes: int = MAX_BYTES,
    timeout: float = 30.0,
    schemes: Sequence[str] = ("https",),
) -> str:
    """Fetch a file; it takes its name only when it is complete and has the expected checksum.

    Parameters
    ----------
    url : str
    path : path
        Its directory must exist.
    sha256 : str or None
        64 hexadecimal digits. None accepts whatever arrives: the caller has to ask the user first.
    max_bytes : int
    timeout : float
        Seconds without an answer.
    schemes : sequence of str
        Allowed in the address and in every redirect.

    Returns
    -------
    str
        SHA-256 of what arrived.

    Raises
    ------
    DataError
        If the scheme is not allowed, the server fails, or the file is too large, cut short or has another checksum. Nothing is left behind.
    """
    _check_scheme(url, schemes)
    opener = urllib.request.build_opener(_Redirects(schemes))
    digest = hashlib.sha256()
    received = 0
    try:
        with opener.open(url, timeout=timeout) as answer, atomic_write(path) as file:
            announced = -1 if answer.length is None else answer.length
            _check_size(url, announced, max_bytes)
            while chunk := answer.read(_CHUNK):
                received += len(chunk)
                _check_size(url, received, max_bytes)
                digest.update(chunk)
                file.write(chunk)
            if 0 <= announced != received:
                raise DataError(f"expected {announced} bytes from {url}, received {received}; try again")
            if sha256 is not None and digest.hexdigest() != sha256:
                raise DataError(
                    f"expected the SHA-256 {sha256} for {url}, received a file with {digest.hexdigest()}; "
                    "nothing was kept. Get the file from its origin by hand, and check it"
                )
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise DataError(f"cannot fetch {url}: {error}; check the connection, or copy the file by hand to {path}") from error
    return digest.hexdigest()


class _Redirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, schemes: Sequence[str]) -> None:
        self._schemes = schemes

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> urllib.request.Request | None:
        _check_scheme(newurl, self._schemes)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_scheme(url: str, schemes: Sequence[str]) -> None:
    if urlsplit(url).scheme not in schemes:
        raise DataError(f"expected an address that begins with {' or '.join(schemes)}://, got {url}; nothing was fetched")


def _check_size(url: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise DataError(f"expected at most {max_bytes:,} bytes from {url}, got {size:,} or more; nothing was kept")
