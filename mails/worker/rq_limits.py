"""Limits on RQ: no job in Redis chooses the code that a process runs, or the address that it calls.

Redis holds hints: a queue's name, at most. Who can write to it must gain nothing. RQ trusts it: jobs are pickled unless every
caller says otherwise, and a job names functions to import and URLs to call, also when nobody runs it, as in the clean-up of a
registry. So these are changed in RQ's own classes, for every process and for each part of RQ or django-rq that looks a job up. `mails.worker.jobs.QueueWorker` needs none of it: it does not read jobs.
"""

from typing import Any

from django.utils.module_loading import import_string
from rq.job import Job
from rq.serializers import DefaultSerializer, JSONSerializer

from mails.dispatch.wake import JOB


class UnknownJob(ValueError):
    """A job names another function than the one that Mercury enqueues."""

    def __init__(self, name: object) -> None:
        super().__init__(f"The job names '{str(name)[:100]}'; Mercury runs {JOB} and nothing else.")


def apply() -> None:
    """Let RQ read and write JSON only, import only the wake-up, call no callback and no webhook. Safe to repeat."""
    changed: dict[type, dict[str, Any]] = {
        DefaultSerializer: {  # also what 'pickle' and PickleSerializer name
            "dumps": staticmethod(JSONSerializer.dumps),
            "loads": staticmethod(JSONSerializer.loads),
        },
        Job: {
            "func": property(_import_wake_up),
            "send_webhooks": _send_nothing,
            "success_callback": property(_ignore_callback),
            "failure_callback": property(_ignore_callback),
            "stopped_callback": property(_ignore_callback),
        },
    }
    for owner, attributes in changed.items():
        for name, value in attributes.items():
            setattr(owner, name, value)


def _import_wake_up(job: Job) -> Any:
    if job.func_name != JOB:
        raise UnknownJob(job.func_name)
    return import_string(JOB)


def _ignore_callback(job: Job) -> None:
    return None


def _send_nothing(job: Job, *outcome: object, **details: object) -> None:
    return None
