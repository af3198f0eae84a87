"""The command line: one file a command. A body parses, calls, presents; it imports torch inside."""
