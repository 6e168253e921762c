"""Recipes of imagenet18."""
