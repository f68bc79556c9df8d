"""Claims about activation functions, each with a decision rule in code, and verdicts."""
