"""One module a way of running workers; `img2ds.distributor` has the protocol."""
