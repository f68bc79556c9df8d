"""The ground that every room stands on: errors that reach a user, and files that are never half.

In: nothing of this project. Out: exception types, exit codes, one atomic write.
May import: the standard library only.
"""
