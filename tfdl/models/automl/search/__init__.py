"""The search loop: trials, workers, resuming, and what a person sees."""
