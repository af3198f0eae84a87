"""The controlled experiments behind the measure."""
