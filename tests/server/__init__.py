"""Servers that misbehave on loopback; importing this fills the registry of behaviours."""

from tests.server import body, connection, header, image, redirect, status

__all__ = ["body", "connection", "header", "image", "redirect", "status"]
