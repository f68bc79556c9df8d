"""The ground that every room stands on: errors for the user, and files that are never half written.

In: nothing of this project. Out: exception types, exit codes, new folders, the one atomic write.
May import: the standard library only.
"""
