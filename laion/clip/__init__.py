"""CLIP: models, the loader that feeds them, embeddings, and the score of every pair."""
