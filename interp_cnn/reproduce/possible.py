"""Which runs can be done with the files at hand: found out before any is begun."""

from collections.abc import Sequence
from pathlib import Path

from interp_cnn.models import BACKBONES
from interp_cnn.models.pretrained import load_weights
from interp_cnn.preflight import check_run
from interp_cnn.reproduce.execute import finished
from interp_cnn.reproduce.plan import Run, Wishes
from interp_cnn.reproduce.tables import Job


def impossible_jobs(wishes: Wishes, planned: Sequence[Run], workdir: Path) -> dict[Job, str]:
    """What cannot be trained, with the reason.

    A folder may lack some of several data sets: these are left out, and the rest is done.

    Args:
      wishes: what was asked for.
      planned: see `plan`.
      workdir: with the runs that are done.

    Raises:
      ValueError, FileNotFoundError: where the folder or a weights file of the wishes is missing or
        damaged, or none of the runs can be done.
    """
    if wishes.manual_dir and not Path(wishes.manual_dir).expanduser().is_dir():
        raise FileNotFoundError(
            f"--manual_dir={wishes.manual_dir} is no folder; give the one with the published files"
        )
    for network, file in wishes.weights.items():
        load_weights(file, BACKBONES[network])
    reasons: dict[Job, str] = {}
    for run in planned:
        if run.seed == planned[0].seed:  # another seed needs the same files
            try:
                check_run(run.config, read_weights=False)
            except (ValueError, FileNotFoundError) as error:
                reasons[run.job] = str(error)
    if all(run.job in reasons for run in planned) and not any(
        finished(run, workdir) for run in planned
    ):
        raise ValueError(
            f"none of the {len(planned)} runs can be done: {next(iter(reasons.values()), '')}"
        )
    return reasons
