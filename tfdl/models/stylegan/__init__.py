"""StyleGAN (Karras et al. 2018)."""
