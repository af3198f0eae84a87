"""The files that go with the command line: completions for shells, and manual pages."""
