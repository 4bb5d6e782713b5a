"""Downloads a published file into a folder, and checks that it is the one that was published."""

import hashlib
import http.client
import os
import shutil
import tempfile
import urllib.request
from pathlib import Path

import filelock


def download(url: str, target: Path, *, algorithm: str, digest: str) -> Path:
    """A file of a folder, downloaded if it is not there yet.

    Args:
      url: the address that it is published at.
      target: the path that it gets; the folder is made if necessary.
      algorithm: name of the checksum, as `hashlib` has it.
      digest: the checksum of the published file in hexadecimal, or its first digits.

    Returns:
      The path of the file.

    Raises:
      FileNotFoundError: if the download fails.
      ValueError: if what was downloaded is not the published file.
    """
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # Of several runs that want the file at the same time one fetches it.
    with filelock.FileLock(target.with_name(f".{target.name}.lock")):
        if not target.is_file():
            _fetch(url, target, algorithm, digest)
    return target


def _fetch(url: str, target: Path, algorithm: str, digest: str) -> None:
    by_hand = f"put the file by hand at {target}"
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            try:
                with urllib.request.urlopen(url, timeout=30) as response:
                    shutil.copyfileobj(response, out)
            except (OSError, http.client.HTTPException) as error:
                raise FileNotFoundError(
                    f"{url} could not be downloaded ({error}): {by_hand}."
                ) from error
        with part.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        if not found.startswith(digest):
            raise ValueError(
                f"{url} gave a file with {algorithm.upper()} {found} where {digest} was expected:"
                f" try again, or {by_hand}."
            )
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
