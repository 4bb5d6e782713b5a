"""The pictures of README and documentation: python docs/make_images.py --workdir runs/embedded.

Takes a finished run of `train.py` on the embedded data and writes docs/images/: its filters.png, an
explained test image, the first screen of its report and a filter's page (these two with a Chromium;
without one they stay as they are). Prints for how many filters of each network a part stands.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ml_collections
import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from interp_cnn.data.pipeline import Crop
from interp_cnn.data.prepare import prepare

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
SIDE = 288  # of the image that is explained, in pixels
WIDTH, HEIGHT = 1200, 900  # of a screen
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def save(source: Path, name: str) -> None:
    """Write a picture with 256 colours: a third of the bytes, and no difference to the eye."""
    Image.open(source).convert("RGB").quantize(256).save(IMAGES / name, optimize=True)
    print(f"written: docs/images/{name}, {(IMAGES / name).stat().st_size // 1024} KiB")


def explained(workdir: Path, scratch: Path) -> Path:
    """Picture of the explanation of the first test image that shows the category."""
    config = ml_collections.ConfigDict(json.loads((workdir / "config.json").read_text()))
    test = prepare(config.data, seed=config.seed).test
    example = test[int(np.flatnonzero(test.labels)[0])]
    image = scratch / "cat.png"
    Image.fromarray(Crop(SIDE, config.data.crop).map(example)["image"]).save(image)
    command = [sys.executable, ROOT / "explain.py", image, "--workdir", workdir]
    subprocess.run(command, cwd=ROOT, check=True)
    return workdir / "explained" / "cat.png-interpretable.png"


def screens(workdir: Path, scratch: Path) -> dict[str, Path]:
    """First screens of the report and of the page of one filter."""
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        print("no Chromium: pictures of the report stay as they are")
        return {}
    pages = {
        "report.png": workdir / "report" / "index.html",
        "filter_page.png": workdir / "report" / "filters" / "interpretable-new_conv-000.html",
    }
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        for name, page in pages.items():
            tab.goto(page.resolve().as_uri())
            tab.screenshot(path=scratch / name)
        browser.close()
    return {name: scratch / name for name in pages}


def print_parts(workdir: Path) -> None:
    """Of each network, for how many filters of the new conv each part stands."""
    for path in sorted(workdir.glob("*/filters.npz"), reverse=True):
        found = np.load(path)
        counts = {
            str(name): int((found["part"] == k).sum()) for k, name in enumerate(found["names"])
        }
        print(path.parent.name, ", ".join(f"{name} {count}" for name, count in counts.items()))


def main(workdir: Path) -> None:
    """Write all pictures of a run."""
    IMAGES.mkdir(exist_ok=True)
    print_parts(workdir)
    save(workdir / "filters.png", "filters.png")
    with tempfile.TemporaryDirectory() as folder:
        save(explained(workdir, Path(folder)), "explained.png")
        for name, path in screens(workdir, Path(folder)).items():
            save(path, name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    main(parser.parse_args().workdir.resolve())
