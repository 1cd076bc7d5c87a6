"""The same task on Celery, Dramatiq, Taskiq and arq: one module a queue, run by the queue's own venv.

Each module is two things: what the queue's own worker command imports, and, run as a script with a
number, the producer that hands in so many tasks and prints how long that took. They import nothing of
ours. REDIS_URL names the broker, DONE_FILE gets a byte for every run of the task.
"""
