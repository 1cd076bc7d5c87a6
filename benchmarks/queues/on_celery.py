"""Celery: results in Redis, one process of threads."""

from __future__ import annotations

import sys

from celery import Celery
from done import REDIS_URL, hello, produce

app = Celery("on_celery", broker=REDIS_URL, backend=REDIS_URL)
app.conf.update(
    task_serializer="json", result_serializer="json", accept_content=["json"],
    worker_prefetch_multiplier=64, broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)  # fmt: skip
task = app.task(hello, name="hello")

if __name__ == "__main__":
    produce(lambda name: task.delay(name), int(sys.argv[1]))
