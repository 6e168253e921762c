"""BigGAN and BigGAN-deep (Brock, Donahue, Simonyan 2018)."""
