"""Lists of prompt templates, as text files."""
