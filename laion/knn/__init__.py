"""kNN indices over embeddings: built part by part, searched from memory-mapped files."""
