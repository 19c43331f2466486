"""Work in several processes: answers in order, errors as they were raised, nothing left behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tinyelf

from rootless_scratch.errors import ElfError, HostError
from rootless_scratch.findings import Judgement
from rootless_scratch.verbs.at_once import AtOnce, processes_for
from rootless_scratch.verbs.check import check_subjects

MANY = 2000
"""More than are handed out at once."""

COUNT = 300


def named(task: int) -> str:
    return f"program {task}"


def children() -> set[int]:
    return {
        int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
    }


def test_answers_come_in_order_although_the_first_takes_longest_and_all_processes_are_gone() -> None:
    def work(task: int) -> tuple[int, int, bytes]:
        time.sleep(0 if task else 0.3)
        # An answer may be larger than a pipe.
        return task, os.getpid(), b"x" * (300_000 if task % 50 == 1 else 10)

    before = children()
    with AtOnce(range(COUNT), work, processes=3, name=named) as pool:
        found = [pool.answer(task) for task in range(COUNT)]
        assert len(children() - before) == 3
    assert [task for task, _, _ in found] == list(range(COUNT))
    assert os.getpid() not in {process for _, process, _ in found}
    assert children() == before


def test_what_is_raised_is_the_answer() -> None:
    def work(task: int) -> int:
        if task == 1:
            raise ElfError("It is cut off.", fix="Copy it again.")
        return 1 // (task - 2)

    with AtOnce(range(4), work, processes=2, name=named) as pool:
        found = [pool.answer(task) for task in range(4)]
    assert found[0::3] == [-1, 1]
    assert (found[1].message, found[1].fix) == ("It is cut off.", "Copy it again.")
    assert isinstance(found[2], ZeroDivisionError)


def test_a_process_that_is_killed_is_an_error_that_names_what_it_read_and_the_others_end_too() -> None:
    def work(task: int) -> int:
        if task == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    before = children()
    pool = AtOnce(range(COUNT), work, processes=2, name=named)
    with pytest.raises(HostError) as raised, pool:
        list(map(pool.answer, range(COUNT)))
    assert raised.value.message == "A process that checks programs was ended by SIGKILL while it read 'program 7'."
    assert "memory" in raised.value.fix
    assert children() == before


def test_that_all_are_killed_at_once_is_an_error_and_no_broken_pipe() -> None:
    before = children()

    def answered_and_killed() -> None:
        with AtOnce(range(MANY), lambda task: task, processes=2, name=named) as pool:
            pool.answer(0)
            # By now they have answered all that they were given.
            time.sleep(0.5)
            for process in children() - before:
                os.kill(process, signal.SIGKILL)
                os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
            list(map(pool.answer, range(1, MANY)))

    with pytest.raises(HostError, match="ended by SIGKILL"):
        answered_and_killed()
    assert children() == before


def test_a_block_that_is_left_ends_those_that_still_work() -> None:
    before = children()
    with pytest.raises(KeyboardInterrupt), AtOnce(range(2), lambda _: time.sleep(60), processes=2, name=named):
        raise KeyboardInterrupt
    assert children() == before


def test_where_no_process_can_be_started_the_caller_does_it() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with AtOnce(range(3), lambda task: (task, os.getpid()), processes=2, name=named) as pool:
            found = [pool.answer(task) for task in range(3)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == [(task, os.getpid()) for task in range(3)]


def test_one_program_and_a_few_start_no_process() -> None:
    assert [processes_for(count, 16) for count in (0, 1, 15)] == [1, 1, 1]
    assert processes_for(1000, 16) == min(len(os.sched_getaffinity(0)), 8)


def test_many_programs_are_judged_as_each_by_itself(tmp_path: Path) -> None:
    static = str(tinyelf.write(tmp_path / "static"))
    dynamic = tmp_path / "dynamic"
    dynamic.write_bytes(tinyelf.elf(interpreter="/lib64/ld-linux-x86-64.so.2", needed=["libc.so.6"]))
    subjects = [static, str(dynamic), str(tmp_path / "none"), str(tmp_path), sys.executable] * 30
    how = {"bundle_libraries": False, "platform": None, "limits": None}
    together = list(check_subjects(subjects, sysroot=None, **how))
    apart = [next(check_subjects([each, each], sysroot=None, **how)) for each in subjects[:5]] * 30
    assert list(map(str, together)) == list(map(str, apart))


def test_names_of_one_file_are_judged_each_by_its_own_name_and_in_order(tmp_path: Path) -> None:
    """As busybox, vim and the compilers have them: between others, and more than are judged together."""
    names = [tmp_path / f"{number:03}" for number in range(120)]
    for name in names[::2]:
        name.symlink_to("/bin/sh")
    for name in names[1::2]:
        name.write_bytes(tinyelf.elf())
    how = {"bundle_libraries": True, "platform": None, "limits": None}
    found = list(check_subjects(list(map(str, names)), sysroot=None, **how))
    assert [each.subject for each in found if isinstance(each, Judgement)] == list(map(str, names))
    (alone,) = check_subjects([str(names[-2])], sysroot=None, **how)
    assert found[-2] == alone


def test_an_interrupt_ends_the_call_and_every_process_of_it() -> None:
    argv = [sys.executable, "-m", "rootless_scratch", "check", "--bundle-libraries", *[sys.executable] * 20_000]
    with subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wanted = processes_for(20_000, 2)
        while len(started := listed.read_text(encoding="ascii").split()) < wanted > 1:
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait() == 130
        assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
