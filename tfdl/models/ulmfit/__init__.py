"""ULMFiT: a language model, tuned and turned into a text classifier."""
