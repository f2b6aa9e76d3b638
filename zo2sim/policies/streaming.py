"""`resident`, `naive`, `dual`, `zo2` and `host_update`: one traversal, composed five ways."""

from collections.abc import Iterator

from zo2sim.plan.choices import Policy
from zo2sim.policies.layout import Layout
from zo2sim.policies.visit import Visit, close_step, lose
from zo2sim.schedule.ops import Op


def pending(layout: Layout, unit: int, step: int) -> int:
    """Records that a unit lacks when ``step`` of the steady period reaches it.

    A device's block i is written back when (step + i) mod k = 0, so it has missed up to k records;
    a resident unit misses one.
    """
    if not layout.is_streamed(unit):
        return 1
    return (step + layout.turn(unit) - 1) % layout.plan.write_back_every + 1


def period_ops(layout: Layout) -> Iterator[Op]:
    """The operations of one steady period, in issue order, without edges."""
    for step in range(layout.plan.write_back_every):
        yield from _STEPS[layout.plan.policy](layout, step)


def flush_ops(layout: Layout, done: int) -> Iterator[Op]:
    """Apply every record that is pending after ``done`` steps and write the blocks back."""
    if not layout.plan.defers:
        return
    for unit in layout.units:
        if layout.is_trained(unit):
            records = min(pending(layout, unit, done), done)
            yield from Visit(
                layout=layout, unit=unit, records=records, record_step=done - 1, save=True
            ).ops()


def evaluate_ops(layout: Layout) -> Iterator[Op]:
    """One read-only traversal with unperturbed weights."""
    for unit in layout.units:
        yield from Visit(layout=layout, unit=unit, lanes="0").ops()
    yield lose(layout, lanes="0")


def _deferred_step(layout: Layout, step: int) -> Iterator[Op]:
    """One trip: apply what is pending (on the device, or on the host), run both forwards.

    Blocks are written back every k-th step, and never where the host updates its own copy.
    """
    if not layout.plan.deferred_update:
        yield from _dual_step(layout, step)
        return
    every = layout.plan.write_back_every
    for unit in layout.units:
        turn = layout.turn(unit)
        due = layout.in_place or (not layout.frozen and (step + turn) % every == 0)
        yield from Visit(
            layout=layout,
            unit=unit,
            step=step,
            records=pending(layout, unit, step),
            record_step=step - 1,
            lanes="+-",
            save=due,
        ).ops()
    for forward in range(1, layout.shape.forwards):
        yield from _forward_trip(layout, step, trip=forward, lanes="+-")
    yield from close_step(layout, step)


def _dual_step(layout: Layout, step: int) -> Iterator[Op]:
    """Both signs in one trip per forward, the update in a last one."""
    forwards = layout.shape.forwards
    for trip in range(forwards):
        yield from _forward_trip(layout, step, trip=trip, lanes="+-")
    yield from close_step(layout, step)
    yield from _update_trip(layout, step, trip=forwards)


def _naive_step(layout: Layout, step: int) -> Iterator[Op]:
    """Per forward a trip for W+, then the same for W-, and a trip for the update."""
    forwards = layout.shape.forwards
    for trip in range(2 * forwards):
        yield from _forward_trip(layout, step, trip=trip, lanes="+" if trip < forwards else "-")
    yield from close_step(layout, step)
    yield from _update_trip(layout, step, trip=2 * forwards)


def _forward_trip(layout: Layout, step: int, *, trip: int, lanes: str) -> Iterator[Op]:
    """Read-only, but for what in-place perturbation changes."""
    for unit in layout.units:
        yield from Visit(
            layout=layout, unit=unit, step=step, trip=trip, lanes=lanes, save=layout.in_place
        ).ops()


def _update_trip(layout: Layout, step: int, *, trip: int) -> Iterator[Op]:
    for unit in layout.units:
        if layout.is_trained(unit):
            yield from Visit(
                layout=layout,
                unit=unit,
                step=step,
                trip=trip,
                records=1,
                record_step=step,
                save=True,
            ).ops()


_STEPS = {
    Policy.RESIDENT: _deferred_step,
    Policy.ZO2: _deferred_step,
    Policy.DUAL: _dual_step,
    Policy.NAIVE: _naive_step,
    Policy.HOST_UPDATE: _deferred_step,
}
