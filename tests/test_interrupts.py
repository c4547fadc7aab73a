"""Ctrl-C, SIGTERM and SIGHUP: nothing is lost, helpers are silent, and the exit code says which signal it was."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from multiprocessing import resource_sharer
from multiprocessing.connection import Client
from multiprocessing.process import current_process

import pytest

from labelwise import cli, interrupts
from labelwise.progress import Progress


@pytest.fixture(autouse=True)
def _signals_are_heard():
    """A shell that runs tests in the background has Ctrl-C ignored, and nohup a closed terminal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in zip((signal.SIGINT, signal.SIGHUP), before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_one_line_and_the_code_of_the_signal(labelwise, monkeypatch, number, code):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(cli, "app", lambda **_: os.kill(os.getpid(), number) or time.sleep(5))
    done = labelwise("train")
    assert (done.code, done.err) == (code, ["stopped; the same command continues where it was"])


def test_an_interrupt_that_is_lost_in_a_destructor_is_raised_again(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)

    class Loses:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)

    with interrupts.handled(), Progress("work", quiet=True) as progress:
        progress.start(2)
        Loses()
        with pytest.raises(KeyboardInterrupt):
            progress.advance()
    assert interrupts.exit_code() == 130


def test_a_signal_waits_until_helpers_have_started(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    steps = []
    idle = threading.Thread(target=time.sleep, args=(0.3,))  # may take the signal in place of the main thread
    idle.start()

    def start_helpers() -> None:
        with interrupts.held_back():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            steps.append("started")
        steps.append("never")

    with interrupts.handled(), pytest.raises(KeyboardInterrupt):
        start_helpers()
    idle.join()
    assert steps == ["started"]


def test_a_signal_that_the_caller_ignores_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts.handled():
            os.kill(os.getpid(), signal.SIGINT)
            interrupts.check()
        assert interrupts.exit_code() is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_killed_decoder_is_one_line(labelwise, monkeypatch):
    def app(**_: object) -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. \nmore")

    monkeypatch.setattr(cli, "app", app)
    done = labelwise("train")
    assert done.code == 1 and len(done.err) == 1 and "killed by signal: Killed" in done.err[0]


def test_a_lost_rank_is_one_line_and_other_errors_are_not_hidden(labelwise, monkeypatch):
    said = "[../gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:2275. \nmore"
    monkeypatch.setattr(cli, "app", lambda **_: (_ for _ in ()).throw(RuntimeError(said)))
    with pytest.raises(RuntimeError, match="gloo"):
        labelwise("train")  # alone: whatever it is, no rank was lost
    monkeypatch.setenv("RANK", "0")
    done = labelwise("train")
    assert done.code == 1 and len(done.err) == 1 and "another process of this run ended" in done.err[0]
    assert "Connection closed by peer" in done.err[0] and "start all of them again" in done.err[0]
    monkeypatch.setattr(cli, "app", lambda **_: (_ for _ in ()).throw(RuntimeError("shapes do not fit")))
    with pytest.raises(RuntimeError, match="shapes"):
        labelwise("train")


def test_a_helper_whose_tensors_nobody_takes_is_silent(monkeypatch, capfd):
    """The other process was stopped between asking for them and taking them."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    interrupts.terminable()
    ends = os.pipe()
    handed_over = resource_sharer.DupFd(ends[0])
    Client(handed_over._id[0], authkey=current_process().authkey).close()
    for file in (handed_over.detach(), *ends):  # it answers one after the other: the first has been dealt with
        os.close(file)
    resource_sharer.stop()
    assert capfd.readouterr().err == ""
