"""Tables: frames go in, text for the terminal, Markdown and HTML comes out.

`table` holds the one form that all tables have and the three ways to show it; beside it stands a
file for each table's content. May import `claims`, `analysis` and the rooms below them.
"""
