"""Prepares a data set and prints what it found.

interp-cnn data --name pascal_voc_part --category all --manual_dir DIR
interp-cnn data --name folder --manual_dir DIR --annotations FILE.csv
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import tensorflow_datasets as tfds

from interp_cnn.data.categories import ALL
from interp_cnn.data.photos.folder_layout import OTHER
from interp_cnn.data.prepare import EMBEDDED, FOLDER, PUBLISHED, open_builder, open_folder


def main(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> None:
    """Run the command; what a user can set right ends it with one sentence."""
    options = _parser(prog).parse_args(arguments)
    try:
        builder = _opened(options)
        download = tfds.download.DownloadConfig(manual_dir=options.manual_dir)
        builder.download_and_prepare(download_config=download)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(report(builder))


def _opened(options: argparse.Namespace) -> tfds.core.DatasetBuilder:
    """The builder that the options name, not prepared."""
    if options.name != FOLDER:
        if options.annotations or options.seed:
            raise ValueError(f"--annotations and --seed are options of --name {FOLDER}")
        return open_builder(
            options.name,
            options.category,
            data_dir=options.data_dir,
            skip_damaged=options.skip_damaged,
        )
    if not 0 <= options.seed < 2**31:
        raise ValueError(f"--seed={options.seed} must be a whole number of 0 to {2**31 - 1}")
    if not options.manual_dir:
        raise ValueError(f"--name {FOLDER} needs --manual_dir, the folder with the photos")
    return open_folder(vars(options), options.category, seed=options.seed)


def _parser(prog: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("--name", required=True, choices=[EMBEDDED, *PUBLISHED, FOLDER])
    parser.add_argument(
        "--category", default=ALL, help='a name, several joined by "+", or "all" (the default)'
    )
    parser.add_argument(
        "--manual_dir",
        help="folder with the published files, else downloaded; of folder the photos",
    )
    parser.add_argument("--annotations", help="of folder: boxes and parts, CSV or COCO JSON")
    parser.add_argument(
        "--seed", type=int, default=0, help="of folder: of the split, where there is none"
    )
    parser.add_argument("--data_dir", help="where prepared data are kept (tfds' own default)")
    parser.add_argument(
        "--skip_damaged",
        action="store_true",
        help="leave damaged and missing images out, and count them",
    )
    return parser


def report(builder: tfds.core.DatasetBuilder) -> str:
    """What was found when a data set was prepared: objects, photos, parts, left out and why."""
    metadata: dict[str, Any] = dict(builder.info.metadata.items())  # type: ignore[union-attr]
    lines = [f"{builder.info.full_name} in {builder.data_dir}"]
    if "contents" in metadata:
        lines.append(f"source: {metadata['contents']}")
    for name, split in sorted(builder.info.splits.items()):
        lines.append(f"{name}: {split.num_examples} examples")
    for name, counts in metadata.get("summary", {}).items():
        what = "images" if name == "other" else "objects"
        lines.append(f"{name}: {counts['examples']} {what} in {counts['photos']} photos")
        if name == "other" and not counts["examples"]:
            folder = OTHER[0] if builder.name == FOLDER else "neg"
            lines[-1] += f"; tasks with config.data.negatives='photos' need the folder {folder}/"
        for title, numbers in (("parts", counts["parts"]), ("left out", counts["left_out"])):
            if numbers:
                listed = ", ".join(f"{key} {number}" for key, number in numbers.items())
                lines.append(f"  {title}: {listed}")
    lines += [f"annotations left out, {line}" for line in metadata.get("wrong", [])]
    return "\n".join(lines)


if __name__ == "__main__":
    main(prog="python -m interp_cnn.data")
