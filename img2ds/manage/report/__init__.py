"""`img2ds report`: a dataset as one page of HTML."""
