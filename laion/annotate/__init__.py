"""`laion annotate`: columns that are computed from the embeddings and the captions of pairs."""
