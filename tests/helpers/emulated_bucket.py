"""A bucket on this machine: gcp-storage-emulator, in memory, on a free port of 127.0.0.1."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

NAME = "bucket"
# Before gcsfs is imported: it asks at every call for a kind of bucket that the emulator knows not.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
SERVER = Path(__file__).with_name("bucket_server.py")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def forget_clients():
    """End the sessions that epath keeps, for the next one reads the address again."""
    import fsspec.asyn
    import gcsfs
    from etils.epath import backend

    for client in list(gcsfs.GCSFileSystem._cache.values()):
        if client._session is not None:
            fsspec.asyn.sync(client.loop, client._session.close)
    gcsfs.GCSFileSystem.clear_instance_cache()
    backend._FileSystemSpecBackend._get_filesystem.cache_clear()


@contextlib.contextmanager
def served_at(url):
    """Google's storage is at this address, for epath, for orbax and for child processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        patch.setenv("TENSORSTORE_GCS_HTTP_URL", url)
        patch.setenv("EPATH_USE_TF", "0")  # TensorFlow would ask Google itself
        forget_clients()
        yield
        forget_clients()


@contextlib.contextmanager
def emulator():
    """Starts it, and gives its address."""
    url = f"http://127.0.0.1:{free_port()}"
    command = ["start", "--quiet", "--in-memory", "--default-bucket", NAME]
    process = subprocess.Popen(
        [sys.executable, SERVER, *command, "--host=127.0.0.1", f"--port={url.split(':')[2]}"],
        stderr=subprocess.DEVNULL,  # it writes a traceback where a client hangs up
    )
    try:
        until = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"{url}/storage/v1/b", timeout=5).close()
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait(30)


@pytest.fixture(scope="module")
def bucket():
    """The URL of an empty bucket, for a module that imports this."""
    for module in ("gcsfs", "gcp_storage_emulator"):
        pytest.importorskip(module, reason=f"needs {module}: pip install -e '.[test]'")
    with emulator() as url, served_at(url):
        yield f"gs://{NAME}"
