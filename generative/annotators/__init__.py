"""Networks that learn a label from shards that have it, and write it for pictures that have not."""
