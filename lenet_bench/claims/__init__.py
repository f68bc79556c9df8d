"""Claims about activation functions, each with a decision rule fixed in advance, and verdicts."""
