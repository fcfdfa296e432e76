"""Header readers, one module for each image format.

Each has `read_header(body) -> Header | Failure`. It raises struct.error or IndexError if the body
ends within the header. No pixel is decoded, so no header can cause a large allocation.
"""
