"""Numbers to integers: published algorithms on plain arrays and tensors."""
