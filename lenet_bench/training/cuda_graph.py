"""A training step as one call: on CUDA captured once into a graph and replayed, elsewhere just run.

In: a function that reads and writes tensors which keep their place in memory. Out: the same effect,
on CUDA without the host's time for a few hundred kernel launches, which for networks as small as a
LeNet is most of the time. The function is the same on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

WARM_UP = 3  # calls before the capture, so that libraries have chosen their kernels


class Replayed:
    """Calls a function again and again.

    Args:
        step: Takes nothing and returns nothing; always the same tensors, shapes and kernels, and
            never waits for the device.
        device: Where its tensors lie.
        generators: The sources of noise that it draws from.
        capture: Whether it may be captured; code that is not known to keep the rules is only run.
    """

    def __init__(
        self,
        step: Callable[[], None],
        device: torch.device,
        generators: Sequence[torch.Generator] = (),
        *,
        capture: bool = True,
    ) -> None:
        self._step = step
        self._generators = generators
        captures = capture and device.type == "cuda"
        self._side = torch.cuda.Stream(device) if captures else None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._calls = 0

    def __call__(self) -> None:
        """Do what the function does, once."""
        self._calls += 1
        if self._side is None:
            self._step()
        elif self._calls <= WARM_UP:
            # The first calls are made as a capture will be, on a stream of their own.
            self._side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._side):
                self._step()
            torch.cuda.current_stream().wait_stream(self._side)
        else:
            if self._graph is None:
                self._graph = self._captured()
            self._graph.replay()

    def _captured(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=self._side):
            self._step()  # recorded, not run
        return graph
