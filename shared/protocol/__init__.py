"""The link between a balancer and a worker, sans-I/O, both roles.

    messages.py   what can be said, and in which order
    codec.py      frames of messages: msgpack; tolerant of what is newer, strict with what is wrong
    version.py    which version two sides speak
    link.py       what both roles share: life of a link, heartbeat, frames
    balancer_link.py, worker_link.py   the two machines, and the protocols of their handlers
    outgoing.py   the queue of what is to be sent; bodies.py: large bodies in parts that take turns
    heartbeat.py  silence and latency;  limits.py: every bound, with its reason

The link delivers in order and at most once, and loses what is on its way when it is cut. Exactly once
is made above it: the worker keeps a result until it is acknowledged and names it in every Welcome, the
balancer takes a result only under the token of the current attempt.
"""

from __future__ import annotations
