"""Dramatiq: results in Redis, one process of threads."""

from __future__ import annotations

import sys

import dramatiq
from done import REDIS_URL, hello, produce
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

broker = RedisBroker(url=REDIS_URL)
broker.add_middleware(Results(backend=RedisBackend(url=REDIS_URL), store_results=True))
dramatiq.set_broker(broker)
task = dramatiq.actor(hello)

if __name__ == "__main__":
    produce(lambda name: task.send(name), int(sys.argv[1]))
