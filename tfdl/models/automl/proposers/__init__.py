"""Proposers: what decides which architecture is tried next."""
