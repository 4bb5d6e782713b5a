"""Which runs can be done with the files at hand: found out before any is begun."""

from collections.abc import Sequence
from pathlib import Path

from interp_cnn.models import BACKBONES
from interp_cnn.models.pretrained import load_weights
from interp_cnn.preflight import check_run
from interp_cnn.reproduce.execute import finished
from interp_cnn.reproduce.plan import Run
from interp_cnn.reproduce.request import Request
from interp_cnn.reproduce.tables import Experiment


def impossible_experiments(
    request: Request, planned: Sequence[Run], workdir: Path
) -> dict[Experiment, str]:
    """What cannot be trained, with the reason.

    A folder may lack some of several data sets: these are left out, and the rest is done.

    Args:
      request: what was asked for.
      planned: the runs, from `plan`.
      workdir: the folder with the runs that are done.

    Raises:
      ValueError, FileNotFoundError: where the folder or a weights file of the request is missing or
        damaged, or none of the runs can be done.
    """
    if request.manual_dir and not Path(request.manual_dir).expanduser().is_dir():
        raise FileNotFoundError(
            f"--manual_dir={request.manual_dir} is no folder; give the one with the published files"
        )
    for network, file in request.weights.items():
        load_weights(file, BACKBONES[network])
    reasons: dict[Experiment, str] = {}
    for run in planned:
        if run.seed == planned[0].seed:  # another seed needs the same files
            try:
                check_run(run.config, read_weights=False)
            except (ValueError, FileNotFoundError) as error:
                reasons[run.experiment] = str(error)
    if all(run.experiment in reasons for run in planned) and not any(
        finished(run, workdir) for run in planned
    ):
        raise ValueError(
            f"none of the {len(planned)} runs can be done: {next(iter(reasons.values()), '')}"
        )
    return reasons
