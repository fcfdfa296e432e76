"""Values and rules without I/O: failures, rows, samples, schemas, names."""
