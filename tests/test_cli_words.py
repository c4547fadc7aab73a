"""Words of the command line that labelwise does not know, and Ctrl-C: one line, and the right exit code."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["refine", "--sed", "3"], ["--sed", "--seed", "see `labelwise refine --help`"]),
        (["predict", "a", "b", "--unreadable", "skp"], ["--unreadable", "'skp'", "'fail'", "'skip'"]),
        (["nonsense"], ["nonsense", "see `labelwise --help`"]),
        (["cft"], ["Missing argument", "see `labelwise cft --help`"]),
        (["refine", "--seed", "x"], ["--seed", "integer"]),
        (["evaluate", "."], ["--data"]),
    ],
)
def test_a_word_that_is_not_known_is_one_line(labelwise, words, told):
    done = labelwise(*words)
    assert done.code == 2 and len(done.err) == 1
    assert done.err[0].startswith("error: ") and all(word in done.err[0] for word in told)


@pytest.mark.parametrize("words", [[], ["data"]])
def test_no_words_show_the_help(labelwise, words):
    done = labelwise(*words)
    assert done.code == 2 and "Usage: labelwise" in done.out + " ".join(done.err)


def test_ctrl_c_is_one_line(labelwise, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("labelwise.cli.training.read_recipe", interrupted)
    done = labelwise("refine")
    assert done.code == 130 and done.err == ["stopped; the same command continues where it was"]


def test_the_version(labelwise):
    import labelwise as package

    assert labelwise("--version").out == f"{package.__version__}\n"
