"""laion rebuilds the LAION-400M pipeline on top of img2ds."""
