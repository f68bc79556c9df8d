"""What every room uses: errors for the user, and files that are either complete or not there.

In: nothing of this project. Out: exception types, exit codes, new folders, the one atomic write.
May import: the standard library only.
"""
