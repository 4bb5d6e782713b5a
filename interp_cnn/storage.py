"""Where a run is kept: a folder on disk, or one in a bucket (`gs://BUCKET/DIR`).

A bucket has no folders, cannot append to a file and shows a file when all of it is there; tools
that draw or save want a file on disk. So what is written goes to a local file first, and from there
to its place in one piece.
"""

import concurrent.futures
import contextlib
import hashlib
import importlib.util
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from etils import epath

# Of each scheme that `epath` knows the package that reaches it, where TensorFlow does not.
_CLIENTS = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs", "hf": "huggingface_hub"}
_AnyPath: TypeAlias = epath.Path | Path  # on disk either is good
_UPLOADS = 16  # at a time; a report has thousands of small files


def as_path(name: str | os.PathLike[str], *, what: str = "--workdir") -> epath.Path:
    """A path on disk, `~` expanded, or in a bucket.

    Args:
      name: the path or address, as users write it.
      what: the name of the option that it comes from.

    Raises:
      ValueError: where it names no bucket, or one of a kind that cannot be reached from here.
    """
    text = os.fspath(name)
    kinds = ", ".join(f"{scheme}://" for scheme in _CLIENTS)
    scheme, separator, place = text.partition("://")
    if not separator:
        if re.match(f"({'|'.join(_CLIENTS)}):/", text):  # what pathlib makes of gs://
            raise ValueError(f"{what} {text!r} lacks a slash; give it as text, {kinds} and a name")
        return epath.Path(text).expanduser()
    if scheme not in _CLIENTS:
        raise ValueError(f"{what} {text!r} is of no known kind; give a folder, or one of {kinds}")
    if not place.strip("/"):
        raise ValueError(f"{what} {text!r} names no bucket; write {scheme}://BUCKET/DIR")
    client = _CLIENTS[scheme]
    if not (importlib.util.find_spec(client) or importlib.util.find_spec("tensorflow")):
        raise ValueError(f"{what} {text!r} needs the package {client}; pip install {client}")
    _set_up_client(scheme, client)
    return epath.Path(text)


def _set_up_client(scheme: str, client: str) -> None:
    """No cache of listings, and no tracebacks in the log of what is raised too."""
    import fsspec.config

    # Other processes and orbax write there too, and a cached listing never shows it.
    fsspec.config.conf.setdefault(scheme, {}).setdefault("use_listings_cache", False)
    logger = logging.getLogger(client)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


def is_remote(path: os.PathLike[str]) -> bool:
    """Whether a path is that of a bucket."""
    return os.fspath(path).startswith(tuple(f"{scheme}://" for scheme in _CLIENTS))


def absolute(path: epath.Path) -> epath.Path:
    """The path from the root; that of a bucket is always."""
    return path if is_remote(path) else epath.Path(os.path.abspath(path))


def local_scratch(workdir: os.PathLike[str]) -> Path:
    """A folder on this machine's disk for what is kept while a run lasts; it may be missing.

    The work directory itself where that is on disk, else one in the system's folder for temporary
    files (`TMPDIR`), the same whenever this user goes on with the run on this machine.
    """
    return temporary(workdir) if is_remote(workdir) else Path(workdir)


def temporary(workdir: os.PathLike[str]) -> Path:
    """A folder for a work directory among the system's temporary ones; it may be missing."""
    if not is_remote(workdir):
        workdir = absolute(epath.Path(workdir))
    whose = f"{os.getuid()} {os.fspath(workdir)}" if hasattr(os, "getuid") else os.fspath(workdir)
    key = hashlib.sha256(whose.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"interp_cnn-{key}"


def leave_temporary(workdir: os.PathLike[str]) -> None:
    """Remove the folder of `temporary`, unless it holds something for a run that goes on."""
    with contextlib.suppress(OSError):
        temporary(workdir).rmdir()


@contextlib.contextmanager
def reaching(path: os.PathLike[str], *, writing: bool = False) -> Iterator[None]:
    """What the client of a bucket raises inside becomes an OSError of one sentence.

    Args:
      path: a path in a bucket, which the sentence names; for one on disk nothing changes.
      writing: whether something is written, so that what is missing is the bucket. While reading, a
        FileNotFoundError is let through: the file is missing.
    """
    try:
        yield
    except Exception as error:  # each client has its own: of HTTP, of credentials, of time limits
        missing = isinstance(error, FileNotFoundError) and not writing
        if missing or not is_remote(path) or isinstance(error, _Unreachable):
            raise
        raise _Unreachable(_unreachable(os.fspath(path), error, writing)) from error


class _Unreachable(OSError):
    """Something in a bucket cannot be read or written."""


def _unreachable(place: str, error: Exception, writing: bool) -> str:
    bucket = "/".join(place.split("/")[:3])
    if isinstance(error, FileNotFoundError):
        what, todo = "there is no such bucket", f"make {bucket}"
    else:
        what = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
        todo = f"check the network, and that your credentials may read and write {bucket}"
    return (
        f"{place} cannot be {'written' if writing else 'read'} ({what}); {todo}, or choose"
        " another --workdir"
    )


def make_folder(folder: _AnyPath) -> None:
    """Make a folder on disk; a bucket needs none, and `mkdir` would make the bucket itself.

    Raises:
      OSError: where it cannot be made.
    """
    if not is_remote(folder):
        if folder.is_file():
            raise NotADirectoryError(f"{folder} is a file; give a folder")
        folder.mkdir(parents=True, exist_ok=True)


def check_writable(folder: _AnyPath) -> None:
    """Make a folder, and try whether a file can be written there.

    Raises:
      OSError: where it cannot.
    """
    make_folder(folder)
    probe = folder / f".probe-{os.getpid()}"
    try:
        with reaching(folder, writing=True):
            probe.write_bytes(b"")
            probe.unlink(missing_ok=True)
    except OSError as error:
        if error.filename:  # that of the probe
            raise OSError(error.errno, error.strerror, os.fspath(folder)) from error
        raise


def read(path: _AnyPath) -> bytes:
    """The content of a file.

    Raises:
      FileNotFoundError: where there is none.
      OSError: where it cannot be read.
    """
    with reaching(path):
        return path.read_bytes()


def write(path: _AnyPath, content: str | bytes) -> None:
    """Write a file whole: what others find there is the old content or all of the new.

    Raises:
      OSError: where it cannot be written.
    """
    with staged_file(path) as file:
        file.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def staged_file(path: _AnyPath) -> Iterator[Path]:
    """A local file to write, with the ending of `path`; it becomes `path` when all went well.

    Raises:
      OSError: where it cannot be written.
    """
    if is_remote(path):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / path.name
            yield file
            _upload(file, path)
        return
    file = Path(path).with_name(f".{os.getpid()}-{path.name}")
    try:
        yield file
        os.replace(file, path)
    except OSError as error:
        if error.filename == os.fspath(file):  # users know the file by its own name
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
    finally:
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def staged_folder(folder: _AnyPath) -> Iterator[Path]:
    """A local folder to fill, which may be missing; it becomes `folder` when all went well.

    On disk it is `folder` itself. In a bucket all files are uploaded, and what an earlier report
    left beside them is removed.

    Raises:
      OSError: where it cannot be written.
    """
    if not is_remote(folder):
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory() as parent:
        local = Path(parent) / folder.name
        yield local
        files = [file for file in local.rglob("*") if file.is_file()]
        places = [epath.Path(folder) / file.relative_to(local).as_posix() for file in files]
        with concurrent.futures.ThreadPoolExecutor(_UPLOADS) as pool:
            list(pool.map(_upload, files, places))
        with reaching(folder, writing=True):
            for inner in (local, *(entry for entry in local.rglob("*") if entry.is_dir())):
                _remove_others(inner, epath.Path(folder) / inner.relative_to(local).as_posix())


def _remove_others(local: Path, remote: epath.Path) -> None:
    """Remove from a folder of a bucket what the local one does not have."""
    names = {entry.name for entry in local.iterdir()}
    with contextlib.suppress(FileNotFoundError):  # a folder without files is none
        for entry in remote.iterdir():
            if entry.name not in names:
                entry.rmtree() if entry.is_dir() else entry.unlink(missing_ok=True)


def _upload(file: Path, path: _AnyPath) -> None:
    with reaching(path, writing=True):
        path.write_bytes(file.read_bytes())


class Mirror:
    """A folder on disk whose files are copied to a bucket when they have changed.

    Where the folder is on disk, it is that one, and nothing is copied.

    Args:
      folder: the folder that the files belong in.
      fetch: names of files that are there already, and go on.
    """

    def __init__(self, folder: _AnyPath, *, fetch: tuple[str, ...]):
        self._folder = folder
        self._remote = is_remote(folder)
        self._sent: dict[str, Any] = {}
        self.local = local_scratch(folder)
        if self._remote:
            shutil.rmtree(self.local, ignore_errors=True)  # of a run that was killed
        self.local.mkdir(parents=True, exist_ok=True)
        for name in fetch if self._remote else ():
            with contextlib.suppress(FileNotFoundError):
                (self.local / name).write_bytes(read(folder / name))

    def send(self) -> None:
        """Copy what has changed.

        Raises:
          OSError: where it cannot be written.
        """
        if not self._remote:
            return
        for file in sorted(self.local.rglob("*")):
            if file.is_file():
                name, size = file.relative_to(self.local).as_posix(), file.stat().st_size
                seen = (size, file.stat().st_mtime_ns)
                if self._sent.get(name) != seen:
                    _upload(file, self._folder / name)
                    self._sent[name] = seen

    def close(self) -> None:
        """Copy what has changed, and remove the local copy of what is in a bucket.

        Raises:
          OSError: where it cannot be written.
        """
        self.send()
        if self._remote:
            shutil.rmtree(self.local, ignore_errors=True)
