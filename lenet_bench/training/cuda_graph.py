"""A function as one call: on CUDA captured once into a graph and replayed, elsewhere just run.

In: a function whose tensors keep their place in memory. Out: a call that has the same effect. A
training step launches a few hundred kernels, which for networks as small as a LeNet takes longer
than the kernels themselves; a graph launches them all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

WARM_UP = 3  # calls before the capture, so that libraries have chosen their kernels


class Replayed:
    """A function to be called again and again.

    Args:
        step: Takes nothing and returns nothing. Every call uses the same tensors, shapes and
            kernels, and none waits for the device.
        device: Where its tensors lie.
        generators: The sources of noise that it draws from.
        capture: Whether it may be captured; code that may break the rules above is only run.
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
