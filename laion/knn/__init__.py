"""kNN indices over embeddings: built shard by shard, searched from memory-mapped files."""
