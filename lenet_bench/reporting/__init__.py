"""Figures, tables and the report: frames in, files out. Nothing heavy is imported here."""
