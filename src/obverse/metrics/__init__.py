"""What was lost, and what the rate was worth: distortions of arrays, and the distance of two rate curves."""
