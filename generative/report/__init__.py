"""Pages that show what the networks of this package do."""
