"""One folder a method: its declaration, codec, networks, training and export."""
