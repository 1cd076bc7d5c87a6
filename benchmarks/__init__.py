"""Speed, measured side by side: `make bench`, or `python -m benchmarks --help`.

Every figure is one of several systems on the same machine in the same minutes: rounds go through all
of them in turn, answers are checked byte for byte, and what counts is the median of the rounds and the
ratio between systems. Linux only: the load generator is an epoll loop.
"""
