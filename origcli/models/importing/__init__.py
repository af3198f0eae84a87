"""Single files, LoRAs and other VAEs, put together into a pipeline directory."""
