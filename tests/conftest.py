"""What all tests need of the process they run in."""

import signal

# A shell starts background jobs deaf to Ctrl-C, and so would be the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
