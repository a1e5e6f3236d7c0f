"""Layer normalisation, which files write as ten steps, as one."""

from __future__ import annotations

from dataclasses import replace

from ris.networks.graph import Graph, Step

KINDS = (
    "MEAN", "NEG", "SQUARED_DIFFERENCE", "MEAN", "ADD", "RSQRT", "MUL", "MUL", "MUL", "ADD",
)  # fmt: skip


def with_norms(graph: Graph) -> Graph:
    """The graph with a step ``LAYER_NORM`` (value, gain, epsilon) wherever there are those ten."""
    steps: list[Step] = []
    left = list(graph.steps)
    while left:
        norm = _norm(graph, left[: len(KINDS)])
        steps.append(norm or left[0])
        left = left[len(KINDS) if norm else 1 :]
    return replace(graph, steps=tuple(steps))


def _norm(graph: Graph, steps: list[Step]) -> Step | None:
    if tuple(step.kind for step in steps) != KINDS:
        return None
    if any(len(step.inputs) != (1 if step.kind in ("NEG", "RSQRT") else 2) for step in steps):
        return None
    mean, negative, square, variance, sum_, root, scale, high, low, last = steps
    x, axes = mean.inputs
    epsilon, gain = sum_.inputs[1], scale.inputs[1]
    wired = (
        negative.inputs == (mean.output,)
        and square.inputs == (x, mean.output)
        and variance.inputs[0] == square.output
        and sum_.inputs[0] == variance.output
        and root.inputs == (sum_.output,)
        and scale.inputs[0] == root.output
        and high.inputs == (x, scale.output)  # x times the scale, ...
        and low.inputs == (negative.output, scale.output)  # ... less the mean times it
        and last.inputs == (high.output, low.output)
    )
    channels = graph.values[x].shape[-1:]
    constants = [graph.values[i].constant for i in (axes, variance.inputs[1], epsilon, gain)]
    if not wired or any(c is None for c in constants):
        return None
    over = [c.reshape(-1).tolist() for c in constants[:2] if c is not None]
    sizes = [graph.values[i].shape for i in (epsilon, gain)]
    if over != [[len(graph.values[x].shape) - 1]] * 2 or sizes != [(), channels]:
        return None
    inner = {step.output for step in steps[:-1]}
    outside = {i for step in graph.steps if step not in steps for i in step.inputs}
    if inner & {*outside, *graph.outputs} or any(step.options.get("activation") for step in steps):
        return None
    return Step("LAYER_NORM", (x, gain, epsilon), last.output, {})
