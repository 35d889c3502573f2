"""The queue: a bell over Redis. It wakes workers; the database is the calendar, so Redis may be emptied at any time.

- ``connection``: one way to connect, prompt (web, scheduler) or patient (workers); errors become QueueDown.
- ``jobs``: what an entry holds (a task type and an id, as JSON) and the list of functions it may lead to.
- ``bell``: the atomic steps (push once, drop) as Lua scripts.
- ``enqueue``: ``RqTaskQueue``, the queue that services see.   ``schedule``: entries for later.
- ``workers``: the worker process.   ``monitor``: who lives, what waits.
"""
