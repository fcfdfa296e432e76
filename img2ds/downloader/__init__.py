"""Downloads a list of image URLs: planner, workers, scheduler, shards."""
