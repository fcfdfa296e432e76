"""`laion run`: all stages one after the other, as a file says, and a report of what each kept."""
