"""How the cost of masks and filter loss grows: images, filters, side of the map, devices.

    python benchmarks/cost.py --json cost.json [--png docs/cost.png] [--print]

One layer, value and gradient, bfloat16, compiled for v5e chips that are not there; nothing is run,
see `tpu.py`. Prints tables and, with --png, draws their curves. `--images 100,200,400` also runs
`metrics.py` with so many images and prints seconds and host memory of each metric.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import tpu

LOSS = "paper scale-free"
SERIES = {
    "images a device": [tpu.Case("v5e-4", "loss", "14x512", LOSS, "bfloat16", n)
                        for n in (8, 16, 32, 64, 128, 256)],
    "filters": [tpu.Case("v5e-4", "loss", f"14x{n}", LOSS, "bfloat16", 32)
                for n in (64, 128, 256, 512, 1024, 2048)],
    "side of the map": [tpu.Case("v5e-4", "loss", f"{n}x512", LOSS, "bfloat16", 32)
                        for n in (7, 14, 28, 56)],
    "devices": [tpu.Case(name, "loss", "14x512", LOSS, "bfloat16", 32)
                for name in ("v5e-4", "v5e-16", "v5e-64", "v5e-256")],
}  # fmt: skip
COLUMNS = {
    "memory MB": lambda record: tpu.memory_of(record) / 1e6,
    "10^9 operations": lambda record: record["flops"] / 1e9,
    "MB read and written": lambda record: record["bytes"] / 1e6,
    "MB of collectives": lambda record: record["collective_bytes"] / 1e6,
}


def value_of(name: str, case: tpu.Case) -> int:
    """What varies in a series."""
    if name == "devices":
        return int(case.topology.split("-")[1])
    side, filters = map(int, case.network.split("x"))
    return {"images a device": case.batch, "filters": filters, "side of the map": side}[name]


def metrics_table(images: list[int]) -> None:
    """Seconds and MiB of the metrics for several numbers of images, see `metrics.py`."""
    found: dict[str, list[str]] = {}
    for number in images:
        run = subprocess.run(
            [sys.executable, str(Path(__file__).parent / "metrics.py"), "--images", str(number)],
            capture_output=True,
            text=True,
            check=True,
        )
        for name, seconds, memory in re.findall(
            r"^(.+?) {2,}([\d.]+) s +(\S+(?: MiB)?)$", run.stdout, re.MULTILINE
        ):
            found.setdefault(name, []).append(f"{seconds} s, {memory}")
    print("\nMetrics on this machine, 512 filters:\n")
    print("| metric | " + " | ".join(f"{n} images" for n in images) + " |")
    print("|---|" + "---|" * len(images))
    for name, cells in found.items():
        print(f"| {name} | " + " | ".join(cells) + " |")


def draw(series: dict[str, list[tuple[int, dict]]], file: Path) -> None:
    """One panel per series, both axes logarithmic, all columns over the first point."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(series), figsize=(3.4 * len(series), 3.2))
    for axis, (name, points) in zip(axes, series.items(), strict=True):
        for column, value in COLUMNS.items():
            first = value(points[0][1])
            axis.plot(
                [number for number, _ in points],
                [value(record) / first for _, record in points],
                marker="o",
                label=column,
            )
        axis.set(xscale="log", yscale="log", xlabel=name)
        numbers = [number for number, _ in points]
        axis.set_xticks(numbers, [str(number) for number in numbers])
        axis.minorticks_off()
        axis.grid(True, which="both", alpha=0.2)
    axes[0].set_ylabel("times that of the first point")
    axes[0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=Path("cost.json"))
    parser.add_argument("--print", action="store_true", help="the tables of the file alone")
    parser.add_argument("--png", type=Path, help="draw the curves there")
    parser.add_argument(
        "--images",
        type=lambda text: [int(number) for number in text.split(",")],
        default=[],
        help="numbers of images of the metrics",
    )
    flags = parser.parse_args()
    cache = tpu.Cache(flags.json, compile_missing=not flags.print)
    series = {}
    for name, cases in SERIES.items():
        points = [(value_of(name, case), cache.get(case)) for case in cases]
        series[name] = [(number, r) for number, r in points if r is not None and r["fits"]]
        print(f"\n| {name} | " + " | ".join(COLUMNS) + " |")
        print("|---|" + "---|" * len(COLUMNS))
        for number, record in points:
            if record is None or not record["fits"]:
                print(
                    f"| {number} | {'not run' if record is None else 'does not fit'} |" + " |" * 3
                )
                continue
            cells = [f"{value(record):,.2f}" for value in COLUMNS.values()]
            print(f"| {number} | " + " | ".join(cells) + " |")
    if flags.png:
        draw(series, flags.png)
    if flags.images:
        metrics_table(flags.images)


if __name__ == "__main__":
    main()
