"""Wrong inputs of every command end in one sentence before anything begins.

Some of those that `python tests/helpers/wrong_inputs.py` makes; that runs all of them.
"""

from wrong_inputs import SENTENCE, TRACEBACK, UNNOTICED, Case, all_cases, run, run_all

from interp_cnn import commands

STEP = 7


def test_some_of_the_wrong_inputs(tmp_path):
    cases = all_cases()
    chosen = cases[::STEP]
    assert len(chosen) > 120 and {c.command for c in chosen} == {c.command for c in cases}
    outcomes = run_all(chosen, tmp_path)
    assert {case: one for case, one in outcomes.items() if one.kind != SENTENCE} == {}


def test_a_right_input_is_told_from_a_wrong_one(tmp_path):
    cases = [
        Case("train.py", ("--config.train.epochs=8", "--workdir=run")),
        Case("train.py", ("--help",)),
        Case("explain.py", ("nowhere.png", "--workdir=valid")),
        Case("explain.py", ("nowhere.png", "--workdir=valid", "--traceback")),
    ]
    kinds = [outcome.kind for outcome in run_all(cases, tmp_path).values()]
    assert kinds == [UNNOTICED, UNNOTICED, SENTENCE, TRACEBACK]


def test_tables_with_an_empty_cell_are_written_and_are_no_success(tmp_path, monkeypatch):
    def train_and_evaluate(config, workdir):
        raise ValueError("no cats")

    monkeypatch.setattr(commands, "train_and_evaluate", train_and_evaluate)
    arguments = ("--tables=embedded", "--categories=cat", "--seeds=2", f"--workdir={tmp_path}")
    outcome = run(Case("reproduce.py", arguments))
    assert outcome == (SENTENCE, "error: 2 of 2 runs are left empty (no cats)")
    assert "no cats" in (tmp_path / "tables.md").read_text(encoding="utf-8")
