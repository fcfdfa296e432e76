"""`img2ds doctor`: what this machine has for a run, and what to do about what it lacks."""
