"""The paper's tables: interp-cnn reproduce --tables 1,2,4,5,7 --nets vgg16 --workdir DIR.

Trains and evaluates what is behind the tables and writes DIR/tables.md, tables.csv, tables.json and
a page, DIR/report/index.html, that leads to the report of each run.
Tables: 1 and 2 part interpretability (one category, several), ilsvrc, 4 (VOC) and 5 (CUB) location
instability, 7 accuracy; `embedded` has the same on the embedded data. Run the same command again
to go on where it was stopped; --dry_run says what there is to do. To train all layers as the paper
does: --set train.epochs=50 --set train.schedule=paper --set model.frozen_through=none. In the
repository, python reproduce.py is the same.
"""

import sys
from collections.abc import Sequence

from absl import flags
from etils import epath

from interp_cnn.cli import run


def main() -> None:
    """Run the command of the command line."""
    tables = flags.DEFINE_list("tables", [], "Of 1, 2, ilsvrc, 4, 5, 7, embedded.")
    nets = flags.DEFINE_list("nets", [], "Of alexnet, vgg_m, vgg_s, vgg16 (default: all).")
    categories = flags.DEFINE_list("categories", [], "Names (default: all); CUB is birds as one.")
    seeds = flags.DEFINE_integer("seeds", 3, "Number of seeds.")
    place = flags.DEFINE_string(
        "workdir", "runs/reproduce", "For runs and tables, or gs://BUCKET/DIR."
    )
    manual_dir = flags.DEFINE_string("manual_dir", "", "Folder with the published files.")
    weights = flags.DEFINE_list("weights", [], "NET=FILE, or FILE where there is one network.")
    settings = flags.DEFINE_multi_string(
        "set", [], "FIELD=VALUE of the configuration of every run."
    )
    jobs = flags.DEFINE_integer(
        "jobs",
        1,
        "Runs at a time, each a process; for a large GPU or many cores, not for a TPU.",
        lower_bound=1,
    )
    dry_run = flags.DEFINE_bool(
        "dry_run", False, "Print the runs with time and disk; train nothing."
    )

    def reproduce(arguments: Sequence[str]) -> None:
        run.check_arguments(arguments)
        from interp_cnn import storage
        from interp_cnn.reproduce import estimate, execute, plan, possible, write
        from interp_cnn.reproduce.request import read_request

        request = read_request(
            tables=tables.value,
            nets=nets.value,
            categories=categories.value,
            seeds=seeds.value,
            manual_dir=manual_dir.value,
            weights=weights.value,
            settings=settings.value,
        )
        workdir = storage.as_path(place.value)
        planned = plan.plan(request)
        execute.check_folders(planned, workdir)
        impossible = possible.impossible_experiments(request, planned, workdir)
        if dry_run.value:
            print(estimate.as_text(estimate.estimate(planned, workdir, impossible)))
            return

        def write_all(outcomes: execute.Outcomes) -> list[epath.Path]:
            return write.write_tables(request, planned, outcomes, workdir)

        outcomes = execute.execute(planned, workdir, after=write_all, jobs=jobs.value)
        for path in write_all(outcomes):
            print(f"written: {path}")
        empty = [outcome.reason for outcome in outcomes.values() if outcome.reason]
        if empty:
            sys.exit(f"error: {len(empty)} of {len(planned)} runs are left empty ({empty[0]})")

    run.run(reproduce, description=__doc__)
