"""Downloads published archives and unpacks what is needed of them."""

import re
import tarfile
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import tensorflow_datasets as tfds

# Part boxes of ILSVRC Animal-Part, and the 1000 photos of other things, from the paper's authors.
INTERPRETABLE_CNN_URL = (
    "https://github.com/zqs1022/interpretableCNN/archive/"
    "ee53bf8a5b2c4127c94279f111e76d42d26e79b4.zip"
)

# From the name of a member of an archive to its path in the layout of manual_dir, None to leave it.
Wanted = Callable[[str], str | None]


def matching(pattern: str) -> Wanted:
    """Members that match the pattern as a whole, at the path that its first group has."""
    compiled = re.compile(pattern)

    def wanted(member: str) -> str | None:
        match = compiled.fullmatch(member)
        return match[1] if match else None

    return wanted


# The photos of other things in the archive of the authors' code.
other_photo = matching(r"[^/]+/data/(neg/\d{5}\.JPEG)")


def fetch(
    dl_manager: tfds.download.DownloadManager,
    archives: Mapping[str, Wanted],
    *,
    name: str,
    layout: str,
) -> Path:
    """Download archives and unpack what is wanted of each into the layout of `manual_dir`.

    Args:
        dl_manager: the download manager of tfds.
        archives: URL -> what is wanted of it.
        name: the name of the folder to unpack into.
        layout: what `manual_dir` must hold, for the error.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: if an archive cannot be had.
    """
    urls = list(archives)
    try:
        for url in urls:  # without a network tfds tries for minutes before it gives up
            urllib.request.urlopen(url, timeout=30).close()
        paths = dl_manager.download(urls)
    except Exception as error:  # requests, ssl, tfds and the disk have no common error
        raise FileNotFoundError(
            f"{' and '.join(urls)} could not be downloaded ({error}): download and unpack them by "
            f"hand and name the folder with manual_dir (it must hold {layout})."
        ) from error
    target = Path(dl_manager.download_dir) / name
    for path, wanted in zip(paths, archives.values(), strict=True):
        unpack(Path(path), target, wanted)
    return target


def unpack(archive: Path, target: Path, wanted: Wanted) -> None:
    """Unpack what is wanted of a zip or tar file.

    tfds' own extraction needs TensorFlow, and would unpack everything.
    """
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for member in file.namelist():
                if place := wanted(member):
                    _write(target / place, file.read(member))
        return
    with tarfile.open(archive) as tar:
        for entry in tar:
            place = wanted(entry.name.removeprefix("./"))
            content = tar.extractfile(entry) if place and entry.isfile() else None
            if place and content is not None:
                _write(target / place, content.read())


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
