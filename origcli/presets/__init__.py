"""The presets: paper.toml (complete), small.toml and fast.toml (layered on it)."""
