"""Data to latents and back: the parts of networks that several methods share."""
