"""The commands beside training: `lenet-bench-report`, `lenet-bench-claims`, `lenet-bench verify`.

In: command lines. Out: files, text in the terminal, an exit code.
May import: every other room.
"""
