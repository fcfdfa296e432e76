"""Layouts that several stages share: candidates, embedding folders, the release."""
