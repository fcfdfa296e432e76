"""What a stranger can send to harm a run, and a command that measures what it costs: `make attack`.

python -m tests.attack            # all of it: under ten minutes on two cores
python -m tests.attack png tls    # kinds whose names have one of the words
"""
