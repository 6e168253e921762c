"""ULMFiT's recipes."""
