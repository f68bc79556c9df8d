"""Figures, tables and the report: what the runs show, for readers.

In: run directories, and the frames that `analysis` and `claims` make of them. Out: figures, CSVs,
`report.html`, `claims.html`, and text for the terminal and for Markdown.
May import: `claims` and what it may import. Importing the room itself loads nothing heavy.
"""
