"""Recipes of stylegan."""
