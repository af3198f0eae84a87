"""Training: the shared loop, and one module for each model that it trains."""
