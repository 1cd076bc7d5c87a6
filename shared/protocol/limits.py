"""Bounds of the link: nothing that a peer sends, or fails to read, makes this side grow without end."""

from __future__ import annotations

# What is larger travels in parts of this size between others' messages: at 1 Gbit/s a part delays them
# by half a millisecond.
PART_BYTES = 64 * 1024
# A frame is closed when its messages pass this; with one part and one late large message it stays
# below 1 MiB, the default limit of WebSocket libraries.
FRAME_BYTES = 256 * 1024
# What a shell must let through, because two messages have no parts: a Welcome with 1,000 functions and
# 10,000 held attempts, and Facts with the same functions.
MAX_FRAME = 4 * 1024 * 1024
# Four bytes make a message, so the bytes of a frame alone do not bound its messages.
MAX_MESSAGES = 4096
# Messages of a full batch; the rest of MAX_MESSAGES is for those that are added when a frame is cut.
BATCH_MESSAGES = 4000
# One input, result or piece of a stream. The edge's own limit (10 MB by default) comes first.
MAX_BODY = 64 * 1024 * 1024
# Bodies that a sender has on their way at once, and their bytes. Twice MAX_BODY, so that one giant does
# not keep the others waiting.
MAX_BODIES = 64
MAX_BODIES_BYTES = 2 * MAX_BODY
# What a reader holds of incomplete bodies: more than a sender sends, because a body that was broken off
# makes room for the next one at the sender before the reader hears of it.
MAX_HALVES = 2 * MAX_BODIES
MAX_HALVES_BYTES = MAX_BODIES_BYTES + MAX_BODY
# Dispatches of one link that a worker has a slot for and whose body has not arrived; slots come first.
MAX_AWAITED = 10_000
# Answers queued for a peer that makes us answer and does not read: then the link is closed. A worker
# that offers its whole outbox again (10,000 results) stays far below.
MAX_BACKLOG = 200_000
# Unknown kinds answered on one link, once each; a newer peer has a handful.
MAX_UNKNOWN_KINDS = 64
# Characters of an error message; a person reads it, and it must fit a frame whatever a function raised.
MAX_TEXT = 16 * 1024
