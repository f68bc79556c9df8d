"""What builds the documentation: the tables inside the pages, and the MkDocs site.

In: the tables of the package, `conf/` and docstrings. Out: the generated parts of the pages, and a
site in `build/site`.
"""
