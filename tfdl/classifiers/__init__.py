"""What classifiers of pictures share: what they see, say and serve."""
