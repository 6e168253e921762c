"""Keras layers that two or more models share."""
