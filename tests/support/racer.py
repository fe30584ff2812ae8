"""Processes that race for the runs of a study folder by the rules of its workers, without a model.

``racer.py FOLDER ROUNDS SEED``: each round is a folder of its own, with a few runs and eight processes, which a barrier lets
loose at once. In some rounds some of them kill themselves at a random step. What they do is noted in the folder's ``log``, a
line for each step, in order.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tvt.core.scores import Part, Run
from tvt.evaluate.scorer import RawAnswer
from tvt.evaluate.store import AnswerStore
from tvt.study.store import Cell, Cells, Finished, Store

PROCESSES, RUNS, QUESTIONS, CHUNK = 8, 3, 6, 2
KEYS: Mapping[tuple[str, Part], str] = {("T", "evaluation"): "key"}
STEPS = 14
"""Moments of a run at which its process may be killed."""
FAILING = "run-2"
"""A run that fails in every fourth round."""


class Racer:
    """One process of a round."""

    def __init__(self, folder: Path, number: int, lives: int | None, fails: bool) -> None:
        self.folder, self.number, self.fails = folder, number, fails
        self.store = Store(folder)
        self.lives = lives
        """Steps until it kills itself."""
        self.log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def work(self, order: list[str]) -> None:
        """Do runs until none is left, waiting for those that others hold: as a command and its workers do."""
        left = order
        while left:
            held = [run for run in left if self.do(run) == "held"]
            if len(held) == len(left):
                time.sleep(0.002)
            left = held

    def do(self, run: str) -> str:
        """By the steps of :class:`tvt.study.runner.Runner`."""
        with self.store.turn(run, Run(label=run, counts={"A": 1}), KEYS) as turn:
            if turn == "mine":
                self.note("enter", run)
                time.sleep(0.001)  # the others shall have their turn, also where one core does for all
                self.store.begin(run, Run(label=run, counts={"A": 1}), {"run": run})
                self.step()
                asked = self.answer("base") + self.answer(run)
                if self.fails and run == FAILING:
                    self.store.fail(run, f"by {self.number}")
                else:
                    self.store.save(run, Finished(cells=cells(run), scoring_seconds=self.number, questions=asked))
                self.step()
                self.note("leave", run)
            return turn

    def answer(self, who: str) -> int:
        """Ask what is not known yet, in chunks, as :class:`tvt.evaluate.evaluator.Evaluator` does."""
        answers = AnswerStore(self.store.answers, {"who": who}, {})
        with answers.locked():
            self.step()
            known = answers.load()
            missing = [item for item in map(str, range(QUESTIONS)) if item not in known]
            for begin in range(0, len(missing), CHUNK):
                answers.append([(item, "T", item, RawAnswer(scores=(-1.0, -2.0))) for item in missing[begin : begin + CHUNK]])
                self.step()
        return len(missing)

    def step(self) -> None:
        if self.lives is not None:
            self.lives -= 1
            if self.lives < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def note(self, what: str, run: str) -> None:
        os.write(self.log, f"{what} {run} {self.number}\n".encode())


def cells(run: str) -> Cells:
    cell = Cell(key="key", correct=1, total=QUESTIONS, both_correct=1, unparsed=0, collapsed=None, answers=run)
    return {("T", "evaluation"): cell}


def play(folder: Path, number: int, dice: random.Random) -> None:
    """One round."""
    runs = [f"run-{k}" for k in range(RUNS)]
    deadly = number % 3 == 0
    victims = dice.sample(range(PROCESSES), dice.choice([1, 2, 4])) if deadly else []
    folder.mkdir(parents=True)
    children = []
    with barrier() as wait:
        for k in range(PROCESSES):
            order = dice.sample(runs, len(runs)) if number % 2 else runs
            racer = (folder, k, dice.randrange(STEPS) if k in victims else None, number % 4 == 0)
            children.append(fork(lambda racer=racer, order=order: (wait(), Racer(*racer).work(order))))
    ends = [os.waitpid(child, 0)[1] for child in children]
    killed = [k for k, end in enumerate(ends) if os.WIFSIGNALED(end)]
    assert set(killed) <= set(victims), ends
    assert all(end == 0 for k, end in enumerate(ends) if k not in killed), ends
    (folder / "round.json").write_text(json.dumps({"killed": killed, "fails": number % 4 == 0}))


@contextmanager
def barrier() -> Iterator[Callable[[], Any]]:
    """Gives a function for children to wait by; they go on when the block ends."""
    reading, writing = os.pipe()

    def wait() -> None:
        os.close(writing)
        os.read(reading, 1)

    try:
        yield wait
    finally:
        os.close(writing)
        os.close(reading)


def fork(do: Callable[[], Any]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        do()
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    os._exit(code)


def main(folder: Path, rounds: int, seed: int) -> None:
    dice = random.Random(seed)
    for number in range(rounds):
        play(folder / f"round-{number:03d}", number, dice)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
