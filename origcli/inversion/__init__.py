"""Multi-token textual inversion: the m vectors that make a frozen model redraw one image."""
