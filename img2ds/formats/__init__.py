"""Output formats: one module a format with its writer, its reader and its names."""
