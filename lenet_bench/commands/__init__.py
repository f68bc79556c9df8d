"""The commands beside `lenet-bench` itself: `lenet-bench-report` and `lenet-bench-claims`.

In: command lines. Out: files, text in the terminal, an exit code.
May import: every other room.
"""
