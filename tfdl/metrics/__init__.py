"""The official metrics, independent of any framework."""
