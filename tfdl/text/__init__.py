"""Tokenizers and vocabularies, in Python and inside a TensorFlow graph."""
