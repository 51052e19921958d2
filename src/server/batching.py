"""Dynamic batching: requests that arrive while the network is busy run together once it is free.

No request waits for a batch to fill: an idle network runs at once, and the busier it is, the larger its batches.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from imagier.deploy.runtime import Runtime

_PIXELS = 1 << 20  # of a batch of several requests: a dense network takes kilobytes per pixel


@dataclass(eq=False)  # compared by identity, not by its images
class _Question:
    images: np.ndarray  # uint8 [B, C, H, W]
    answer: "Future[np.ndarray]" = field(default_factory=Future)


class Batched:
    """A `Runtime` that many threads may call.

    Args:
        runtime: runs the batches; called by a single thread.
        most: maximum number of images, all of equal size, that requests are combined to; fewer if they are large.
        tell: called with the number of images of every batch.
    """

    def __init__(self, runtime: Runtime, most: int, tell: Callable[[int], None] = lambda pictures: None) -> None:
        self._runtime, self._most, self._tell = runtime, most, tell
        self._waiting: deque[_Question] = deque()
        self._asked = threading.Condition()
        threading.Thread(target=self._work, daemon=True, name="net").start()

    def __call__(self, image_BCHW: np.ndarray) -> np.ndarray:
        """See `Runtime`."""
        question = _Question(image_BCHW)
        with self._asked:
            self._waiting.append(question)
            self._asked.notify()
        return question.answer.result()

    def _work(self) -> None:
        while True:
            questions = self._next()
            try:
                answers = self._runtime(np.concatenate([question.images for question in questions]))
            except BaseException as error:  # pass it on, or the callers would wait for ever
                for question in questions:
                    question.answer.set_exception(error)
                continue
            self._tell(len(answers))
            ends = np.cumsum([len(question.images) for question in questions])[:-1]
            for question, answer in zip(questions, np.split(answers, ends), strict=True):
                question.answer.set_result(answer)

    def _next(self) -> list[_Question]:
        """Take the request that has waited longest, and others with images of its size."""
        with self._asked:
            self._asked.wait_for(lambda: self._waiting)
            taken = [self._waiting.popleft()]
            shape, count = taken[0].images.shape[1:], len(taken[0].images)
            for question in list(self._waiting):
                fits = count + len(question.images) <= min(self._most, _PIXELS // (shape[-2] * shape[-1]))
                if question.images.shape[1:] == shape and fits:
                    self._waiting.remove(question)
                    taken.append(question)
                    count += len(question.images)
            return taken
