"""Numbers of a run: counted in the workers, merged in the parent, shown to people."""
