"""Wrong inputs of every command end in one sentence before anything begins.

Some of those that `python tests/wrong_inputs.py` makes; that runs all of them.
"""

from wrong_inputs import SENTENCE, TRACEBACK, UNNOTICED, Case, all_cases, run_all

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
