"""One module an output format; `img2ds.writer` has the protocol."""
