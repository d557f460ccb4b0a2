"""How likely symbols are: what several methods share."""
