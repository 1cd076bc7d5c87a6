"""The shared store on Redis (6.2 or later; Valkey too): one server, Sentinel or Cluster.

    event loop ──put──▶ Writer task: one script a part and loop turn ──one round trip──▶ done, per batch
               ──run──▶ Reader: scripts that only read, on other connections

What is kept is cut into parts (`parts`): everything about one task, and the lane it waits in, is under
keys of one hash slot, `{cabrank:<part>}:…`, and the task's id says which. So every write is one script
that is atomic, on Cluster too:

    :t:<task>   hash: the task           :open   zset by order: unfinished tasks
    :h:<hook>   hash: its webhook        :all    zset by place: for listings
    :l:<lane>   zset by priority, place  :ended  zset by end: what may be forgotten
    :later      zset by due time         :due    zset by next try: pending webhooks
    :o:<owner>  set: whose tasks run     :n      hash: last place, bytes of pending webhooks
    :w:<writer> the last batch of a writer, with a time to live

and `{cabrank:meta}:…` has `schema`, `lease`, `parts`, `maintenance`. The scripts are in `lua/`;
`commit.lua` makes every change. They may be repeated: a batch has a number, and is applied once.
"""

from __future__ import annotations

from balancer.store.redis.store import RedisStore

__all__ = ["RedisStore"]
