"""Runs are done once, go on, or leave a cell empty; their cost; the command itself."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from made_results import made_results
from pages import check_page
from repository import ROOT
from tiny import tiny_builder, write_begun
from voc_part_folder import write_published

from interp_cnn import commands
from interp_cnn.data import prepare
from interp_cnn.evaluation.results import write_results
from interp_cnn.reproduce import estimate, execute, possible, write
from interp_cnn.reproduce.plan import plan
from interp_cnn.reproduce.request import read_request

REQUEST = {"tables": ["embedded"], "categories": ["cat"], "seeds": 2}


@pytest.fixture
def trained(monkeypatch):
    """Names of the runs that a stand-in for training was called for."""
    names = []

    def train_and_evaluate(config, workdir):
        names.append(workdir.name)
        results = made_results(config)
        for variant in config.networks:
            (workdir / variant).mkdir(parents=True, exist_ok=True)
            (workdir / variant / "metrics.jsonl").touch()
        (workdir / "config.json").write_text(config.to_json_best_effort())
        write_results(workdir / "metrics.json", results)
        (workdir / "report").mkdir(exist_ok=True)
        (workdir / "report" / "index.html").touch()
        return results

    monkeypatch.setattr(commands, "train_and_evaluate", train_and_evaluate)
    return names


def test_finished_runs_are_kept(trained, tmp_path):
    planned = plan(read_request(**REQUEST))
    assert [run.name for run in planned] == [
        "embedded_animals-cat-single-small-seed0",
        "embedded_animals-cat-single-small-seed1",
    ]
    seen = []
    outcomes = execute.execute(
        planned,
        tmp_path,
        after=lambda o: seen.append(sum(x.results is not None for x in o.values())),
    )
    assert trained == [run.name for run in planned] and seen == [0, 1, 2]
    assert all(outcome.results for outcome in outcomes.values())
    more = plan(read_request(**REQUEST | {"seeds": 3}))
    again = execute.execute(more, tmp_path)
    assert trained[2:] == ["embedded_animals-cat-single-small-seed2"]
    assert again[planned[0].experiment, 0] == outcomes[planned[0].experiment, 0]


def test_a_run_without_figures_or_with_half_a_file_is_taken_up_again(trained, tmp_path):
    planned = plan(read_request(**REQUEST))
    execute.execute(planned, tmp_path)
    first, second = (execute.folder_of(run, tmp_path) / "metrics.json" for run in planned)
    first.unlink()
    second.write_text(second.read_text()[:100])
    trained.clear()
    execute.execute(planned, tmp_path)
    assert trained == [run.name for run in planned]


def test_another_evaluation_is_done_anew_and_another_training_refused(trained, tmp_path):
    planned = plan(read_request(**REQUEST))
    execute.execute(planned, tmp_path)
    other = plan(read_request(**REQUEST, settings=["eval.top=7"]))
    trained.clear()
    execute.execute(other, tmp_path)
    assert len(trained) == 2
    other = plan(read_request(**REQUEST, settings=["train.epochs=9", "eval.top=7"]))
    with pytest.raises(ValueError, match=r"seed0 belongs to a run of another config \(config\."):
        execute.execute(other, tmp_path)
    assert len(trained) == 2


def test_figures_are_kept_where_another_evaluation_cannot_be_done(trained, tmp_path, monkeypatch):
    planned = plan(read_request(**REQUEST))
    execute.execute(planned, tmp_path)
    other = plan(read_request(**REQUEST, settings=["eval.top=7"]))

    def refused(config, **_):
        raise ValueError("there are no data")

    monkeypatch.setattr(execute, "check_run", refused)
    outcomes = execute.execute(other, tmp_path)
    assert {outcome.reason for outcome in outcomes.values()} == {"there are no data"}
    monkeypatch.undo()
    assert all(execute.finished(run, tmp_path) for run in planned)


def test_a_run_that_was_stopped_in_its_start_has_begun(tmp_path):
    (run, _) = plan(read_request(**REQUEST))
    folder = execute.folder_of(run, tmp_path)
    write_begun(folder)
    (folder / "config.json").write_text(run.config.to_json_best_effort())
    execute.check_folders([run], tmp_path)
    (other, _) = plan(read_request(**REQUEST, settings=["train.learning_rate=0.001"]))
    with pytest.raises(ValueError, match="belongs to a run of another config"):
        execute.check_folders([other], tmp_path)


def test_a_run_that_was_stopped_while_its_report_was_drawn_is_evaluated_again(trained, tmp_path):
    planned = plan(read_request(**REQUEST))
    execute.execute(planned, tmp_path)
    (execute.folder_of(planned[1], tmp_path) / "report" / "index.html").unlink()
    trained.clear()
    execute.execute(planned, tmp_path)
    assert trained == [planned[1].name]


@pytest.mark.parametrize(
    ("error", "tried"),
    [
        (FileNotFoundError("neg/ is missing"), 1),
        (ValueError("no cats"), 1),
        (ValueError("{folder}/data.json is damaged"), 2),
        (FloatingPointError("nan"), 2),
    ],
)
def test_what_cannot_be_run_is_left_empty_and_the_rest_is_done(
    trained, tmp_path, monkeypatch, error, tried
):
    request = read_request(**REQUEST | {"categories": ["bird", "cat"]})
    planned = plan(request)
    train, refused = commands.train_and_evaluate, []

    def some(config, workdir):
        if config.data.category == "bird":
            refused.append(workdir.name)
            raise type(error)(str(error).format(folder=workdir))
        return train(config, workdir)

    monkeypatch.setattr(commands, "train_and_evaluate", some)
    outcomes = execute.execute(planned, tmp_path)
    reasons = {
        (run.experiment.category, run.seed): outcomes[run.experiment, run.seed].reason
        for run in planned
    }
    folders = [tmp_path / "runs" / name for name in (refused[0], refused[-1])]
    birds = [str(error).format(folder=folder) for folder in folders]
    assert [reasons["bird", seed] for seed in (0, 1)] == birds
    assert reasons["cat", 0] == reasons["cat", 1] == ""
    assert len(refused) == tried  # another seed finds neither the data nor other data
    paths = write.write_tables(request, planned, outcomes, tmp_path)
    seeds = "0, 1" if birds[0] == birds[1] else "0"
    assert f"small bird (seed {seeds}): {birds[0]}" in paths[0].read_text(encoding="utf-8")


def test_several_runs_at_a_time_are_processes(tmp_path):
    wrong = {"tables": ["ilsvrc"], "nets": ["vgg16"], "categories": ["cat"], "seeds": 3}
    planned = plan(read_request(**wrong, manual_dir=str(tmp_path / "none")))
    outcomes = execute.execute(planned, tmp_path, jobs=2)
    for run in planned:
        assert "none' is no folder" in outcomes[run.experiment, run.seed].reason
        # The third would find the same, and has no process.
        assert (execute.folder_of(run, tmp_path) / "log.txt").exists() == (run.seed < 2)


def test_what_a_device_has_no_memory_for_is_left_empty(trained, tmp_path, monkeypatch):
    (run,) = plan(read_request(**REQUEST | {"seeds": 1}))
    outcome = execute._attempt(run, tmp_path, alone=False)
    assert outcome.results and execute.measured_seconds(run, tmp_path) is None
    assert pickle.loads(pickle.dumps(outcome)) == outcome

    def lacking(config, workdir):
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nsome more")

    monkeypatch.setattr(commands, "train_and_evaluate", lacking)
    found = [execute._attempt(run, tmp_path, alone=alone).reason for alone in (True, False)]
    assert found[0] == "RESOURCE_EXHAUSTED: out of memory"
    assert found[1] == f"{found[0]}; fewer --jobs leave each more memory"

    def broken(config, workdir):
        raise RuntimeError("something else")

    monkeypatch.setattr(commands, "train_and_evaluate", broken)
    with pytest.raises(RuntimeError, match="something else"):
        execute._attempt(run, tmp_path, alone=True)


def test_planning_starts_no_device(tmp_path):
    """The memory of a GPU is for the runs alone."""
    program = (
        "from etils import epath\n"
        "from interp_cnn.models import BACKBONES\n"
        "from interp_cnn.models.pretrained import pretrained\n"
        "from interp_cnn.reproduce import execute, plan, possible, request, write\n"
        "asked = request.read_request(tables=['embedded', '1'], nets=['vgg_m'], seeds=1)\n"
        "planned = plan.plan(asked)\n"
        "workdir = epath.Path('.')\n"
        "possible.impossible_experiments(asked, planned, workdir)\n"
        "pretrained.layer_shapes(BACKBONES['vgg_m'])\n"
        "outcomes = {(run.experiment, run.seed): execute.NOT_YET for run in planned}\n"
        "write.write_tables(asked, planned, outcomes, workdir)\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge.backends_are_initialized()\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)


def test_weights_may_come_later(trained, tmp_path):
    how = {"tables": ["5"], "nets": ["vgg16"], "seeds": 1}
    (without,) = plan(read_request(**how))
    folder = execute.folder_of(without, tmp_path)
    folder.mkdir(parents=True)
    # As a run leaves it that found no weights: its configuration, and nothing trained.
    (folder / "config.json").write_text(without.config.to_json_best_effort())
    planned = plan(read_request(**how, weights=["some.h5"]))
    execute.execute(planned, tmp_path)
    assert trained == [without.name]


def test_a_folder_may_lack_a_data_set_and_the_rest_is_done(tmp_path):
    (tmp_path / "files").mkdir()
    write_published(tmp_path / "files")
    how = {"nets": ["vgg16"], "seeds": 2, "manual_dir": str(tmp_path / "files")}
    request = read_request(tables=["4", "5"], categories=["cat"], **how)
    reasons = possible.impossible_experiments(request, plan(request), tmp_path / "out")
    assert {experiment.dataset: reason.split(":")[0] for experiment, reason in reasons.items()} == {
        "cub_200_2011": f"The folder {tmp_path}/files/CUB_200_2011 (the data set) is missing"
    }
    costs = estimate.estimate(plan(request)[1:2], tmp_path / "out", reasons)
    assert [cost.state for cost in costs] == ["impossible"]
    assert "unknown (The folder" in estimate.as_text(costs)
    shutil.rmtree(tmp_path / "files" / "neg")
    with pytest.raises(ValueError, match=r"none of the 4 runs can be done: The folder .*neg .phot"):
        possible.impossible_experiments(request, plan(request), tmp_path / "out")


def test_damaged_records_of_runs_count_as_none(tmp_path):
    (run, _) = plan(read_request(**REQUEST))
    folder = execute.folder_of(run, tmp_path)
    folder.mkdir(parents=True)
    for content in (b"[]", b"{}", b"3", b"\xff", b'{"seconds": "x"}', b""):
        for name in ("config.json", "metrics.json", "time.json"):
            (folder / name).write_bytes(content)
        assert execute.finished(run, tmp_path) is None
        assert execute.measured_seconds(run, tmp_path) is None
        execute.check_folders([run], tmp_path)


def test_a_full_disk_stops_everything(tmp_path, monkeypatch):
    def full(config, workdir):
        raise OSError("no space left")

    monkeypatch.setattr(commands, "train_and_evaluate", full)
    with pytest.raises(OSError, match="no space left"):
        execute.execute(plan(read_request(**REQUEST)), tmp_path)


def test_estimate_from_a_finished_run(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "_probe", lambda run: pytest.fail("nothing to probe"))
    planned = plan(read_request(**REQUEST, settings=["train.epochs=3"]))
    execute.execute(planned[:1], tmp_path)
    folder = execute.folder_of(planned[0], tmp_path)
    (folder / "time.json").write_text('{"seconds": 160.0}')  # 200 images, 3 + 1 epochs, 2 networks
    done, new = estimate.estimate(planned, tmp_path)
    assert (done.state, done.seconds) == ("done", 0)
    images = int(new.how.split(", ")[1].split()[0])
    assert new.state == "new" and images > 1000
    assert new.seconds == pytest.approx(0.1 * images * 4 * 2)
    assert "time of a finished run" in new.how
    text = estimate.as_text([done, new])
    assert "2 runs, 1 of them to do" in text


def test_estimate_by_a_probe(tmp_path, monkeypatch):
    how = {"settings": ["model.width=0.1", "train.batch_size=8", "networks=('ordinary',)"]}
    planned = plan(read_request(**REQUEST, **how))
    costs = estimate.estimate(planned, tmp_path)
    assert not any(tmp_path.iterdir())
    assert [cost.state for cost in costs] == ["new", "new"]
    assert costs[0].seconds > 0 and "probe of a few steps" in costs[0].how
    assert costs[0].disk == checkpoint_bytes(planned[0].config)
    (run, _) = plan(
        read_request(**REQUEST, settings=[*how["settings"], "model.frozen_through=conv2"])
    )
    assert 0 < estimate._probe(run).frozen
    broken = plan(read_request(**REQUEST, settings=["model.frozen_through=conv9"]))
    (cost, _) = estimate.estimate(broken, tmp_path)
    assert cost.seconds is None and "frozen_through names no layer" in cost.how
    assert "unknown (frozen_through" in estimate.as_text([cost])


def test_estimate_with_frozen_layers(tmp_path, monkeypatch):
    probed = estimate._Probed(step=1.0, frozen=0.75)
    monkeypatch.setattr(estimate, "_probe", lambda run: probed)
    frozen = ["model.frozen_through=conv2", "train.epochs=3"]
    for settings, wanted in (
        (frozen, lambda n: 0.75 * (2 * n + n // 2) + 0.25 * (3 + 4 * 2) * n),
        ([*frozen, "data.cache_gib=0.01"], lambda n: (3 + 4 * 2) * n),
    ):
        (cost, _) = estimate.estimate(plan(read_request(**REQUEST, settings=settings)), tmp_path)
        assert cost.seconds == pytest.approx(wanted(int(cost.how.split(", ")[1].split()[0])))


def test_estimate_counts_the_images_that_are_trained_on(tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "_probe", lambda run: estimate._Probed(step=1.0, frozen=0.0))
    empty = [f"data.data_dir={tmp_path}"]
    planned = plan(read_request(tables=["embedded"], seeds=1, settings=empty))
    (several,) = (run for run in planned if run.experiment.task == "multi_softmax")
    (single,) = (run for run in planned if run.experiment.category == "cat")

    def images():
        costs = estimate.estimate([several, single], tmp_path)
        return [int(cost.how.split(", ")[1].split()[0]) for cost in costs]

    assert images() == [2000, 2000]  # of 3000 animals; of 1500 and 1500 others
    summary = {"cat": {"examples": 60}, "other": {"examples": 30}}
    info = SimpleNamespace(
        splits={"train": SimpleNamespace(num_examples=60)}, metadata={"summary": summary}
    )
    monkeypatch.setattr(estimate, "open_builder", lambda *_, **__: SimpleNamespace(info=info))
    assert images() == [40, 60]


def checkpoint_bytes(config):
    """Parameters and momentum in float32; step, counters and the filters' activity are small."""
    import jax

    from interp_cnn.training.build import make_network
    from interp_cnn.training.optim import make_optimizer
    from interp_cnn.training.state import init_state, init_variables

    network = make_network(config, "ordinary")
    optimizer = make_optimizer(lambda _: 0.0, clip_norm=1.0)
    state = init_state(init_variables(network, 0), optimizer, network)
    return sum(leaf.nbytes for leaf in jax.tree.leaves(state))


def test_one_real_run(tmp_path, tmp_path_factory, monkeypatch):
    builder = tiny_builder(tmp_path_factory.mktemp("data"))
    monkeypatch.setattr(prepare, "open_builder", lambda *_, **__: builder)
    small = ("model.width=0.1", "train.batch_size=8", "train.epochs=1", "eval.batch_size=8")
    small += ("networks=('ordinary',)", "train.start_epochs=0")  # are enough
    request = read_request(**REQUEST | {"seeds": 1}, settings=small)
    planned = plan(request)
    outcomes = execute.execute(planned, tmp_path)
    assert execute.measured_seconds(planned[0], tmp_path) > 0
    assert execute.finished(planned[0], tmp_path) is not None
    paths = write.write_tables(request, planned, outcomes, tmp_path)
    cells = [c for table in json.loads(paths[2].read_text())["tables"] for c in table["cells"]]
    (accuracy,) = (
        c
        for c in cells
        if (c["metric"], c["variant"], c["column"]) == ("accuracy", "ordinary", "cat")
    )
    results = json.loads((execute.folder_of(planned[0], tmp_path) / "metrics.json").read_text())
    assert accuracy["values"] == [results["networks"]["ordinary"]["accuracy"]["value"]]
    assert any(
        "cat alone is not several categories" in m["reason"] for c in cells for m in c["missing"]
    )

    page = check_page(paths[3])  # its link leads to the report of the run
    report = f"../runs/{planned[0].name}/report/index.html"
    assert page.all("a", href=report) and "1 of 1 run is done." in page.texts

    def never(config, workdir):
        pytest.fail("the run is done")

    monkeypatch.setattr(commands, "train_and_evaluate", never)
    assert execute.execute(planned, tmp_path) == outcomes


@pytest.mark.parametrize(
    ("tables", "workdir", "message"),
    [
        ("1,9", "out", r"--tables has no '9'; choose from 1, 2, ilsvrc, 4, 5, 7"),
        ("5", "file/out", r".*file/out.* cannot be read or written \(Not a directory\)"),
        ("5 --manual_dir=tests", "out", r"none of the 3 runs can be done: The folder tests/CUB_"),
    ],
)
def test_the_command_refuses_at_once(tmp_path, tables, workdir, message):
    (tmp_path / "file").write_text("")
    command = [sys.executable, "reproduce.py", "--nets=vgg16", *f"--tables={tables}".split()]
    run = subprocess.run(
        [*command, f"--workdir={tmp_path / workdir}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert run.returncode == 1 and run.stderr.count("\n") == 1
    assert re.match(f"error: {message}", run.stderr), run.stderr
    assert not (tmp_path / "out").exists()
