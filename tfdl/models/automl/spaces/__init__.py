"""Search spaces: what a proposer may choose, as sequences of decisions."""
