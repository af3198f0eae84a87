"""Reports: their schema, JSON and CSV, figures, and pages to look at. Knows no torch."""
