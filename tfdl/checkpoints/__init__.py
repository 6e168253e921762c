"""Safe readers and writers of foreign checkpoint formats."""
