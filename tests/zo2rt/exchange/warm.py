"""Imported where ranks are forked from: what each would load at its first step is loaded."""

from tests.zo2rt.engine.engine_runs import recipe
from tests.zo2rt.exchange.rank_jobs import Task, alone
from zo2sim.plan.choices import Plan

alone(Task(Plan(), recipe(), None, steps=1))
