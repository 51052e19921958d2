"""Concurrent requests are processed in one batch."""

import threading
import time

import numpy as np
import pytest
from made import Slow

from imagier.server.batching import Batched


def ask_at_once(images: list[np.ndarray]) -> tuple[dict[int, np.ndarray], list[int]]:
    """Send images while the network is busy with the first; return all outputs and the batch sizes."""
    slow, sizes, answers = Slow(), list[int](), dict[int, np.ndarray]()
    batched = Batched(slow, most=4, tell=sizes.append)

    def ask(number: int) -> None:
        answers[number] = batched(images[number])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(images))]
    threads[0].start()
    slow.asked.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(batched._waiting) < len(images) - 1:
        time.sleep(0.001)
    slow.go.set()
    for thread in threads:
        thread.join()
    return answers, sizes


def test_what_waits_is_answered_together_and_each_gets_its_own() -> None:
    answers, sizes = ask_at_once([np.full((1, 3, 2, 2 + number % 2), number, np.uint8) for number in range(9)])
    assert {number: answer.tolist() for number, answer in answers.items()} == {
        number: [[number] * 3] for number in range(9)
    }
    assert sum(sizes) == 9
    assert max(sizes) == 4


def test_large_pictures_are_answered_one_by_one() -> None:
    _, sizes = ask_at_once([np.zeros((1, 1, 800, 800), np.uint8)] * 3)
    assert sizes == [1, 1, 1]


def test_a_net_that_fails_is_told_to_whoever_asked() -> None:
    def broken(image_BCHW: np.ndarray) -> np.ndarray:
        raise MemoryError

    batched = Batched(broken, most=4)
    for _ in range(2):
        with pytest.raises(MemoryError):
            batched(np.zeros((1, 3, 2, 2), np.uint8))
