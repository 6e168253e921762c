"""Recipes of automl."""
