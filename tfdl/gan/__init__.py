"""What generative adversarial networks share."""
